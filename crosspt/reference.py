"""The equations of the paper and of T5's attention, literally: encode every prompt, mix, gather, concatenate.

Slow and obvious on purpose. These functions are the oracle that every backend is tested against; they check nothing,
run in the dtype they are given and are differentiated by autograd. Symbols: B batch, L input tokens, m prompt length,
d model width, V vocabulary, n source prompts, T target tasks, N candidates a task mixes, H heads, D width of a head.
"""

from typing import cast

import torch
from torch import Tensor


def mixing_weights(logits: Tensor, temperature: float = 1.0, mask: Tensor | None = None) -> Tensor:
    """Weights ``alpha_tj = exp(A_tj / tau) / sum_k exp(A_tk / tau)`` over the candidates a task may use.

    Args:
        logits: A (T, N), one row a task; sources first, the private prompt last.
        temperature: tau > 0.
        mask: (T, N) bool, True where the candidate may be used. A row without any gets zero weights.

    Returns:
        alpha (T, N).
    """
    scores = logits / temperature
    if mask is None:
        return torch.softmax(scores, dim=-1)
    usable_row = mask.any(dim=-1, keepdim=True)
    scores = scores.masked_fill(~mask & usable_row, float("-inf"))
    return torch.softmax(scores, dim=-1) * usable_row


def encode(prompts: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """The linear prompt encoder, ``S = W E + b`` for every row: (..., m, d) to (..., m, d)."""
    if weight is not None:
        prompts = prompts @ weight.T
    return prompts if bias is None else prompts + bias


def candidates(
    tasks: int,
    sources: Tensor | None,
    privates: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    encode_sources: bool = True,
    encode_privates: bool = True,
) -> Tensor:
    """The encoded prompts that each task mixes: every source, then the task's own private prompt.

    Args:
        tasks: T.
        sources: (n, m, d), or None.
        privates: (T, m, d), or None.
        weight: W (d, d) of the encoder, or None for no encoder.
        bias: b (d,), or None.
        encode_sources: False when the sources bypass the encoder.
        encode_privates: False when the private prompts bypass the encoder.

    Returns:
        (T, N, m, d).
    """
    groups = []
    if sources is not None:
        encoded = encode(sources, weight, bias) if encode_sources else sources
        groups.append(encoded.expand(tasks, *encoded.shape))
    if privates is not None:
        encoded = encode(privates, weight, bias) if encode_privates else privates
        groups.append(encoded[:, None])
    return torch.cat(groups, dim=1)


def compose_prompts(
    logits: Tensor | None,
    sources: Tensor | None,
    privates: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    alpha: Tensor | None = None,
    row_alpha: Tensor | None = None,
    added: Tensor | None = None,
    temperature: float = 1.0,
    mask: Tensor | None = None,
    encode_sources: bool = True,
    encode_privates: bool = True,
    task_ids: Tensor | None = None,
) -> Tensor:
    """Equation 1, ``P_t = sum_s alpha_ts S_s + alpha_tt U_t``, on encoded prompts, and what is added to it.

    Args:
        logits: (T, N), or None with weights.
        sources: (n, m, d), or None.
        privates: (T, m, d), or None.
        weight: W (d, d) of the encoder, or None for no encoder.
        bias: b (d,), or None.
        alpha: weights (T, N) in place of the softmax of ``logits``.
        row_alpha: weights (B, N) of rows, each of which takes the private and the added prompt of its task.
        added: a prompt of each task (T, m, d) that is added as it is.
        temperature: tau > 0.
        mask: (T, N) bool, or None.
        encode_sources: False when the sources bypass the encoder.
        encode_privates: False when the private prompts bypass the encoder.
        task_ids: (B,) int64, the rows' tasks, with ``row_alpha``.

    Returns:
        P (T, m, d), or, with ``row_alpha``, (B, m, d).
    """
    if row_alpha is not None:
        alpha = row_alpha
        privates = None if privates is None else privates[task_ids]
        added = None if added is None else added[task_ids]
    weights = cast(Tensor, logits if alpha is None else alpha)
    mixed = candidates(
        weights.shape[0],
        sources,
        privates,
        weight,
        bias,
        encode_sources=encode_sources,
        encode_privates=encode_privates,
    )
    if alpha is None:
        weights = mixing_weights(weights, temperature, mask)
    prompts = (weights[:, :, None, None] * mixed).sum(dim=1)
    return prompts if added is None else prompts + added


def prepend_prompts(
    prompts: Tensor,
    task_ids: Tensor,
    input_ids: Tensor,
    table: Tensor,
    *,
    offsets: Tensor | None = None,
    gain: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """``X_b = [P_{task_ids[b]} ; table[input_ids[b]] + O_{task_ids[b]}]``.

    Args:
        prompts: P (T, m, d), or (1, m, d) with a gain.
        task_ids: (B,) int64.
        input_ids: (B, L) int64.
        table: the token embeddings (V, d).
        offsets: O (T, L', d), of which a row takes its first L; None adds nothing.
        gain: u (T, m) and v (T, d), with which ``P_t = P * (u_t v_t^T)``; or None.

    Returns:
        X (B, m + L, d) in the table's dtype.
    """
    tokens = table[input_ids]
    if offsets is not None:
        tokens = tokens + offsets[task_ids, : input_ids.shape[1]]
    if gain is not None:
        positions, columns = gain
        prompts = prompts * positions[:, :, None] * columns[:, None, :]
    return torch.cat([prompts[task_ids].to(table.dtype), tokens.to(table.dtype)], dim=1)


def prompted_embedding(
    input_ids: Tensor,
    task_ids: Tensor,
    table: Tensor,
    logits: Tensor | None,
    sources: Tensor | None,
    privates: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    alpha: Tensor | None = None,
    row_alpha: Tensor | None = None,
    added: Tensor | None = None,
    temperature: float = 1.0,
    mask: Tensor | None = None,
    encode_sources: bool = True,
    encode_privates: bool = True,
) -> Tensor:
    """Compose every task's prompt and put each row's own in front of its token embeddings: (B, m + L, d)."""
    prompts = compose_prompts(
        logits,
        sources,
        privates,
        weight,
        bias,
        alpha=alpha,
        row_alpha=row_alpha,
        added=added,
        temperature=temperature,
        mask=mask,
        encode_sources=encode_sources,
        encode_privates=encode_privates,
        task_ids=task_ids,
    )
    if row_alpha is not None:
        return torch.cat([prompts.to(table.dtype), table[input_ids]], dim=1)
    return prepend_prompts(prompts, task_ids, input_ids, table)


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    *,
    prefix_key: Tensor | None = None,
    prefix_value: Tensor | None = None,
    task_ids: Tensor | None = None,
    causal: bool = False,
    keep: Tensor | None = None,
) -> Tensor:
    """T5's attention, ``softmax(Q K^T + bias) V`` without scaling, over a task's prefix and a row's own keys.

    Args:
        query: (B, H, Lq, D).
        key: (B, H, Lk, D).
        value: (B, H, Lk, D).
        bias: (H, Lq + m + Lk - 1), the bias of key j for query i at ``j - i + Lq - 1``; keys are counted from the first
            of the prefix on.
        mask: (B, Lk) bool, True where a key counts; those of the prefix always do.
        prefix_key: (T, H, m, D), keys in front of the row's own.
        prefix_value: (T, H, m, D).
        task_ids: (B,) int64, whose prefix a row sees.
        causal: hide key j from query i where ``j > i + m + Lk - Lq``.
        keep: (B, H, Lq, m + Lk), factors of the weights, such as 0 or 1 / (1 - p) of dropout.

    Returns:
        (B, Lq, H, D). A query without any key gets zero.
    """
    if prefix_key is not None and prefix_value is not None:
        key = torch.cat([prefix_key[task_ids], key], dim=2)
        value = torch.cat([prefix_value[task_ids], value], dim=2)
    queries, keys = query.shape[2], key.shape[2]
    scores = query @ key.transpose(2, 3)
    i = torch.arange(queries, device=query.device)[:, None]
    j = torch.arange(keys, device=query.device)[None, :]
    if bias is not None:
        scores = scores + bias[:, j - i + queries - 1]
    hidden = torch.zeros_like(scores, dtype=torch.bool)
    if mask is not None:
        hidden[..., keys - mask.shape[1] :] |= ~mask[:, None, None, :]
    if causal:
        hidden |= j > i + keys - queries
    scores = scores.masked_fill(hidden, float("-inf"))
    empty = (scores == float("-inf")).all(dim=-1, keepdim=True)
    weights = torch.softmax(scores.masked_fill(empty, 0.0), dim=-1).masked_fill(empty, 0.0)
    if keep is not None:
        weights = weights * keep
    return (weights @ value).transpose(1, 2)
