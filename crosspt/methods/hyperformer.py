"""HyperFormer++: adapters that a shared hypernetwork makes of task, layer and position (Mahabadi et al. 2021)."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import T5ForConditionalGeneration
from transformers.activations import ACT2FN

from crosspt.config.prompts import CrossPTConfig
from crosspt.functional.validation import check_ids
from crosspt.methods.adapted import AdaptingMethod
from crosspt.methods.method import baseline
from crosspt.methods.row_adapters import RowAdaptedT5, RowAdapters, adapt_blocks
from crosspt.models.copying import own_copy
from crosspt.prompts.rows import arrange_rows

REDUCTION = 32
EMBEDDING, HIDDEN = 64, 128
POSITIONS = 2  # of an adapter in a block: after the self-attention and after the feed-forward layer
STANDARD_DEVIATION = 1e-2


class AdapterWeights(NamedTuple):
    """N bottlenecks and the layer norms behind them.

    Args:
        down: (N, r, d).
        down_bias: (N, r).
        up: (N, d, r).
        up_bias: (N, d).
        scale: (N, d).
        shift: (N, d).
    """

    down: Tensor
    down_bias: Tensor
    up: Tensor
    up_bias: Tensor
    scale: Tensor
    shift: Tensor


class HyperNetwork(nn.Module):
    """The adapters of a stack: linear maps of z = norm(W_2 relu(W_1 [e_task ; e_layer ; e_position])).

    Args:
        width: d.
        layers: number of blocks.
    """

    def __init__(self, width: int, layers: int):
        super().__init__()
        self.width, self.inner = width, max(width // REDUCTION, 1)
        self.layers = nn.Embedding(layers, EMBEDDING)
        self.positions = nn.Embedding(POSITIONS, EMBEDDING)
        self.project = nn.Sequential(
            _linear(3 * EMBEDDING, HIDDEN), nn.ReLU(), _linear(HIDDEN, EMBEDDING), nn.LayerNorm(EMBEDDING, eps=1e-6)
        )
        self.down, self.down_bias = _linear(EMBEDDING, self.inner * width), _linear(EMBEDDING, self.inner)
        self.up, self.up_bias = _linear(EMBEDDING, width * self.inner), _linear(EMBEDDING, width)
        self.scale, self.shift = _linear(EMBEDDING, width), _linear(EMBEDDING, width)

    def forward(self, tasks: Tensor) -> tuple[tuple[AdapterWeights, ...], ...]:
        """The weights (T, ...) for each layer and position, from the tasks' embeddings (T, 64)."""
        sizes = (len(self.layers.weight), POSITIONS, len(tasks), EMBEDDING)
        parts = (tasks, self.layers.weight[:, None, None], self.positions.weight[:, None])
        z = self.project(torch.cat([part.expand(sizes) for part in parts], dim=-1))
        made = AdapterWeights(
            self.down(z).unflatten(-1, (self.inner, self.width)),
            self.down_bias(z),
            self.up(z).unflatten(-1, (self.width, self.inner)),
            self.up_bias(z),
            self.scale(z),
            self.shift(z),
        )
        return tuple(
            tuple(AdapterWeights(*(part[layer, position] for part in made)) for position in range(POSITIONS))
            for layer in range(len(self.layers.weight))
        )


class HyperformerT5(RowAdaptedT5):
    """A T5 with adapters by task.

    Args:
        base_model: a T5 of its own, adapted.
        config: the tasks.

    Attributes:
        tasks: embeddings (T, 64) of the tasks, which both stacks share.
        encoder_network: makes the adapters of the encoder.
        decoder_network: makes those of the decoder.
    """

    def __init__(self, base_model: T5ForConditionalGeneration, config: CrossPTConfig):
        super().__init__(base_model, config)
        self.tasks = nn.Embedding(len(config.tasks), EMBEDDING)
        self.encoder_network = HyperNetwork(base_model.config.d_model, len(base_model.encoder.block))
        self.decoder_network = HyperNetwork(base_model.config.d_model, len(base_model.decoder.block))
        for module in (self.tasks, self.encoder_network, self.decoder_network):
            module.to(base_model.device, base_model.dtype)

    def decoder_adapters(self, states: Tensor, inputs: dict[str, Any]) -> RowAdapters:
        """Those of the rows' tasks."""
        return RowAdapters(self.decoder_network(self.tasks.weight), inputs["adapters"].rows)

    def _inputs(self, input_ids: Tensor, attention_mask: Tensor | None, task_ids: Tensor | None) -> dict[str, Any]:
        """Rows, padded on the right, with the encoder's adapters of their tasks."""
        tasks = self.config.tasks
        ids, mask, task_ids = arrange_rows("hyperformer", tasks, input_ids, attention_mask, task_ids)
        task_ids = check_ids("hyperformer", "task_ids", task_ids, "(B,)", len(tasks), batch=len(ids))
        adapters = RowAdapters(self.encoder_network(self.tasks.weight), task_ids)
        return {"input_ids": ids, "attention_mask": mask, "adapters": adapters}


class Hyperformer(AdaptingMethod):
    """An adapter after every self-attention and feed-forward layer, x + norm(W_up gelu(W_down x)); T5's norms learn.

    The adapters' weights and the scales and shifts of their norms are those that :class:`HyperNetwork` makes, one for
    the encoder and one for the decoder. For 8 tasks that is 5,211,056 numbers in T5-base, 651,382 a task, or 0.29 % of
    the T5's 222.9 million: the paper's share. (The 638 thousand that is published too is 0.29 % of 220 million.)
    """

    name = "hyperformer"
    source = (
        "rabeehk/hyperformer, configs/hyperformer++.json; without its 500 steps of warm-up and label smoothing, "
        "batches of 16; 20 epochs as ATTEMPT's baselines in place of 65,536 steps of 32 rows"
    )
    defaults = baseline(learning_rate=3e-4)
    sees_tasks = True
    uses = frozenset({"learning_rate"})

    def adapt(self, base_model: T5ForConditionalGeneration, config: CrossPTConfig) -> HyperformerT5:
        """The T5 with adapters by task in both stacks."""
        own: Any = own_copy(base_model, lambda name: name.endswith("layer_norm.weight"))
        for stack in (own.encoder, own.decoder):
            adapt_blocks(stack, _adapted, _through_adapter)
        return HyperformerT5(own, config)


def _adapted(block: Any) -> tuple[Any, Any]:
    return block.layer[0].SelfAttention, block.layer[-1].DenseReluDense


def _through_adapter(_: Any, weights: AdapterWeights, __: tuple[Any, ...], states: Tensor) -> Tensor:
    hidden = torch.baddbmm(weights.down_bias[:, None], states, weights.down.mT)
    change = torch.baddbmm(weights.up_bias[:, None], ACT2FN["gelu_new"](hidden), weights.up.mT)
    normed = F.layer_norm(change, change.shape[-1:])
    return (states + normed * weights.scale[:, None] + weights.shift[:, None]).to(states.dtype)


def _linear(features: int, made: int) -> nn.Linear:
    linear = nn.Linear(features, made)
    nn.init.normal_(linear.weight, std=STANDARD_DEVIATION)
    nn.init.zeros_(linear.bias)
    return linear
