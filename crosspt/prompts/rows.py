"""Rows of token ids and the prompts in front of them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from crosspt.functional import Backend, prepend_prompts
from crosspt.functional.torch_composition import add_offsets, gather_prompts, scale_prompts


def arrange_rows(
    owner: str, tasks: Sequence[str], input_ids: Tensor, attention_mask: Tensor | None, task_ids: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """The ids (B, L), mask (B, L) and task ids (B,) of a batch, int64, padded on the right.

    Args:
        owner: who takes them, for messages.
        tasks: that the task ids count.
        input_ids: (B, L), any integer dtype.
        attention_mask: (B, L), nonzero where the token counts; by default every token does.
        task_ids: (B,) integer; may be left out where there is one task.

    Raises:
        ValueError: the task ids are missing beside several tasks, or the mask has another shape than the ids.
        TypeError: ids are no integers.
    """
    for name, ids in (("input_ids", input_ids), ("task_ids", task_ids)):
        if isinstance(ids, Tensor) and (ids.is_floating_point() or ids.is_complex() or ids.dtype is torch.bool):
            raise TypeError(f"{owner}: {name} must be integers, got {ids.dtype}")
    if task_ids is None:
        if len(tasks) > 1:
            raise ValueError(f"{owner}: task_ids must say which of {list(tasks)} each row is, got None")
        task_ids = input_ids.new_zeros(input_ids.shape[0])
    if attention_mask is None:
        attention_mask = torch.ones_like(input_ids)
    elif attention_mask.shape != input_ids.shape:
        raise ValueError(
            f"{owner}: attention_mask must have shape (B, L) = {tuple(input_ids.shape)}, "
            f"got {tuple(attention_mask.shape)}"
        )
    else:
        attention_mask, input_ids = move_padding(attention_mask, attention_mask, input_ids)
    return input_ids.long(), attention_mask, task_ids.long()


def put_in_front(
    prompts: Tensor,
    task_ids: Tensor,
    input_ids: Tensor,
    embedding: Any,
    backend: Backend = "auto",
    *,
    offsets: Tensor | None = None,
    gain: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Embedded rows (B, m + L, d), in the embedding's dtype, each with the prompt of its task in front of it.

    Args:
        prompts: P (T, m, d), or (1, m, d) with a gain.
        task_ids: (B,) in [0, T).
        input_ids: (B, L).
        embedding: of tokens, called unless it is a plain lookup.
        backend: see :func:`crosspt.functional.compose_prompts`.
        offsets: (T, L or more, d), added to the tokens by task and position, or None.
        gain: u (T, m) and v (T, d), whose product scales the prompt for each task, or None.
    """
    if is_plain_lookup(embedding):
        table = embedding.weight
        return prepend_prompts(prompts, task_ids, input_ids, table, offsets=offsets, gain=gain, backend=backend)
    tokens = add_offsets(embedding(input_ids), offsets, task_ids)
    return torch.cat([gather_prompts(scale_prompts(prompts, gain), task_ids).to(tokens.dtype), tokens], dim=1)


def is_plain_lookup(embedding: Any) -> bool:
    """Whether calling the module does nothing but read rows of its weight, whose gradient is the plain one."""
    return (
        type(embedding) is nn.Embedding
        and embedding.max_norm is None
        and not (embedding.weight.requires_grad and _has_gradient_of_its_own(embedding))
        and "forward" not in embedding.__dict__  # where offloading and quantisation put theirs
        and not (embedding._forward_hooks or embedding._forward_pre_hooks)
        and not (embedding._backward_hooks or embedding._backward_pre_hooks)
        and not nn.modules.module._has_any_global_hook()
    )


def _has_gradient_of_its_own(embedding: nn.Embedding) -> bool:
    return embedding.sparse or embedding.scale_grad_by_freq or embedding.padding_idx is not None


def move_padding(mask: Tensor, *rows: Tensor, left: bool = False) -> list[Tensor]:
    """Each row begins with its first visible token, what was in front of it goes to the end; no value is waited for.

    Args:
        mask: (B, L), nonzero where a token counts.
        rows: (B, L, ...), moved alike.
        left: whether to have it the other way about, each row ending with its last visible token.
    """
    length = mask.shape[1]
    if length == 0:
        return list(rows)
    visible = mask != 0
    padding = (visible.flip(1) if left else visible).int().argmax(dim=1, keepdim=True)
    order = (torch.arange(length, device=mask.device) + (-padding if left else padding)) % length
    return [row.gather(1, order.view(*order.shape, *[1] * (row.dim() - 2)).expand_as(row)) for row in rows]
