"""Calls of ``prompted_embedding`` that are like one that was checked, on a GPU.

There checks look at shapes, dtypes, devices and settings and at no values, and so does the choice of a backend. Looking
all of that up takes a quarter of the time.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from crosspt.functional import validation

Facts = tuple[Any, ...]
MOST_KEPT = 4096
_SUITS: dict[Facts, bool] = {}


def look_up(
    ids: Tensor, tensors: Sequence[Tensor | None], temperature: float, *switches: bool
) -> tuple[Facts, bool | None]:
    """The facts of a call, and what :func:`keep` was told of them or None; no facts where values count or torch traces.

    Args:
        ids: the input ids.
        tensors: all others that the call is given.
        temperature: tau; a bool, which equals a number, is none.
        switches: what else is given.
    """
    try:
        if torch.compiler.is_compiling() or torch.jit.is_tracing() or validation.values_are_visible(ids):
            return (), None
        of_tensors = [None if x is None else (x.shape, x.dtype, x.device) for x in (ids, *tensors)]
        facts = (*of_tensors, type(temperature), temperature, *switches)
        return facts, _SUITS.get(facts)
    except (AttributeError, TypeError):  # what is no tensor, and sizes that are symbols
        return (), None


def keep(facts: Facts, suits: bool) -> None:
    """Remember a call that passed the checks and whose arguments are as the backends take them.

    Args:
        facts: of the call; nothing is kept without.
        suits: whether the kernels suit it.
    """
    if facts:
        if len(_SUITS) >= MOST_KEPT:
            _SUITS.clear()
        _SUITS[facts] = suits
