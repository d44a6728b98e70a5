"""Results that depend on parameters alone, kept between calls at inference."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor


class ParameterCache:
    """Keeps one tensor and the parameters it was computed from; a changed parameter drops it.

    A change is seen by the storage, version counter, dtype and device of each parameter, without reading values. An
    edit through ``parameter.data`` in place leaves no trace there: call :meth:`clear` after one.
    """

    def __init__(self) -> None:
        self._seen: list[tuple[Tensor, int]] = []
        self._value: Tensor | None = None

    def get(self, parameters: Iterable[Tensor], compute: Callable[[], Tensor]) -> Tensor:
        """The kept tensor, or ``compute()``, kept when the parameters can be watched.

        With gradients enabled, or while torch.compile traces, nothing is kept.
        """
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            return compute()
        parameters = list(parameters)
        if any(parameter.is_inference() for parameter in parameters):  # these have no version counter
            return compute()
        if self._value is None or not self._unchanged(parameters):
            with torch.inference_mode(False), torch.no_grad():  # an inference tensor could not be used for training
                self._value = compute()
            # A detached alias keeps the storage alive, so that no other tensor can take its address.
            self._seen = [(parameter.detach(), parameter._version) for parameter in parameters]
        return self._value

    def _unchanged(self, parameters: list[Tensor]) -> bool:
        return len(parameters) == len(self._seen) and all(
            parameter.data_ptr() == alias.data_ptr()
            and parameter._version == version
            and parameter.dtype == alias.dtype
            and parameter.device == alias.device
            for parameter, (alias, version) in zip(parameters, self._seen, strict=True)
        )

    def clear(self) -> None:
        """Drop the kept tensor."""
        self._seen, self._value = [], None
