"""The operations in plain PyTorch: mix first, encode once.

The encoder is linear, so ``sum_j alpha_tj (W E_j + b) = W (sum_j alpha_tj E_j) + (sum_j alpha_tj) b``: T * m rows go
through the encoder instead of (n + T) * m, and nothing of shape (T, N, m, d) is formed.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from crosspt.kernels.mixture import Mixture


def mixing_weights(logits: Tensor, temperature: float, mask: Tensor | None) -> Tensor:
    """Weights alpha (T, N); a row without a candidate gets zero weights and zero gradients."""
    if mask is None:
        return torch.softmax(logits / temperature, dim=-1)
    # A finite fill keeps the gradient of a row without candidates at zero; -inf would make it NaN.
    scores = (logits / temperature).masked_fill(~mask, torch.finfo(logits.dtype).min)
    return torch.softmax(scores, dim=-1).masked_fill(~mask, 0.0)


def compose_prompts(mixture: Mixture, rows: Tensor | None = None) -> Tensor:
    """P (T, m, d) for every task, or P[rows] (B, m, d) composed for rows alone, given by their tasks.

    The mixture is promoted; with ``row_alpha`` it is composed for rows.
    """
    # Autocast would round the mixture to half precision before the encoder; prompts keep their own dtype.
    with torch.autocast(mixture.weights().device.type, enabled=False):
        return _compose(mixture, rows)


def _compose(mixture: Mixture, rows: Tensor | None) -> Tensor:
    alpha = mixture.weights()
    if mixture.logits is not None:
        alpha = mixing_weights(mixture.logits, mixture.temperature, mixture.mask)
    if rows is not None and mixture.row_alpha is None:
        alpha = F.embedding(rows, alpha)
    raw: list[Tensor] = []
    raw_weights: list[Tensor] = []
    encoded: list[Tensor] = []
    sources, privates = mixture.sources, mixture.privates
    if sources is not None:
        weights = alpha[:, : sources.shape[0]]
        mixed = torch.mm(weights, sources.flatten(1)).unflatten(1, sources.shape[1:])
        (raw if mixture.raw_sources() else encoded).append(mixed)
        if mixture.raw_sources():
            raw_weights.append(weights.sum(dim=1))
    if privates is not None:
        weights = alpha[:, -1]
        mixed = weights[:, None, None] * (privates if rows is None else gather_prompts(privates, rows))
        (raw if mixture.raw_privates() else encoded).append(mixed)
        if mixture.raw_privates():
            raw_weights.append(weights)
    weight, bias = mixture.encoder()
    if weight is not None:
        prompts = F.linear(sum(raw[1:], raw[0]), weight)
        if bias is not None:
            prompts = prompts + sum(raw_weights[1:], raw_weights[0])[:, None, None] * bias
        encoded.append(prompts)
    if mixture.added is not None:
        encoded.append(mixture.added if rows is None else gather_prompts(mixture.added, rows))
    return sum(encoded[1:], encoded[0])


def gather_prompts(prompts: Tensor, rows: Tensor) -> Tensor:
    """``prompts[rows]``: (T, m, d) to (B, m, d), through the embedding lookup for its deterministic backward."""
    return F.embedding(rows, prompts.flatten(1)).unflatten(1, prompts.shape[1:])


def scale_prompts(prompts: Tensor, gain: tuple[Tensor, Tensor] | None) -> Tensor:
    """P (T, m, d) as it is, or ``P * (u_t v_t^T)`` of P (1, m, d) and a gain (u, v), in float32 or float64."""
    if gain is None:
        return prompts
    positions, columns = gain
    wide = torch.promote_types(torch.promote_types(positions.dtype, columns.dtype), torch.float32)
    return prompts.to(torch.promote_types(prompts.dtype, wide)) * positions[:, :, None] * columns[:, None, :]


def add_offsets(tokens: Tensor, offsets: Tensor | None, task_ids: Tensor) -> Tensor:
    """Token rows (B, L, d) plus the first L offsets (T, L', d) of their tasks, in the tokens' dtype."""
    if offsets is None:
        return tokens
    return (tokens + gather_prompts(offsets[:, : tokens.shape[1]], task_ids)).to(tokens.dtype)


def prepend_prompts(
    prompts: Tensor,
    task_ids: Tensor,
    input_ids: Tensor,
    table: Tensor,
    offsets: Tensor | None = None,
    gain: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """X (B, m + L, d) in the table's dtype."""
    tokens = add_offsets(F.embedding(input_ids, table), offsets, task_ids)
    return torch.cat([gather_prompts(scale_prompts(prompts, gain).to(table.dtype), task_ids), tokens], dim=1)


def prompted_embedding(input_ids: Tensor, task_ids: Tensor, table: Tensor, mixture: Mixture) -> Tensor:
    """X (B, m + L, d) in the table's dtype.

    The batch's rows alone are composed when there are fewer than tasks, or have weights of their own.
    """
    if mixture.row_alpha is not None or task_ids.shape[0] < mixture.tasks():
        prompts = compose_prompts(mixture, task_ids)
        return torch.cat([prompts.to(table.dtype), F.embedding(input_ids, table)], dim=1)
    return prepend_prompts(compose_prompts(mixture), task_ids, input_ids, table)
