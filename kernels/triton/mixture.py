"""The operands of a composition, from the module that learns them down to its launch. Needs no Triton."""

from functools import reduce
from typing import NamedTuple, cast

import torch
from torch import Tensor

ANY_TASK = 2**31 - 1
"""Number of tasks where no prompt is a task's own, so that a row's task chooses nothing: the largest of 32 bits."""


class Mixture(NamedTuple):
    """What prompts are composed of: the arguments of ``crosspt.functional.compose_prompts``, in its order.

    One of ``logits``, ``alpha`` and ``row_alpha`` is given. What follows from them are methods, as torch.compile of
    PyTorch 2.10 traces no property of a named tuple.
    """

    logits: Tensor | None  # A (T, N), sources first, the private prompt last
    sources: Tensor | None  # (n, m, d)
    privates: Tensor | None  # (T, m, d)
    weight: Tensor | None = None  # W (d, d) of the encoder
    bias: Tensor | None = None  # b (d,)
    alpha: Tensor | None = None  # weights of the tasks (T, N) in place of a softmax
    row_alpha: Tensor | None = None  # weights of the batch rows (B, N)
    added: Tensor | None = None  # a prompt of each task beside its mix (T, m, d), without weight and encoder
    temperature: float = 1.0
    mask: Tensor | None = None  # (T, N) bool, True where the candidate may be used
    encode_sources: bool = True
    encode_privates: bool = True

    def weights(self) -> Tensor:
        """What says how much of each candidate is mixed: logits or weights of tasks (T, N), or of rows (B, N)."""
        if self.logits is not None:
            return self.logits
        return cast(Tensor, self.row_alpha if self.alpha is None else self.alpha)

    def of_tasks(self) -> Tensor | None:
        """Private or added prompts, whichever there are: (T, m, d)."""
        return self.added if self.privates is None else self.privates

    def tasks(self) -> int:
        """T, as large as can be where each row has weights of its own and no prompt is a task's."""
        if self.row_alpha is None:
            return self.weights().shape[0]
        own = self.of_tasks()
        return ANY_TASK if own is None else own.shape[0]

    def learned(self) -> tuple[Tensor | None, ...]:
        """Everything that a gradient may be asked for."""
        return cast("tuple[Tensor | None, ...]", self[:NUM_LEARNED])  # a string: nothing is built in each call

    def prompts(self) -> Tensor:
        """The sources, or the private prompts where there are none: (., m, d)."""
        return cast(Tensor, self.privates if self.sources is None else self.sources)

    def raw_sources(self) -> bool:
        """Whether the sources go through the encoder."""
        return self.encode_sources and self.weight is not None and self.sources is not None

    def raw_privates(self) -> bool:
        """Whether the private prompts go through the encoder."""
        return self.encode_privates and self.weight is not None and self.privates is not None

    def encoder(self) -> tuple[Tensor | None, Tensor | None]:
        """Weight and bias, None where nothing is raw."""
        return (self.weight, self.bias) if self.raw_sources() or self.raw_privates() else (None, None)

    def promoted(self) -> "Mixture":
        """As every backend takes it: parameters in the dtype that they promote to, no encoder without use."""
        dtypes = {tensor.dtype for tensor in self.learned() if tensor is not None}
        if len(dtypes) == 1 and self.encoder()[0] is self.weight:
            return self
        dtype = reduce(torch.promote_types, dtypes)

        def promote(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(dtype)

        weight, bias = self.encoder()
        learned = self._replace(weight=weight, bias=bias).learned()
        return Mixture._make((*map(promote, learned), *self[NUM_LEARNED:]))


NUM_LEARNED = Mixture._fields.index("temperature")
"""How many operands come before the settings."""
