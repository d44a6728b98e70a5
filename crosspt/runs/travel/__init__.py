"""Prompts that travel: a run's prompts in the formats of other libraries, and theirs as source prompts here."""

from typing import Literal

Target = Literal["peft", "peft-multitask", "prefix", "vocabulary"]
"""The formats of an export."""
