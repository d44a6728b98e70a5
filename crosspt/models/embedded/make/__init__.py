"""What made the embedded T5; no run needs it."""
