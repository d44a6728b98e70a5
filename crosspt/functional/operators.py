"""The operators ``torch.ops.crosspt``: fakes, derivatives, and at the end the table of all there are.

Parameters come in one dtype; ``crosspt.functional`` checks arguments. Gradients are operators too; differentiating
those again raises.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from crosspt.functional.library import OPS, below_autograd, operator
from crosspt.kernels.mixture import NUM_LEARNED, Mixture


def _like_prompts(*mixture: Any) -> Tensor:
    x = Mixture(*mixture)
    return x.weights().new_empty((x.weights().shape[0], *x.prompts().shape[1:]))


def _like_rows(prompts: Tensor, task_ids: Tensor, input_ids: Tensor, table: Tensor, *_: Tensor | None) -> Tensor:
    return table.new_empty((input_ids.shape[0], prompts.shape[1] + input_ids.shape[1], prompts.shape[2]))


def _like_prompted_rows(input_ids: Tensor, task_ids: Tensor, table: Tensor, *mixture: Any) -> Tensor:
    return _like_rows(Mixture(*mixture).prompts(), task_ids, input_ids, table)


def _like_sums(
    grad: Tensor,
    task_ids: Tensor,
    tasks: int,
    length: int,
    dtype: torch.dtype | None,
    n_offsets: int,
    offsets_dtype: torch.dtype | None,
) -> list[Tensor]:
    return [
        grad.new_empty((tasks, size, grad.shape[2]), dtype=kind)
        for size, kind in ((length, dtype), (n_offsets, offsets_dtype))
        if kind is not None
    ]


def _like_gain(grad: Tensor, task_ids: Tensor, *arguments: Any) -> list[Tensor]:
    *parameters, needs = arguments
    return _like_needed(parameters, needs)


def _like_parameters(*arguments: Any) -> list[Tensor]:
    *mixture, needs = arguments[-1 - len(Mixture._fields) :]
    return _like_needed(mixture[:NUM_LEARNED], needs)


def _like_needed(parameters: Sequence[Any], needs: Sequence[bool]) -> list[Tensor]:
    return [
        torch.empty_like(parameter, memory_format=torch.contiguous_format)
        for parameter, need in zip(parameters, needs, strict=True)
        if need
    ]


def _like_attended(query: Tensor, *_: object) -> tuple[Tensor, Tensor]:
    batch, heads, queries, width = query.shape
    accumulator = torch.float64 if query.dtype is torch.float64 else torch.float32
    stats = query.new_empty((batch, heads, 2, queries), dtype=accumulator)
    return query.new_empty((batch, queries, heads, width)), stats


def _like_heads(grad: Tensor, out: Tensor, stats: Tensor, *arguments: Any) -> list[Tensor]:
    return [
        tensor.new_empty(tensor.shape)
        if tensor.dim() == 2
        else tensor.transpose(1, 2).new_empty(tensor.transpose(1, 2).shape).transpose(1, 2)
        for tensor, need in zip(_learned(arguments), arguments[-1], strict=True)
        if need
    ]


def _learned(attention: Sequence[Any]) -> list[Any]:
    """What takes a gradient of the attention's arguments: query, key, value, bias, prefix_key, prefix_value."""
    return [*attention[:4], *attention[5:7]]


def _save(ctx: Any, mixture: Sequence[Any], *tensors: Tensor) -> None:
    *parameters, temperature, mask, encode_sources, encode_privates = mixture
    ctx.save_for_backward(*tensors, *parameters, mask)
    ctx.settings = temperature, encode_sources, encode_privates


def _saved(ctx: Any) -> list[Any]:
    *tensors, mask = ctx.saved_tensors
    temperature, *encodes = ctx.settings
    return [*tensors, temperature, mask, *encodes]


def _spread(gradients: Sequence[Tensor], needs: Sequence[bool]) -> list[Tensor | None]:
    """One entry an argument: the next gradient where one was asked for, else None."""
    rest = iter(gradients)
    return [next(rest) if need else None for need in needs]


def _table_gradient(grad: Tensor, input_ids: Tensor, vocabulary: int) -> Tensor:
    """Gradient of the token table from the token rows of the output's gradient."""
    rows = grad[:, grad.shape[1] - input_ids.shape[1] :]
    return torch.ops.aten.embedding_dense_backward(rows, input_ids, vocabulary, -1, False)


class _ComposePrompts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *mixture: Any) -> Tensor:
        _save(ctx, mixture)
        return below_autograd(OPS.compose_prompts.default, *mixture)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        needs = ctx.needs_input_grad[:NUM_LEARNED]
        gradients = compose_prompts_backward(grad, *_saved(ctx), needs)
        return (*_spread(gradients, needs), None, None, None, None)


class _PrependPrompts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        prompts, task_ids, input_ids, table, offsets, *gain = arguments
        ctx.save_for_backward(task_ids, input_ids, *((prompts, *gain) if gain[0] is not None else ()))
        ctx.prompts = (*prompts.shape[:2], prompts.dtype)
        ctx.offsets = (0, None) if offsets is None else (offsets.shape[1], offsets.dtype)
        ctx.vocabulary = table.shape[0]
        return below_autograd(OPS.prepend_prompts.default, *arguments)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        task_ids, input_ids, *scaled = ctx.saved_tensors
        tasks, length, dtype = ctx.prompts
        positions, offsets_dtype = ctx.offsets
        needs = [ctx.needs_input_grad[argument] for argument in (0, 4, 5, 6)]
        gradients: Sequence[Tensor] = ()
        if scaled and any(needs):  # there are no offsets beside a gain
            gradients = prepend_gain_backward(grad, task_ids, *scaled, [needs[0], *needs[2:]])
        elif any(needs):
            kinds = dtype if needs[0] else None, positions, offsets_dtype if needs[1] else None
            gradients = prepend_prompts_backward(grad, task_ids, tasks, length, *kinds)
        dprompts, *rest = _spread(gradients, needs)
        dtable = _table_gradient(grad, input_ids, ctx.vocabulary) if ctx.needs_input_grad[3] else None
        return dprompts, None, None, dtable, *rest


class _PromptedEmbedding(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input_ids: Tensor, task_ids: Tensor, table: Tensor, *mixture: Any) -> Tensor:
        _save(ctx, mixture, input_ids, task_ids)
        ctx.vocabulary = table.shape[0]
        return below_autograd(OPS.prompted_embedding.default, input_ids, task_ids, table, *mixture)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        input_ids, *prompts = _saved(ctx)
        needs = ctx.needs_input_grad[3 : 3 + NUM_LEARNED]
        gradients = prompted_embedding_backward(grad, *prompts, needs) if any(needs) else ()
        dtable = _table_gradient(grad, input_ids, ctx.vocabulary) if ctx.needs_input_grad[2] else None
        return (None, None, dtable, *_spread(gradients, needs), None, None, None, None)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor]:
        out, stats = below_autograd(OPS.attention.default, *arguments)
        ctx.save_for_backward(out, stats, *arguments[:9])
        ctx.settings = arguments[9:]
        ctx.mark_non_differentiable(stats)
        ctx.set_materialize_grads(False)  # of stats there is none, and zeros would be a launch
        return out, stats

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, _: Any) -> tuple[Tensor | None, ...]:
        if grad is None:
            return (None,) * 11
        needs = _learned(ctx.needs_input_grad)
        gradients = attention_backward(grad, *ctx.saved_tensors, *ctx.settings, needs)
        dquery, dkey, dvalue, dbias, dprefix_key, dprefix_value = _spread(gradients, needs)
        return dquery, dkey, dvalue, dbias, None, dprefix_key, dprefix_value, None, None, None, None


_MIXTURE = (
    "Tensor? logits, Tensor? sources, Tensor? privates, Tensor? weight, Tensor? bias, Tensor? alpha, "
    "Tensor? row_alpha, Tensor? added, float temperature, Tensor? mask, bool encode_sources, bool encode_privates"
)
_WEIGHTS = tuple(Mixture._fields.index(name) for name in ("logits", "alpha", "row_alpha"))
_ATTENTION = (
    "Tensor query, Tensor key, Tensor value, Tensor? bias, Tensor? mask, Tensor? prefix_key, Tensor? prefix_value, "
    "Tensor? task_ids, Tensor? seed, bool causal, float dropout"
)

compose_prompts = operator(
    "compose_prompts", f"({_MIXTURE}) -> Tensor", _like_prompts, _ComposePrompts, checked=_WEIGHTS
)
compose_prompts_backward = operator(
    "compose_prompts_backward", f"(Tensor grad, {_MIXTURE}, bool[8] needs) -> Tensor[]", _like_parameters
)

prepend_prompts = operator(
    "prepend_prompts",
    "(Tensor prompts, Tensor task_ids, Tensor input_ids, Tensor table, Tensor? offsets, Tensor? positions, "
    "Tensor? columns) -> Tensor",
    _like_rows,
    _PrependPrompts,
    checked=(0, 3, 4, 5, 6),
)
prepend_prompts_backward = operator(
    "prepend_prompts_backward",
    "(Tensor grad, Tensor task_ids, SymInt tasks, SymInt length, ScalarType? dtype, SymInt n_offsets, "
    "ScalarType? offsets_dtype) -> Tensor[]",
    _like_sums,
)
prepend_gain_backward = operator(
    "prepend_gain_backward",
    "(Tensor grad, Tensor task_ids, Tensor prompts, Tensor positions, Tensor columns, bool[3] needs) -> Tensor[]",
    _like_gain,
)

prompted_embedding = operator(
    "prompted_embedding",
    f"(Tensor input_ids, Tensor task_ids, Tensor table, {_MIXTURE}) -> Tensor",
    _like_prompted_rows,
    _PromptedEmbedding,
    checked=(2, *(3 + position for position in _WEIGHTS)),
)
prompted_embedding_backward = operator(
    "prompted_embedding_backward",
    f"(Tensor grad, Tensor task_ids, {_MIXTURE}, bool[8] needs) -> Tensor[]",
    _like_parameters,
)

attention = operator("attention", f"({_ATTENTION}) -> (Tensor, Tensor)", _like_attended, _Attention)
attention_backward = operator(
    "attention_backward",
    f"(Tensor grad, Tensor out, Tensor stats, {_ATTENTION}, bool[6] needs) -> Tensor[]",
    _like_heads,
)
