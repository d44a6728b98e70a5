"""Which backend an operation runs on: the rule of ``backend="auto"``.

It goes by types and by sizes that a model fixes, never by values, the batch or its lengths, but for Lq = 1: all batches
of a model take one path, and a graph that torch.compile traces needs no guard on them. Times behind it are those of a
model of an H100; docs/kernels.md has the rule as a table.
"""

from typing import Literal, get_args

import torch
from torch import Tensor

from crosspt.kernels.architecture import refusal
from crosspt.kernels.mixture import Mixture

Backend = Literal["auto", "torch", "triton"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)

MOST_WIDE_PRODUCTS = 2**28
"""Multiply-adds of a composition beyond which its kernels lose to PyTorch in types of four bytes or more.

Their products run on the ordinary units, in tiles of 16 rows: 24 microseconds beside 45 at 2**25.5 (T = n = 8, m = 10,
d = 768), 950 beside 650 at 2**33. With TF32 allowed PyTorch's products gain at least as much, so the switch is not
asked.
"""
TYPICAL_ROWS = 32
"""What stands for the batch where each row has weights of its own."""
MOST_COLUMNS = 128
"""Columns of a head beyond which no tiles were chosen; 584 to 1064 bytes spill in the launch of the keys."""
MOST_COMPILED_SOURCES = 32
"""Sources beyond which what torch.compile makes of PyTorch's operations takes less: 148 and 173 beside 167 and 208
microseconds, forward and backward, at n = 256, T = 64, m = 100, d = 1024 in bfloat16."""


def runs_triton(operation: str, backend: str, tensor: Tensor, suits: bool = True) -> bool:
    """Whether the Triton kernels are to run. Where forced they always are, and raise where they cannot.

    Args:
        operation: the public function, for the message.
        backend: as given to it.
        tensor: any of its tensors.
        suits: what the rule says of its types and sizes.

    Raises:
        ValueError: there is no such backend.
    """
    if backend not in BACKENDS:
        raise ValueError(f"{operation}: backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
    return backend == "triton" or (backend == "auto" and suits and tensor.is_cuda and not refusal(tensor.device))


def suits_composition(mixture: Mixture, table: torch.dtype, *, compiled: bool) -> bool:
    """Whether the kernels of a composition are the faster ones.

    Args:
        mixture: promoted.
        table: dtype of the token table, to which operands are rounded unless the mixture is of float64.
        compiled: whether torch.compile traces the call, whose fused operations are then what they are compared with.
    """
    _, length, width = mixture.prompts().shape
    sources = 0 if mixture.sources is None else mixture.sources.shape[0]
    if table.itemsize < 4 and mixture.weights().dtype is not torch.float64:
        return not compiled or sources <= MOST_COMPILED_SOURCES
    inner = sources if mixture.weight is None else sources + width
    groups = mixture.tasks() if mixture.row_alpha is None else TYPICAL_ROWS
    return not compiled and groups * length * width * inner <= MOST_WIDE_PRODUCTS


def suits_attention(
    dtype: torch.dtype, queries: int, width: int, *, masked: bool, prefixed: bool, seeded: bool
) -> bool:
    """Whether the kernels of the attention are the faster ones, or the only ones that do what is asked.

    A seed is the kernels' own. One query of a row that sees all its keys leaves them nothing to win: its biases are no
    matrix, and PyTorch's call is one launch as well and takes less of the host. A mask makes it three or more, a prefix
    is copied for every row and step.

    Args:
        dtype: of queries, keys and values.
        queries: Lq.
        width: D.
        masked: whether keys are hidden by a mask.
        prefixed: whether rows see the prefix of a task.
        seeded: whether a seed says what is dropped.
    """
    if seeded:
        return True
    if width > MOST_COLUMNS:
        return False
    if queries == 1 and prefixed:
        return True
    return dtype.itemsize < 4 and (queries > 1 or masked)
