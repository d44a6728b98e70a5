"""The embedded T5: the folder to load it from, and the script that made it."""

from pathlib import Path

EMBEDDED_T5 = Path(__file__).with_name("t5-crosspt-mini")
