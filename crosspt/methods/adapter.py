"""Adapters: small bottlenecks after attention and feed-forward layers (Houlsby et al. 2019), as ATTEMPT places them."""

from typing import Any

from torch import Tensor, nn
from transformers import T5ForConditionalGeneration
from transformers.activations import ACT2FN

from crosspt.config.prompts import CrossPTConfig
from crosspt.methods.adapted import AdaptedT5, AdaptingMethod, modules_named
from crosspt.methods.method import baseline
from crosspt.models.copying import own_copy

REDUCTION = 32
STANDARD_DEVIATION = 1e-2  # of the first weights: the adapter starts close to the identity


class Bottleneck(nn.Module):
    """x + W_up gelu(W_down x + b_down) + b_up, through a width of d / 32: 2 d d/32 + d/32 + d parameters.

    Args:
        width: d.
    """

    def __init__(self, width: int):
        super().__init__()
        self.down = nn.Linear(width, max(width // REDUCTION, 1))
        self.up = nn.Linear(self.down.out_features, width)
        self.activation = ACT2FN["gelu_new"]
        for linear in (self.down, self.up):
            nn.init.normal_(linear.weight, std=STANDARD_DEVIATION)
            nn.init.zeros_(linear.bias)

    def forward(self, states: Tensor) -> Tensor:
        """(B, L, d) to (B, L, d)."""
        return states + self.up(self.activation(self.down(states)))


class Adapter(AdaptingMethod):
    """A bottleneck after every self-attention and feed-forward layer, before its residual connection; norms learn too.

    That is 48 bottlenecks and 62 norms in T5-base, 1,855,104 parameters.
    """

    name = "adapter"
    source = (
        "AkariAsai/ATTEMPT, configs/baselines/adapter.json; without its 500 steps of warm-up, batches of 16; "
        "first weights of Houlsby et al. 2019"
    )
    defaults = baseline(learning_rate=3e-4)
    uses = frozenset({"learning_rate"})

    def adapt(self, base_model: T5ForConditionalGeneration, config: CrossPTConfig) -> AdaptedT5:
        """The T5 with bottlenecks."""
        own = own_copy(base_model, lambda name: name.endswith("layer_norm.weight"))
        for layer in modules_named(own, "SelfAttention", "DenseReluDense"):
            layer.adapter = Bottleneck(own.config.d_model).to(own.device, own.dtype)
            layer.register_forward_hook(_through_adapter)
        return AdaptedT5(own, config)


def _through_adapter(layer: Any, _: Any, output: Any) -> Any:
    if isinstance(output, tuple):  # of an attention: the states come first
        return (layer.adapter(output[0]), *output[1:])
    return layer.adapter(output)
