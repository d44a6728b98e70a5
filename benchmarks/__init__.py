"""Benchmarks of CrossPT and what it is compared with."""
