"""What each operator launches. Importing this needs Triton, so ``library`` does it at the first call."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from crosspt.kernels.attention import attention, attention_arguments
from crosspt.kernels.attention_backward import AttentionNeeds, attention_backward
from crosspt.kernels.compose_prompts import compose_prompts
from crosspt.kernels.compose_prompts_backward import Needs, compose_prompts_backward
from crosspt.kernels.launch import Composition
from crosspt.kernels.mixing import INTERPRETED
from crosspt.kernels.mixture import Mixture
from crosspt.kernels.prepend_gain import prepend_gain
from crosspt.kernels.prepend_prompts import prepend_prompts, sum_task_rows
from crosspt.kernels.prompted_embedding import prompted_embedding, prompted_embedding_backward

interpreted: bool = INTERPRETED.value


def _compose_prompts(*mixture: Any) -> Tensor:
    x = Mixture(*mixture)
    return compose_prompts(Composition.of(x, x.weights().dtype))


def _compose_prompts_backward(grad: Tensor, *arguments: Any) -> list[Tensor]:
    *mixture, needs = arguments
    x = Mixture(*mixture)
    composition = Composition.of(x, x.weights().dtype)
    return _asked(compose_prompts_backward(grad, composition, Needs(*needs)), mixture, needs)


def _prompted_embedding(input_ids: Tensor, task_ids: Tensor, table: Tensor, *mixture: Any) -> Tensor:
    return prompted_embedding(input_ids, task_ids, table, Composition.of(Mixture(*mixture), table.dtype))


def _prompted_embedding_backward(grad: Tensor, task_ids: Tensor, *arguments: Any) -> list[Tensor]:
    *mixture, needs = arguments
    composition = Composition.of(Mixture(*mixture), grad.dtype)
    return _asked(prompted_embedding_backward(grad, task_ids, composition, Needs(*needs)), mixture, needs)


def _asked(gradients: Sequence[Tensor | None], parameters: Sequence[Any], needs: Sequence[bool]) -> list[Tensor]:
    """The gradients asked for; zeros where the parameter took no part, such as an encoder when nothing is raw."""
    return [
        torch.zeros_like(parameter, memory_format=torch.contiguous_format) if gradient is None else gradient
        for gradient, parameter, need in zip(gradients, parameters, needs, strict=False)
        if need
    ]


def _attention(*arguments: Any) -> tuple[Tensor, Tensor]:
    return attention(attention_arguments(*arguments))


def _attention_backward(grad: Tensor, out: Tensor, stats: Tensor, *arguments: Any) -> list[Tensor]:
    *inputs, needs = arguments
    gradients = attention_backward(grad, out, stats, attention_arguments(*inputs), AttentionNeeds(*needs))
    learned = (*inputs[:4], *inputs[5:7])  # beside float64 a bias of another dtype is widened on its way
    return [g.to(tensor.dtype) for g, tensor in zip(gradients, learned, strict=True) if g is not None]


LAUNCHERS: dict[str, Callable[..., Any]] = {
    "compose_prompts": _compose_prompts,
    "compose_prompts_backward": _compose_prompts_backward,
    "prepend_prompts": prepend_prompts,
    "prepend_prompts_backward": sum_task_rows,
    "prepend_gain_backward": prepend_gain,
    "prompted_embedding": _prompted_embedding,
    "prompted_embedding_backward": _prompted_embedding_backward,
    "attention": _attention,
    "attention_backward": _attention_backward,
}
