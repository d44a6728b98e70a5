"""Results that depend on parameters alone, kept between calls at inference."""

import warnings
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor


class HasBytes(Protocol):
    """A tensor, or a structure of tensors that says how much memory they take."""

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        ...


Value = TypeVar("Value", bound=HasBytes)


class ParameterCache(Generic[Value]):
    """Keeps one result and the parameters it was computed from; a changed parameter drops it.

    A change is seen by the storage, version counter, dtype and device of each parameter, without reading values. An
    edit through ``parameter.data`` in place leaves no trace there: call :meth:`clear` after one. Threads may share a
    cache: each gets a result that belongs to the parameters it asked with.

    Args:
        limit: most bytes that are kept, or None for no limit. A larger result is computed in every call, after one
            warning. May be changed at any time.
    """

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        self._warned = False
        # Replaced as a whole, so that no thread sees a result beside the parameters of another.
        self._kept: tuple[Value, list[tuple[Tensor, int]], Hashable] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of the kept result; 0 where nothing is kept."""
        kept = self._kept
        return 0 if kept is None else kept[0].nbytes

    def get(self, parameters: Iterable[Tensor], compute: Callable[[], Value], state: Hashable = None) -> Value:
        """The kept result, or ``compute()``, kept when the parameters can be watched.

        With gradients enabled, or while torch.compile traces, nothing is kept.

        Args:
            parameters: what the result depends on.
            compute: makes the result.
            state: whatever else the result depends on; another state drops it.
        """
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            return compute()
        parameters = list(parameters)
        if any(parameter.is_inference() for parameter in parameters):  # these have no version counter
            return compute()
        kept = self._kept
        if kept is not None and kept[2] == state and _unchanged(parameters, kept[1]):
            return kept[0]
        self._kept = None  # makes room for the new result
        # A detached alias keeps the storage alive, so that no other tensor can take its address.
        seen = [(parameter.detach(), parameter._version) for parameter in parameters]
        with torch.inference_mode(False), torch.no_grad():  # an inference tensor could not be used for training
            value = compute()
        if self.limit is None or value.nbytes <= self.limit:
            self._kept = (value, seen, state)
        elif not self._warned:
            self._warned = True
            warnings.warn(
                f"ParameterCache: {value.nbytes} bytes are above the limit of {self.limit}; nothing is kept, and they "
                "are computed in every call",
                stacklevel=3,
            )
        return value

    def clear(self) -> None:
        """Drop the kept result."""
        self._kept = None


def _unchanged(parameters: list[Tensor], seen: list[tuple[Tensor, int]]) -> bool:
    return len(parameters) == len(seen) and all(
        parameter.data_ptr() == alias.data_ptr()
        and parameter._version == version
        and parameter.dtype == alias.dtype
        and parameter.device == alias.device
        for parameter, (alias, version) in zip(parameters, seen, strict=True)
    )
