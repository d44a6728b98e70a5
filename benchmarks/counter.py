"""Counts what a call would make a GPU do: launches, bytes and floating-point operations.

Torch operations are seen by a dispatch mode, as aten operations below autograd. Each is one launch that reads every
operand and writes every result once; the library's own passes over its operands are not seen, nor are the several
kernels that some operations take, so the counts favour torch. Views and allocations are free, fills count, and gathers
read the rows they gather. ``bytes`` holds each element as often as it is asked for, ``unique_bytes`` the distinct ones
of each launch: an operand that is expanded over the batch is asked for in every row and read once.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

ALLOCATIONS = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "resize_", "set_"}
FILLS = {
    "arange", "eye", "fill", "full", "full_like", "new_full", "new_ones", "new_zeros", "ones", "ones_like", "rand",
    "rand_like", "randint", "randn", "randn_like", "scalar_tensor", "zeros", "zeros_like",
}  # fmt: skip
OVERWRITES = {"bernoulli_", "copy_", "exponential_", "fill_", "normal_", "random_", "uniform_", "zero_"}
"""In-place operations that do not read what they change."""
PADDED_GRADIENTS = {"diagonal_backward", "select_backward", "slice_backward"}
"""Zeros of the input's shape, then a copy of the gradient into a part of them: two launches."""
GATHERS = {"embedding", "gather", "index", "index_select"}
SCATTERS = {
    "_index_put_impl_", "index_add", "index_add_", "index_put", "index_put_", "scatter", "scatter_", "scatter_add_",
}  # fmt: skip
MOVES = FILLS | OVERWRITES | GATHERS | PADDED_GRADIENTS | {
    "_to_copy", "cat", "clone", "constant_pad_nd", "masked_fill", "masked_fill_", "repeat", "stack", "where",
}  # fmt: skip
"""Operations without arithmetic."""
_FLASH = "_scaled_dot_product_flash_attention"
SAME_ARITHMETIC = {
    getattr(torch.ops.aten, f"{_FLASH}_for_cpu{end}"): getattr(torch.ops.aten, f"{_FLASH}{end}")
    for end in ("", "_backward")
}
"""Operations that torch's own counter of operations knows by another name."""


class Launch(NamedTuple):
    """What one launch does."""

    name: str
    bytes: int  # read and written, each time they were asked for
    unique_bytes: int  # distinct bytes read plus distinct bytes written
    flops: int = 0  # of matrix products 2 M N K; of other arithmetic one an element of the largest operand
    depth: int = 0  # elements of each sum of a matrix product, K, or keys of an attention; 0 for what is neither


@dataclass
class Count:
    """What was counted."""

    launched: list[Launch] = field(default_factory=list)  # in order

    @property
    def launches(self) -> int:
        """Number of launches."""
        return len(self.launched)

    @property
    def operations(self) -> list[str]:
        """The launches by name."""
        return [launch.name for launch in self.launched]

    @property
    def bytes(self) -> int:
        """Bytes asked for."""
        return sum(launch.bytes for launch in self.launched)

    @property
    def unique_bytes(self) -> int:
        """Distinct bytes, launch by launch."""
        return sum(launch.unique_bytes for launch in self.launched)

    @property
    def flops(self) -> int:
        """Floating-point operations."""
        return sum(launch.flops for launch in self.launched)

    def add(self, *launch: Any) -> None:
        """Add one launch."""
        self.launched.append(Launch(*launch))


class OperationCounter(TorchDispatchMode):
    """Counts aten operations; operators of other libraries are looked into."""

    def __init__(self, count: Count) -> None:
        super().__init__()
        self.count = count

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        """Run an operation and add it."""
        kwargs = kwargs or {}
        if func.namespace != "aten":
            with self:
                return func._op_dk(torch._C.DispatchKey.CompositeExplicitAutograd, *args, **kwargs)
        result = func(*args, **kwargs)
        count_operation(self.count, func, args, kwargs, result)
        return result


@contextmanager
def count_operations() -> Iterator[Count]:
    """Count the torch operations of the block, of its backward passes too."""
    count = Count()
    with OperationCounter(count):
        yield count


def count_operation(count: Count, func: Any, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> None:
    """Add one aten operation that has run."""
    name = func.overloadpacket.__name__
    results = _tensors(result)
    mutated = _mutated(func, args, kwargs)
    operands = _tensors((args, kwargs))
    storages = {x.untyped_storage().data_ptr() for x in operands}
    is_view = not mutated and all(result.untyped_storage().data_ptr() in storages for result in results)
    if name in ALLOCATIONS or is_view or not any(x.numel() for x in (*results, *mutated)):
        return
    if name in PADDED_GRADIENTS:
        grad = args[0]
        count.add(name, result.nbytes, _unique([result]))
        count.add(name, 2 * grad.nbytes, _unique([grad]) + grad.nbytes)
        return
    if name in GATHERS:
        read, unique_read = _gathered(name, func, args, result)
        written = [result]
    elif name in SCATTERS:
        count.add(name, *_scattered(name, args, kwargs, result, bool(mutated)))
        return
    else:
        skipped = mutated if name in OVERWRITES or kwargs.get("out") is not None else []
        reads = [] if name in FILLS else [x for x in operands if not any(x is s for s in skipped)]
        read, unique_read = _requested(reads), _unique(reads)
        written = mutated or results
    flops, depth = _flops(name, func, args, kwargs, result, operands)
    count.add(name, read + _requested(written), unique_read + _unique(written), flops, depth)


def _tensors(values: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


def _mutated(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> list[Tensor]:
    """The arguments that the operation writes to."""
    written = [(i, x.name) for i, x in enumerate(func._schema.arguments) if x.alias_info and x.alias_info.is_write]
    values = [kwargs.get(name, args[i] if i < len(args) else None) for i, name in written]
    return _tensors(values)


def _requested(tensors: Sequence[Tensor]) -> int:
    return sum(x.nbytes for x in tensors)


def _unique(tensors: Sequence[Tensor]) -> int:
    """Distinct bytes of several operands; a dimension of stride 0 repeats the same ones, and windows may overlap."""
    distinct = {(x.data_ptr(), tuple(x.shape), x.stride()): x for x in tensors}
    return sum(_distinct(x) * x.itemsize for x in distinct.values())


def _distinct(tensor: Tensor) -> int:
    """Number of distinct elements."""
    if not tensor.numel():
        return 0
    sizes = [(size, stride) for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride]
    span = 1 + sum((size - 1) * stride for size, stride in sizes)
    return min(math.prod(size for size, _ in sizes), span)


def _gathered(name: str, func: Any, args: Sequence[Any], result: Tensor) -> tuple[int, int]:
    """Bytes of a gather's reads, asked for and distinct: the elements that arrive in the result, and the indices."""
    source = args[0]
    indices = _tensors(args[1:])
    if name == "embedding" or (name == "index" and len(args[1]) == 1 and indices[0].dtype != torch.bool):
        distinct = indices[0].unique().numel() * math.prod(source.shape[1:])
    else:
        places = torch.arange(source.numel(), device=source.device).view(source.shape)
        distinct = func(places, *args[1:]).unique().numel()
    return result.nbytes + _requested(indices), distinct * source.itemsize + _unique(indices)


def _scattered(name: str, args: Sequence[Any], kwargs: Any, result: Tensor, in_place: bool) -> tuple[int, int]:
    """Bytes of a scatter, asked for and distinct: values and indices, and their places, read too where it accumulates.

    Out of place, the whole input is read and written instead of the places.
    """
    source, operands = args[0], _tensors((args[1:], kwargs))
    values = next(x for x in reversed(operands) if x.dtype == source.dtype)
    indices = [x for x in operands if x is not values]
    read = _requested(operands)
    if not in_place:
        moved = source.nbytes + result.nbytes
        return read + moved, _unique(operands) + moved
    passes = 2 if "add" in name or True in (*args[3:4], kwargs.get("accumulate")) else 1
    distinct = values.nbytes * indices[0].unique().numel() // indices[0].numel()
    return read + passes * values.nbytes, _unique(operands) + passes * distinct


def _flops(name: str, func: Any, args: Any, kwargs: Any, result: Any, operands: Sequence[Tensor]) -> tuple[int, int]:
    """Floating-point operations, and of a matrix product K, of an attention its keys."""
    packet = func.overloadpacket
    formula: Callable[..., int] | None = flop_registry.get(SAME_ARITHMETIC.get(packet, packet))
    if formula is not None:
        wide = [x.shape for x in operands if x.dim() > 1]
        return formula(*args, **kwargs, out_val=result), wide[1][2] if "attention" in name else wide[0][-1]
    if name in MOVES:
        return 0, 0
    if name.startswith("_foreach_"):
        return sum(x.numel() for x in _tensors(args[0])), 0
    return max((x.numel() for x in (*operands, *_tensors(result)) if x.is_floating_point()), default=0), 0
