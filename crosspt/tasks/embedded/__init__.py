"""The embedded suite: controlled English, generated on demand."""
