"""The embedded T5: its files, and the script that made them."""
