"""Copies of a language model that share its weights."""

import copy
from collections.abc import Callable
from typing import Any

from torch import nn


def own_copy(base_model: Any, learns: Callable[[str], bool] = lambda name: False) -> Any:
    """A language model whose modules are its own, so that they can be changed, while it shares the weights of another.

    Args:
        base_model: the other, which is left as it is; its weights may be quantized.
        learns: whether a parameter of that name is copied, to be trained.

    Raises:
        ValueError: a quantized weight is to learn.
    """
    shared: dict[int, Any] = {}
    for name, parameter in base_model.named_parameters():
        if not learns(name):
            shared[id(parameter)] = parameter
        elif type(parameter) is nn.Parameter:
            shared[id(parameter)] = nn.Parameter(parameter.detach().clone())
        else:
            raise ValueError(f"{name} is quantized and cannot learn; give a model in floating point, or another method")
    for module in base_model.modules():
        if hasattr(module, "init_8bit_state"):  # of bitsandbytes: the scales, which the first copy to run would take
            if module.weight.CB is not None:
                module.init_8bit_state()
            shared |= {id(tensor): tensor for tensor in (module.state.CB, module.state.SCB)}
    return copy.deepcopy(base_model, shared)
