"""Checks of the operations' arguments: host-side, cheap, one clear line each.

Values are looked at only where that does not make the host wait: on CPU tensors, and not while torch.compile traces.
"""

import math

import torch
from torch import Tensor

from crosspt.kernels.mixture import Mixture


def values_are_visible(tensor: Tensor) -> bool:
    """Whether reading values of the tensor costs no synchronisation and no graph break."""
    return tensor.device.type == "cpu" and not (torch.compiler.is_compiling() or torch.jit.is_tracing())


def check_floating(
    operation: str, name: str, tensor: Tensor, symbols: str, expected: tuple[int, ...] | None = None
) -> tuple[int, ...]:
    """The shape; raises unless the tensor is floating-point, of the rank that ``symbols`` have and the expected shape.

    Args:
        operation: the public function, for the message.
        name: the argument's name.
        tensor: what was given.
        symbols: the shape in symbols, such as ``"(T, m, d)"``.
        expected: the shape, where other arguments fixed it.
    """
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{operation}: {name} must be a tensor of shape {symbols}, got {type(tensor).__name__}")
    if not tensor.is_floating_point():
        raise TypeError(f"{operation}: {name} must be floating-point, got {tensor.dtype}")
    shape = tensor.shape
    if shape != expected:
        if len(shape) != symbols.count(", ") + 1:
            raise ValueError(f"{operation}: {name} must have shape {symbols}, got {tuple(shape)}")
        if expected is not None:
            raise _wrong_shape(operation, name, tensor, symbols, expected)
    return shape


def _wrong_shape(operation: str, name: str, tensor: Tensor, symbols: str, expected: tuple[int, ...]) -> ValueError:
    wanted = f"{symbols} = {tuple(expected)}"
    return ValueError(f"{operation}: {name} must have shape {wanted}, got {tuple(tensor.shape)}")


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
    whole = isinstance(ids, Tensor) and (ids.dtype is torch.int64 or ids.dtype is torch.int32)
    if not whole or ids.dim() != symbols.count(", ") + 1 or (batch is not None and ids.shape[0] != batch):
        wanted = f"int64 or int32 of shape {symbols}" + ("" if batch is None else f" = ({batch},)")
        if not isinstance(ids, Tensor):
            raise TypeError(f"{operation}: {name} must be a tensor, {wanted}, got {type(ids).__name__}")
        if not whole:
            raise TypeError(f"{operation}: {name} must be {wanted}, got {ids.dtype}")
        raise ValueError(f"{operation}: {name} must be {wanted}, got {tuple(ids.shape)}")
    if values_are_visible(ids) and ids.numel():
        low, high = (int(value) for value in torch.aminmax(ids))
        if low < 0 or high >= limit:
            raise ValueError(f"{operation}: {name} must lie in [0, {limit}), got values from {low} to {high}")
    return ids if ids.dtype is torch.int64 else ids.long()


def check_devices(operation: str, **tensors: Tensor | None) -> None:
    """Raise unless all tensors are on one device."""
    device = None
    for tensor in tensors.values():
        if tensor is None:
            continue
        if device is None:
            device = tensor.device
        elif tensor.device != device:
            listed = ", ".join(f"{name} on {x.device}" for name, x in tensors.items() if x is not None)
            raise ValueError(f"{operation}: all tensors must be on one device, got {listed}")


def check_mask(operation: str, mask: Tensor, symbols: str, expected: tuple[int, ...]) -> None:
    """Raise unless the mask is bool and of the expected shape, whose meaning is ``symbols``."""
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        got = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise TypeError(f"{operation}: mask must be a bool tensor of shape {symbols}, got {got}")
    if mask.shape != expected:
        raise _wrong_shape(operation, "mask", mask, symbols, expected)


def check_weights(operation: str, logits: Tensor, temperature: float, mask: Tensor | None) -> None:
    """Raise unless the arguments of a temperature softmax with a candidate mask fit together."""
    check_floating(operation, "logits", logits, "(T, N)")
    if isinstance(temperature, bool) or not isinstance(
        temperature, (int, float)
    ):  # PyTorch 2.10 traces no union of types
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


def _check_given_weights(operation: str, mixture: Mixture) -> tuple[str, str]:
    """Name and shape of what says how much is mixed; raises unless one is given, with what goes with it alone."""
    if mixture.logits is not None and mixture.alpha is None and mixture.row_alpha is None:
        check_weights(operation, mixture.logits, mixture.temperature, mixture.mask)
        return "logits", "(T, N)"
    named = {"logits": "(T, N)", "alpha": "(T, N)", "row_alpha": "(B, N)"}
    given = [name for name in named if getattr(mixture, name) is not None]
    if len(given) != 1:
        listed = " and ".join(given) or "none"
        raise ValueError(f"{operation}: one of logits, alpha and row_alpha must be given, got {listed}")
    (name,) = given
    shape = check_floating(operation, name, mixture.weights(), named[name])
    if shape[1] == 0 or (shape[0] == 0 and mixture.row_alpha is None):
        raise ValueError(f"{operation}: {name} must have a task and a candidate, got shape {tuple(shape)}")
    if mixture.mask is not None or mixture.temperature != 1:
        masked = "no mask" if mixture.mask is None else "a mask"
        raise ValueError(
            f"{operation}: temperature and mask go with logits alone, got temperature {mixture.temperature} "
            f"and {masked} with {name}"
        )
    return name, named[name]


def check_mixture(operation: str, mixture: Mixture) -> None:
    """Raise unless the mixture's tensors fit together."""
    name, symbols = _check_given_weights(operation, mixture)
    _, sources, privates, weight, bias, _, _, added, *_ = mixture
    candidates = mixture.weights().shape[1]
    shared = None if sources is None else check_floating(operation, "sources", sources, "(n, m, d)")
    own = None if privates is None else check_floating(operation, "privates", privates, "(T, m, d)")
    prompts = own if shared is None else shared
    if prompts is None:
        raise ValueError(f"{operation}: sources or privates must be given, got None for both")
    count = 0 if shared is None else shared[0]
    _, length, width = prompts
    if added is not None:
        check_floating(operation, "added", added, "(T, m, d)")
    tasks = mixture.tasks()
    if length == 0 or width == 0:
        raise ValueError(f"{operation}: prompts must have m >= 1 and d >= 1, got m = {length}, d = {width}")
    if privates is not None and own != (tasks, length, width):
        raise _wrong_shape(operation, "privates", privates, "(T, m, d)", (tasks, length, width))
    if added is not None and added.shape != (tasks, length, width):
        raise _wrong_shape(operation, "added", added, "(T, m, d)", (tasks, length, width))
    wanted = count if own is None else count + 1
    if candidates != wanted:
        raise ValueError(
            f"{operation}: {name} must have shape {symbols} with N = {wanted} candidates "
            f"({count} sources{'' if own is None else ' and a private prompt'}), got {tuple(mixture.weights().shape)}"
        )
    if weight is not None:
        check_floating(operation, "weight", weight, "(d, d)", (width, width))
    if bias is not None:
        if weight is None:
            raise ValueError(f"{operation}: bias needs the encoder's weight, got weight=None")
        check_floating(operation, "bias", bias, "(d,)", (width,))
    check_devices(
        operation,
        logits=mixture.logits,
        alpha=mixture.alpha,
        row_alpha=mixture.row_alpha,
        sources=sources,
        privates=privates,
        weight=weight,
        bias=bias,
        added=added,
    )


def check_rows(operation: str, mixture: Mixture, task_ids: Tensor | None) -> Tensor | None:
    """The tasks of the rows that a mixture without tokens is composed for, None where the rows are tasks."""
    if mixture.row_alpha is None:
        if task_ids is not None:
            raise ValueError(f"{operation}: task_ids go with row_alpha, got task_ids without it")
        return None
    if mixture.of_tasks() is None and task_ids is None:
        return None
    if task_ids is None:
        raise ValueError(f"{operation}: row_alpha needs task_ids beside private or added prompts, got task_ids=None")
    task_ids = check_ids(operation, "task_ids", task_ids, "(B,)", mixture.tasks(), batch=mixture.row_alpha.shape[0])
    check_devices(operation, row_alpha=mixture.row_alpha, task_ids=task_ids)
    return task_ids


def check_batch(
    operation: str,
    input_ids: Tensor,
    task_ids: Tensor,
    table: Tensor,
    tasks: int,
    prompt: Tensor,
    row_alpha: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The ids in int64; raises unless they, the token table and the rows' weights fit ``tasks`` prompts.

    ``prompt`` (., m, d) is any group of the prompts.
    """
    vocabulary, width = check_floating(operation, "table", table, "(V, d)")
    if width != prompt.shape[2]:
        raise ValueError(
            f"{operation}: table must have shape (V, d) with d = {prompt.shape[2]} as the prompts, "
            f"got {tuple(table.shape)}"
        )
    input_ids = check_ids(operation, "input_ids", input_ids, "(B, L)", vocabulary)
    task_ids = check_ids(operation, "task_ids", task_ids, "(B,)", tasks, batch=input_ids.shape[0])
    if row_alpha is not None:
        check_floating(operation, "row_alpha", row_alpha, "(B, N)", (input_ids.shape[0], row_alpha.shape[1]))
    check_devices(operation, table=table, prompts=prompt, input_ids=input_ids, task_ids=task_ids)
    return input_ids, task_ids


def check_offsets(operation: str, offsets: Tensor, prompts: Tensor, tokens: int) -> None:
    """Raise unless the offsets (T, L', d) are for the tasks and width of the prompts (T, m, d) and L tokens or more."""
    tasks, _, width = prompts.shape
    shape = check_floating(operation, "offsets", offsets, "(T, L', d)")
    if (shape[0], shape[2]) != (tasks, width) or shape[1] < tokens:
        raise ValueError(
            f"{operation}: offsets must have shape (T, L', d) = ({tasks}, L', {width}) with L' >= L = {tokens}, "
            f"got {tuple(shape)}"
        )
    check_devices(operation, prompts=prompts, offsets=offsets)


def check_gain(operation: str, gain: tuple[Tensor, Tensor], prompts: Tensor, offsets: Tensor | None) -> int:
    """T; raises unless the gain is u (T, m) and v (T, d) of one prompt (1, m, d), and there are no offsets."""
    if offsets is not None:
        raise ValueError(f"{operation}: offsets and gain do not go together, got both")
    if not isinstance(gain, tuple) or len(gain) != 2:
        got = f"{len(gain)} of them" if isinstance(gain, tuple) else type(gain).__name__
        raise TypeError(f"{operation}: gain must be a pair of tensors u (T, m) and v (T, d), got {got}")
    one, length, width = prompts.shape
    if one != 1:
        raise ValueError(f"{operation}: prompts must have shape (1, m, d) with a gain, got {tuple(prompts.shape)}")
    positions, columns = gain
    tasks, _ = check_floating(operation, "gain's u", positions, "(T, m)")
    check_floating(operation, "gain's u", positions, "(T, m)", (tasks, length))
    check_floating(operation, "gain's v", columns, "(T, d)", (tasks, width))
    check_devices(operation, prompts=prompts, u=positions, v=columns)
    return tasks


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
    batch, heads, queries, width = check_floating(operation, "query", query, "(B, H, Lq, D)")
    keys = check_floating(operation, "key", key, "(B, H, Lk, D)")[2]
    if not (prefix_key is None) == (prefix_value is None) == (task_ids is None):
        given = [prefix_key is not None, prefix_value is not None, task_ids is not None]
        raise ValueError(f"{operation}: prefix_key, prefix_value and task_ids go together, got {given}")
    tasks = length = 0
    if prefix_key is not None:
        tasks, _, length, _ = check_floating(operation, "prefix_key", prefix_key, "(T, H, m, D)")
    _check_rows("key", key, query.dtype, "(B, H, Lk, D)", (batch, heads, keys, width))
    _check_rows("value", value, query.dtype, "(B, H, Lk, D)", (batch, heads, keys, width))
    if prefix_key is not None and prefix_value is not None and task_ids is not None:
        _check_rows("prefix_key", prefix_key, query.dtype, "(T, H, m, D)", (tasks, heads, length, width))
        _check_rows("prefix_value", prefix_value, query.dtype, "(T, H, m, D)", (tasks, heads, length, width))
        task_ids = check_ids(operation, "task_ids", task_ids, "(B,)", tasks, batch=batch)
    if bias is not None:
        distances = queries + length + keys - 1
        check_floating(operation, "bias", bias, "(H, Lq + m + Lk - 1)", (heads, max(distances, 0)))
    if mask is not None:
        check_mask(operation, mask, "(B, Lk)", (batch, keys))
    if not 0 <= dropout < 1:
        raise ValueError(f"{operation}: dropout must lie in [0, 1), got {dropout}")
    if seed is not None:
        if dropout == 0:
            raise ValueError(f"{operation}: seed needs a dropout above 0, got a seed and dropout {dropout}")
        if seed.dtype != torch.int64 or seed.shape != (1,):
            raise ValueError(f"{operation}: seed must be int64 of shape (1,), got {seed.dtype} of {tuple(seed.shape)}")
    check_devices(
        operation,
        query=query,
        key=key,
        value=value,
        prefix_key=prefix_key,
        prefix_value=prefix_value,
        bias=bias,
        mask=mask,
        task_ids=task_ids,
        seed=seed,
    )
    return task_ids


def _check_rows(name: str, tensor: Tensor, dtype: torch.dtype, symbols: str, expected: tuple[int, ...]) -> None:
    """Raise unless keys or values of an attention have the expected shape and the query's dtype."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"attention: {name} must be a tensor of shape {symbols}, got {type(tensor).__name__}")
    if tensor.shape != expected:
        raise _wrong_shape("attention", name, tensor, symbols, expected)
    if tensor.dtype is not dtype:
        raise TypeError(f"attention: {name} must have query's dtype {dtype}, got {tensor.dtype}")
