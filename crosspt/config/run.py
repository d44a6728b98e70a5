"""How a run names the embedded T5, and how its rows are answered."""

from typing import Literal

EMBEDDED = "embedded"  # the name of the embedded T5
Decode = Literal["generate", "rank"]
DecodeChoice = Literal["generate", "rank", "both"]
