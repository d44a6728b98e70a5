"""The operands of a composition, from the module that learns them down to its launch. Needs no Triton."""

from functools import reduce
from typing import NamedTuple, cast

import torch
from torch import Tensor


class Mixture(NamedTuple):
    """What prompts are composed of: the arguments of ``crosspt.functional.compose_prompts``, in its order."""

    logits: Tensor  # A (T, N), sources first, the private prompt last
    sources: Tensor | None  # (n, m, d)
    privates: Tensor | None  # (T, m, d)
    weight: Tensor | None = None  # W (d, d) of the encoder
    bias: Tensor | None = None  # b (d,)
    temperature: float = 1.0
    mask: Tensor | None = None  # (T, N) bool, True where the candidate may be used
    encode_sources: bool = True
    encode_privates: bool = True

    @property
    def prompts(self) -> Tensor:
        """The sources, or the private prompts where there are none: (., m, d)."""
        return cast(Tensor, self.privates if self.sources is None else self.sources)

    @property
    def raw_sources(self) -> bool:
        """Whether the sources go through the encoder."""
        return self.encode_sources and self.weight is not None and self.sources is not None

    @property
    def raw_privates(self) -> bool:
        """Whether the private prompts go through the encoder."""
        return self.encode_privates and self.weight is not None and self.privates is not None

    @property
    def encoder(self) -> tuple[Tensor | None, Tensor | None]:
        """Weight and bias, None where nothing is raw."""
        return (self.weight, self.bias) if self.raw_sources or self.raw_privates else (None, None)

    def promoted(self) -> "Mixture":
        """As every backend takes it: parameters in the dtype that they promote to, no encoder without use."""
        dtypes = {tensor.dtype for tensor in self[:5] if tensor is not None}
        if len(dtypes) == 1 and self.encoder[0] is self.weight:
            return self
        dtype = reduce(torch.promote_types, dtypes)

        def promote(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(dtype)

        return Mixture._make((*map(promote, self[:3]), *map(promote, self.encoder), *self[5:]))
