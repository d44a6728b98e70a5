"""Results kept between calls: only inside a scope that the caller opens."""

import threading
import warnings
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

import torch


class HasBytes(Protocol):
    """A tensor, or a structure of tensors that says how much memory they take."""

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        ...


Value = TypeVar("Value", bound=HasBytes)


class ScopedCache(Generic[Value]):
    """Keeps one result while a scope is open, and nothing outside of one.

    No counter, address or hash sees every edit of a model: a fused optimizer, an adapter that is switched, a hook, a
    pruned weight. So it is the caller who says that nothing changes, by opening a scope; leaving it drops the result.
    Threads may share a scope. A result is read again only on the streams that it was computed on, as no other stream
    waits for it.

    Args:
        limit: most bytes that are kept, or None for no limit. A larger result is computed in every call, after one
            warning. May be changed at any time.
    """

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        self._scopes = 0
        self._counting = threading.Lock()
        self._warned = False
        # Replaced as a whole, so that no thread sees a result beside the state of another.
        self._kept: tuple[Value, Hashable] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of the kept result; 0 where nothing is kept."""
        kept = self._kept
        return 0 if kept is None else kept[0].nbytes

    @property
    def in_scope(self) -> bool:
        """Whether a scope is open."""
        return self._scopes > 0

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Keep the first result that is computed inside the block; scopes may be nested."""
        with self._counting:
            self._scopes += 1
        try:
            yield
        finally:
            with self._counting:
                self._scopes -= 1
                if not self._scopes:
                    self.clear()

    def get(self, compute: Callable[[], Value], state: Hashable = None) -> Value:
        """``compute()``, or what it gave earlier in the scope.

        With gradients enabled, or while torch.compile traces, nothing is kept.

        Args:
            compute: makes the result.
            state: what may change inside a scope, such as autocast; another state drops the result.
        """
        if not self._scopes or torch.is_grad_enabled() or torch.compiler.is_compiling():
            return compute()
        kept, state = self._kept, (state, _streams())
        if kept is not None and kept[1] == state:
            return kept[0]
        self.clear()  # makes room for the new result
        with torch.inference_mode(False), torch.no_grad():  # an inference tensor could not be used for training
            value = compute()
        if self.limit is None or value.nbytes <= self.limit:
            self._kept = (value, state)
        elif not self._warned:
            self._warned = True
            warnings.warn(
                f"ScopedCache: {value.nbytes} bytes are above the limit of {self.limit}; nothing is kept, and they "
                "are computed in every call",
                stacklevel=3,
            )
        return value

    def clear(self) -> None:
        """Drop the kept result."""
        self._kept = None

    def __deepcopy__(self, memo: object) -> "ScopedCache[Value]":
        """A copy in no scope: what was promised of the original was not promised of it."""
        return ScopedCache(self.limit)

    def __getstate__(self) -> dict[str, object]:
        return {"limit": self.limit}

    def __setstate__(self, state: dict[str, int | None]) -> None:
        ScopedCache.__init__(self, state["limit"])


def _streams() -> tuple[Hashable, ...]:
    """The current stream of every GPU."""
    if not torch.cuda.is_initialized():
        return ()
    return tuple(torch.cuda.current_stream(device) for device in range(torch.cuda.device_count()))
