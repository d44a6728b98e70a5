"""The operations behind ``crosspt.functional``: checks, PyTorch, and the Triton kernels as operators."""
