"""Tasks: what they are, where their rows come from, how rows become batches. Knows nothing of prompts or models."""
