"""How alike prompts are: equations 2 to 4 of the paper, over encoded prompts.

Symbols: T target tasks, N candidates a task mixes, n source prompts, m prompt length, d model width. The cosine of a
zero vector is undefined and comes out as NaN.
"""

import torch
from torch import Tensor


def candidate_similarity(prompts: Tensor, candidates: Tensor) -> Tensor:
    """Equation 2: cosine of a target prompt and each prompt it mixes, both as means over their tokens.

    Args:
        prompts: P (T, m, d).
        candidates: (T, N, m, d).

    Returns:
        (T, N).
    """
    return _cosine(prompts.mean(dim=1)[:, None], candidates.mean(dim=2))


def weighted_source_similarity(weights: Tensor, similarity: Tensor, num_sources: int) -> Tensor:
    """Equation 3, the weighted similarity to source prompts: ``100 sum_{s in S} alpha_ts sim(t, s)`` in percent.

    Args:
        weights: alpha (T, N), sources first.
        similarity: (T, N), from :func:`candidate_similarity`.
        num_sources: n, at least 1; without sources the metric is undefined.

    Returns:
        (T,).
    """
    if num_sources < 1:
        raise ValueError(f"weighted_source_similarity: num_sources must be at least 1, got {num_sources}")
    return 100 * (weights * similarity)[:, :num_sources].sum(dim=1)


def task_similarity(prompts: Tensor) -> Tensor:
    """Equation 4: mean over the m tokens of the cosine of two target prompts at that token.

    Args:
        prompts: P (T, m, d).

    Returns:
        (T, T), symmetric.
    """
    return _cosine(prompts[:, None], prompts[None]).mean(dim=-1)


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosine over the last dimension, exactly 1 for equal vectors: ``sqrt(x x)`` rounds to ``x``."""
    product = (a * b).sum(dim=-1)
    norms = (a * a).sum(dim=-1) * (b * b).sum(dim=-1)
    return (product / torch.sqrt(norms)).clamp(-1, 1)
