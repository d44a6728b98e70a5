"""HyperDecoder: adapters of the decoder that a hypernetwork makes of the encoded row (Ivison and Peters 2022)."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import T5ForConditionalGeneration

from crosspt.config.prompts import CrossPTConfig
from crosspt.methods.adapted import AdaptingMethod
from crosspt.methods.method import baseline
from crosspt.methods.row_adapters import RowAdaptedT5, RowAdapters, adapt_blocks
from crosspt.models.copying import own_copy

INNER = 64  # width of an adapter
HIDDEN = 128  # of the hypernetwork
LAYER_EMBEDDING = 10
GAIN = 1e-4  # of the encoder's adapters: they start close to zero
SMALL = 1e-3  # of the hypernetwork's maps: what they make starts close to zero


class AdapterWeights(NamedTuple):
    """N bottlenecks.

    Args:
        down: (N, d, r).
        down_bias: (N, r).
        up: (N, r, d).
        up_bias: (N, d).
    """

    down: Tensor
    down_bias: Tensor
    up: Tensor
    up_bias: Tensor


class Bottleneck(nn.Module):
    """W_up relu(W_down x + b_down) + b_up through a width of 64.

    Args:
        width: d.
    """

    def __init__(self, width: int):
        super().__init__()
        self.down = nn.Linear(width, INNER)
        self.up = nn.Linear(INNER, width)
        for linear in (self.down, self.up):
            nn.init.xavier_uniform_(linear.weight, gain=GAIN)
            nn.init.zeros_(linear.bias)

    def forward(self, states: Tensor) -> Tensor:
        """(B, L, d) to (B, L, d)."""
        change: Tensor = self.up(self.down(states).relu())
        return change


class HyperNetwork(nn.Module):
    """The decoder's adapters: linear maps of h = relu(W [mlp(mean of the row's states) ; e_layer]).

    Args:
        width: d.
        layers: number of blocks.
    """

    def __init__(self, width: int, layers: int):
        super().__init__()
        self.width = width
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
        self.layers = nn.Embedding(layers, LAYER_EMBEDDING)
        self.hidden = nn.Linear(width + LAYER_EMBEDDING, HIDDEN)
        self.down, self.down_bias = _linear(width * INNER, width), _linear(INNER, 1)
        self.up, self.up_bias = _linear(INNER * width, INNER), _linear(width, 1)

    def forward(self, means: Tensor) -> tuple[tuple[AdapterWeights], ...]:
        """The weights (B, ...) for each layer, from the means (B, d)."""
        layers = self.layers.weight[:, None].expand(-1, len(means), -1)
        rows = self.mlp(means).expand(len(layers), -1, -1)
        h = self.hidden(torch.cat((rows, layers), dim=-1)).relu()
        made = AdapterWeights(
            self.down(h).unflatten(-1, (self.width, INNER)),
            self.down_bias(h),
            self.up(h).unflatten(-1, (INNER, self.width)),
            self.up_bias(h),
        )
        return tuple((AdapterWeights(*(part[layer] for part in made)),) for layer in range(len(layers)))


class HyperdecoderT5(RowAdaptedT5):
    """A T5 whose decoder has adapters of the row.

    Args:
        base_model: a T5 of its own, adapted.
        config: the tasks, which are not looked at.

    Attributes:
        network: makes the adapters of the decoder.
    """

    def __init__(self, base_model: T5ForConditionalGeneration, config: CrossPTConfig):
        super().__init__(base_model, config)
        self.network = HyperNetwork(base_model.config.d_model, len(base_model.decoder.block)).to(
            base_model.device, base_model.dtype
        )

    def decoder_adapters(self, states: Tensor, inputs: dict[str, Any]) -> RowAdapters:
        """Those of the rows."""
        means = mean_of_rows(states, inputs["attention_mask"])
        return RowAdapters(self.network(means), torch.arange(len(means), device=means.device))


class Hyperdecoder(AdaptingMethod):
    """Adapters of width 64 beside every feed-forward layer, x + feed-forward(norm x) + adapter(norm x).

    In the encoder all rows share them, as the repository's ``encoder_adapter: manual`` has it; in the decoder
    :class:`HyperNetwork` makes them of each row's encoded text. Task ids are not looked at. In T5-base that is
    15,259,192 numbers, however many tasks there are: 1,189,632 of the encoder and 14,069,560 of the hypernetwork.
    (The repository marks another 1,189,632 in the decoder as trainable, which no output depends on.)
    """

    name = "hyperdecoder"
    source = (
        "allenai/hyperdecoders, configs/experiments/glue_t5_base.json; without its 500 steps of warm-up and label "
        "smoothing, batches of 16; 20 epochs as ATTEMPT's baselines in place of 65,536 steps of 128 rows"
    )
    defaults = baseline(learning_rate=3e-4)
    uses = frozenset({"learning_rate"})

    def adapt(self, base_model: T5ForConditionalGeneration, config: CrossPTConfig) -> HyperdecoderT5:
        """The T5 with shared adapters in the encoder and those of the row in the decoder."""
        own: Any = own_copy(base_model, lambda name: False)
        for block in own.encoder.block:
            layer = block.layer[-1]
            layer.adapter = Bottleneck(own.config.d_model).to(own.device, own.dtype)
            layer.register_forward_hook(_beside_shared)
        adapt_blocks(own.decoder, _adapted, _beside)
        return HyperdecoderT5(own, config)


def mean_of_rows(states: Tensor, mask: Tensor) -> Tensor:
    """The mean (B, d) of those of a row's states (B, L, d) whose mask (B, L) is not zero, summed in float32."""
    counts = (mask != 0)[..., None]
    kept = states.to(torch.promote_types(states.dtype, torch.float32)).masked_fill(~counts, 0)
    return (kept.sum(dim=1) / counts.sum(dim=1).clamp(min=1)).to(states.dtype)


def _adapted(block: Any) -> tuple[Any]:
    return (block.layer[-1],)


def _beside_shared(layer: Any, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
    return output + layer.adapter(layer.layer_norm(inputs[0]))


def _beside(layer: Any, weights: AdapterWeights, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
    hidden = torch.baddbmm(weights.down_bias[:, None], layer.layer_norm(inputs[0]), weights.down).relu()
    return output + torch.baddbmm(weights.up_bias[:, None], hidden, weights.up)


def _linear(made: int, fan_in: int) -> nn.Linear:
    """A map that makes the weights of a layer with so many inputs, uniform with the variance of hyperfan-in times 1e-6.

    Args:
        made: number of weights.
        fan_in: of the layer; 1 where the weights are a bias.
    """
    linear = nn.Linear(HIDDEN, made)
    bound = SMALL * math.sqrt(3 / (HIDDEN * fan_in))
    nn.init.uniform_(linear.weight, -bound, bound)
    nn.init.zeros_(linear.bias)
    return linear
