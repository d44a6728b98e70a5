"""Checks of the operations' arguments: host-side, cheap, one clear line each.

Values are looked at only where that does not make the host wait: on CPU tensors, and not while torch.compile traces.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from crosspt.kernels.mixture import Mixture


def values_are_visible(tensor: Tensor) -> bool:
    """Whether reading values of the tensor costs no synchronisation and no graph break."""
    return tensor.device.type == "cpu" and not (torch.compiler.is_compiling() or torch.jit.is_tracing())


def check_floating(operation: str, name: str, tensor: Tensor, rank: str) -> None:
    """Raise unless the tensor is floating-point with as many dimensions as ``rank``, such as ``"(T, m, d)"``."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{operation}: {name} must be a tensor of shape {rank}, got {type(tensor).__name__}")
    if not tensor.is_floating_point():
        raise TypeError(f"{operation}: {name} must be floating-point, got {tensor.dtype}")
    if tensor.dim() != rank.count(",") + (not rank.endswith(",)")):
        raise ValueError(f"{operation}: {name} must have shape {rank}, got {tuple(tensor.shape)}")


def check_shape(operation: str, name: str, tensor: Tensor, symbols: str, expected: Sequence[int]) -> None:
    """Raise unless the tensor's shape is the expected one, whose meaning is ``symbols``."""
    if tuple(tensor.shape) != tuple(expected):
        raise ValueError(
            f"{operation}: {name} must have shape {symbols} = {tuple(expected)}, got {tuple(tensor.shape)}"
        )


def check_ids(operation: str, name: str, ids: Tensor, symbols: str, limit: int, *, batch: int | None = None) -> Tensor:
    """The ids in int64, which the operators take; raises unless they fit.

    Args:
        operation: the public function, for the message.
        name: the argument's name.
        ids: the tensor, of a type that torch's embedding takes.
        symbols: its shape in symbols, ``"(B,)"`` or ``"(B, L)"``.
        limit: number of rows that the ids index; every id must lie in [0, limit).
        batch: the batch size B that a (B,) tensor must have, where another argument fixed it.
    """
    wanted = f"int64 or int32 of shape {symbols}" + ("" if batch is None else f" = ({batch},)")
    if not isinstance(ids, Tensor):
        raise TypeError(f"{operation}: {name} must be a tensor, {wanted}, got {type(ids).__name__}")
    rank = 1 if symbols.endswith(",)") else 2
    if ids.dtype not in (torch.int64, torch.int32):
        raise TypeError(f"{operation}: {name} must be {wanted}, got {ids.dtype}")
    if ids.dim() != rank or (batch is not None and ids.shape[0] != batch):
        raise ValueError(f"{operation}: {name} must be {wanted}, got {tuple(ids.shape)}")
    if ids.numel() and values_are_visible(ids):
        low, high = (int(value) for value in torch.aminmax(ids))
        if low < 0 or high >= limit:
            raise ValueError(f"{operation}: {name} must lie in [0, {limit}), got values from {low} to {high}")
    return ids.long()


def check_devices(operation: str, **tensors: Tensor | None) -> None:
    """Raise unless all tensors are on one device."""
    places = {name: tensor.device for name, tensor in tensors.items() if tensor is not None}
    if len(set(places.values())) > 1:
        listed = ", ".join(f"{name} on {device}" for name, device in places.items())
        raise ValueError(f"{operation}: all tensors must be on one device, got {listed}")


def check_mask(operation: str, mask: Tensor, symbols: str, expected: Sequence[int]) -> None:
    """Raise unless the mask is bool and of the expected shape, whose meaning is ``symbols``."""
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        got = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise TypeError(f"{operation}: mask must be a bool tensor of shape {symbols}, got {got}")
    check_shape(operation, "mask", mask, symbols, expected)


def check_weights(operation: str, logits: Tensor, temperature: float, mask: Tensor | None) -> None:
    """Raise unless the arguments of a temperature softmax with a candidate mask fit together."""
    check_floating(operation, "logits", logits, "(T, N)")
    if isinstance(temperature, bool) or not isinstance(temperature, int | float):
        raise TypeError(f"{operation}: temperature must be a number, got {type(temperature).__name__}")
    # A chained comparison, which also rejects NaN and which torch.compile can trace.
    if not 0 < temperature < math.inf:
        raise ValueError(f"{operation}: temperature must be positive and finite, got {temperature}")
    if logits.numel() == 0:
        raise ValueError(f"{operation}: logits must have a task and a candidate, got shape {tuple(logits.shape)}")
    if mask is None:
        return
    check_mask(operation, mask, "(T, N)", logits.shape)
    check_devices(operation, logits=logits, mask=mask)
    if values_are_visible(mask):
        empty = (~mask.any(dim=1)).nonzero().flatten().tolist()
        if empty:
            raise ValueError(f"{operation}: mask must leave every task a candidate, got none for tasks {empty}")


def check_mixture(operation: str, mixture: Mixture) -> None:
    """Raise unless the mixture's tensors fit together."""
    check_weights(operation, mixture.logits, mixture.temperature, mixture.mask)
    tasks, candidates = mixture.logits.shape
    if mixture.sources is None and mixture.privates is None:
        raise ValueError(f"{operation}: sources or privates must be given, got None for both")
    sources, privates, weight, bias = mixture.sources, mixture.privates, mixture.weight, mixture.bias
    if sources is not None:
        check_floating(operation, "sources", sources, "(n, m, d)")
    if privates is not None:
        check_floating(operation, "privates", privates, "(T, m, d)")
    length, width = mixture.prompts.shape[1:]
    if length == 0 or width == 0:
        raise ValueError(f"{operation}: prompts must have m >= 1 and d >= 1, got m = {length}, d = {width}")
    if privates is not None:
        check_shape(operation, "privates", privates, "(T, m, d)", (tasks, length, width))
    count = (0 if sources is None else sources.shape[0]) + (privates is not None)
    if candidates != count:
        raise ValueError(
            f"{operation}: logits must have shape (T, N) with N = {count} candidates "
            f"({count - (privates is not None)} sources{' and a private prompt' if privates is not None else ''}), "
            f"got {tuple(mixture.logits.shape)}"
        )
    if weight is not None:
        check_floating(operation, "weight", weight, "(d, d)")
        check_shape(operation, "weight", weight, "(d, d)", (width, width))
    if bias is not None:
        if weight is None:
            raise ValueError(f"{operation}: bias needs the encoder's weight, got weight=None")
        check_floating(operation, "bias", bias, "(d,)")
        check_shape(operation, "bias", bias, "(d,)", (width,))
    check_devices(operation, logits=mixture.logits, sources=sources, privates=privates, weight=weight, bias=bias)


def check_batch(
    operation: str, input_ids: Tensor, task_ids: Tensor, table: Tensor, tasks: int, prompt: Tensor
) -> tuple[Tensor, Tensor]:
    """The ids in int64; raises unless they and the token table fit ``tasks`` prompts.

    ``prompt`` (., m, d) is any group of the prompts.
    """
    check_floating(operation, "table", table, "(V, d)")
    if table.shape[1] != prompt.shape[2]:
        raise ValueError(
            f"{operation}: table must have shape (V, d) with d = {prompt.shape[2]} as the prompts, "
            f"got {tuple(table.shape)}"
        )
    input_ids = check_ids(operation, "input_ids", input_ids, "(B, L)", table.shape[0])
    task_ids = check_ids(operation, "task_ids", task_ids, "(B,)", tasks, batch=input_ids.shape[0])
    check_devices(operation, table=table, prompts=prompt, input_ids=input_ids, task_ids=task_ids)
    return input_ids, task_ids


def check_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    prefix_key: Tensor | None,
    prefix_value: Tensor | None,
    task_ids: Tensor | None,
    dropout: float,
    seed: Tensor | None,
) -> Tensor | None:
    """The task ids in int64; raises unless the arguments of ``crosspt.functional.attention`` fit together."""
    operation = "attention"
    check_floating(operation, "query", query, "(B, H, Lq, D)")
    check_floating(operation, "key", key, "(B, H, Lk, D)")
    given = [prefix_key is not None, prefix_value is not None, task_ids is not None]
    if any(given) != all(given):
        raise ValueError(f"{operation}: prefix_key, prefix_value and task_ids go together, got {given}")
    batch, heads, queries, width = query.shape
    keys, tasks, length = key.shape[2], 0, 0
    if prefix_key is not None:
        check_floating(operation, "prefix_key", prefix_key, "(T, H, m, D)")
        tasks, _, length, _ = prefix_key.shape
    rows = {
        "key": (key, "(B, H, Lk, D)", (batch, heads, keys, width)),
        "value": (value, "(B, H, Lk, D)", (batch, heads, keys, width)),
        "prefix_key": (prefix_key, "(T, H, m, D)", (tasks, heads, length, width)),
        "prefix_value": (prefix_value, "(T, H, m, D)", (tasks, heads, length, width)),
    }
    for name, (tensor, symbols, expected) in rows.items():
        if tensor is not None:
            check_shape(operation, name, tensor, symbols, expected)
            if tensor.dtype is not query.dtype:
                raise TypeError(f"{operation}: {name} must have query's dtype {query.dtype}, got {tensor.dtype}")
    if task_ids is not None:
        task_ids = check_ids(operation, "task_ids", task_ids, "(B,)", tasks, batch=batch)
    if bias is not None:
        check_floating(operation, "bias", bias, "(H, Lq + m + Lk - 1)")
        check_shape(operation, "bias", bias, "(H, Lq + m + Lk - 1)", (heads, max(queries + length + keys - 1, 0)))
    if mask is not None:
        check_mask(operation, mask, "(B, Lk)", (batch, keys))
    if not 0 <= dropout < 1:
        raise ValueError(f"{operation}: dropout must lie in [0, 1), got {dropout}")
    if seed is not None:
        if dropout == 0:
            raise ValueError(f"{operation}: seed needs a dropout above 0, got a seed and dropout {dropout}")
        if seed.dtype != torch.int64 or seed.shape != (1,):
            raise ValueError(f"{operation}: seed must be int64 of shape (1,), got {seed.dtype} of {tuple(seed.shape)}")
    tensors = {"key": key, "value": value, "prefix_key": prefix_key, "prefix_value": prefix_value}
    check_devices(operation, query=query, **tensors, bias=bias, mask=mask, task_ids=task_ids, seed=seed)
    return task_ids
