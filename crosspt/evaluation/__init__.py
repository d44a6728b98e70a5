"""Prediction, task metrics and prompt-similarity metrics."""
