"""BitFit: additive biases alone learn (Ben Zaken et al. 2022), in the places where ATTEMPT gives a T5 some."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import T5ForConditionalGeneration

from crosspt.config.prompts import CrossPTConfig
from crosspt.methods.adapted import AdaptedT5, AdaptingMethod, modules_named
from crosspt.methods.method import baseline
from crosspt.models.copying import own_copy


class BitFit(AdaptingMethod):
    """A T5 has no biases: every linear map, the last one too, and every layer norm gets one, which starts at zero.

    That is k features for a linear map to k features and d for a norm, 282,496 in T5-base.
    """

    name = "bitfit"
    source = "AkariAsai/ATTEMPT, configs/baselines/bitfit.json; without its 500 steps of warm-up, batches of 16"
    defaults = baseline(learning_rate=3e-4)
    uses = frozenset({"learning_rate"})

    def adapt(self, base_model: T5ForConditionalGeneration, config: CrossPTConfig) -> AdaptedT5:
        """The T5 with biases."""
        own = own_copy(base_model, lambda name: False)
        for module in own.modules():
            if isinstance(module, nn.Linear):
                module.bias = _bias(module.weight, module.out_features, own.dtype)
        for norm in modules_named(own, "layer_norm"):
            norm.bias = _bias(norm.weight, len(norm.weight), own.dtype)
            norm.register_forward_hook(_add_bias)
        return AdaptedT5(own, config)


def _bias(weight: Any, size: int, otherwise: torch.dtype) -> nn.Parameter:
    dtype = weight.dtype if weight.is_floating_point() else otherwise  # of quantized weights
    return nn.Parameter(torch.zeros(size, dtype=dtype, device=weight.device))


def _add_bias(norm: Any, _: Any, output: Tensor) -> Tensor:
    return output + norm.bias.to(output.dtype)
