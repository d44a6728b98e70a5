"""Prompts that travel: a run's prompts in the formats of other libraries, and theirs as source prompts here."""
