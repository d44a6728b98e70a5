"""Without a GPU, Triton kernels are interpreted. Triton reads the switch when it is imported, so it is set first."""

import os

import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"
