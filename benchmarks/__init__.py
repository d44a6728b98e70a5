"""Benchmarks of CrossPT and what it is compared with."""

import os

# torch's profiler writes a line to stderr whenever it starts or stops; it reads this when torch is loaded.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")
