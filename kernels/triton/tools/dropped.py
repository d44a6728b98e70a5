"""What dropout multiplies the weights of the attention with, as the forward kernel shows it."""

import torch
from torch import Tensor

from crosspt.kernels.attention import attention, attention_arguments


def keep_factors(
    sizes: tuple[int, int, int, int, int], dropout: float, seed: Tensor, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Factors of the weights, 0 or 1 / (1 - dropout) up to rounding: all scores are equal, the values unit vectors.

    Args:
        sizes: B, H, Lq, Lk and m; 0 for no prefix.
        dropout: probability in [0, 1) with which a weight is dropped.
        seed: (1,) int64, on the device of the kernels.
        dtype: what the kernel computes in, which decides its blocks.

    Returns:
        (B, H, Lq, m + Lk) in ``dtype``.
    """
    B, H, Lq, Lk, m = sizes
    values = torch.eye(m + Lk, device=seed.device, dtype=dtype).expand(B, H, -1, -1)
    query, key = values.new_zeros(B, H, Lq, m + Lk), torch.zeros_like(values)
    prefix_key, prefix_value, task_ids = None, None, None
    if m:
        prefix_key, prefix_value, task_ids = key[:, :, :m], values[:, :, :m], torch.arange(B, device=seed.device)
    own = (query, key[:, :, m:], values[:, :, m:], None, None)
    weights, _ = attention(attention_arguments(*own, prefix_key, prefix_value, task_ids, seed, False, dropout))
    return (weights * (m + Lk)).transpose(1, 2)
