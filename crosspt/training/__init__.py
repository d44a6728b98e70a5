"""Training of prompts over a frozen T5: parameter groups, the trainer, the two stages."""
