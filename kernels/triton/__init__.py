"""Triton kernels of CrossPT, imported as ``crosspt.kernels``."""
