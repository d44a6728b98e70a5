"""What a task's prompt leaves in a causal language model: keys and values of every layer, in the model's own cache.

Prompt rows never see the text behind them, so this depends on the task alone, and a text that reads it gives what it
gives behind the prompt's rows.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache


class CausalPrefix(NamedTuple):
    """What the prompts of T tasks leave.

    Args:
        prompts: P (T, m, d).
        layers: keys and values of each layer, each (T, H, m, D); None where a model keeps none, as it does while it
            trains with gradient checkpointing.
        logits: (T, V) behind the last row of each prompt, for the loss of a text's first token.
    """

    prompts: Tensor
    layers: tuple[tuple[Tensor, Tensor], ...] | None
    logits: Any

    def length(self) -> int:
        """Number m of prompt tokens."""
        return self.prompts.shape[1]

    @property
    def nbytes(self) -> int:
        """Bytes of memory that all tensors take."""
        layers = [tensor for layer in self.layers or () for tensor in layer]
        return sum(tensor.nbytes for tensor in (self.prompts, self.logits, *layers) if tensor is not None)

    def cache(self, base_model: Any, task_ids: Tensor) -> DynamicCache:
        """A cache that holds the prompt of each row, whose tasks (B,) are given."""
        cache = DynamicCache(config=base_model.config)
        for index, (keys, values) in enumerate(self.layers or ()):
            cache.update(keys.index_select(0, task_ids), values.index_select(0, task_ids), index)
        return cache


def compute_prefix(base_model: Any, prompts: Tensor) -> CausalPrefix:
    """Run the prompts P (T, m, d) of all tasks through a causal language model."""
    window = smallest_window(base_model)
    checkpointing = any(getattr(module, "gradient_checkpointing", False) for module in base_model.modules())
    if (base_model.training and checkpointing) or prompts.shape[1] >= (window or torch.inf):
        return CausalPrefix(prompts, None, None)
    output = base_model(inputs_embeds=prompts, use_cache=True, logits_to_keep=1)
    layers = tuple((layer.keys, layer.values) for layer in output.past_key_values.layers)
    return CausalPrefix(prompts, layers, output.logits[:, -1])


def smallest_window(base_model: Any) -> int | None:
    """How many keys back the layer with the shortest sight sees; None where all see everything."""
    config = base_model.config.get_text_config()
    sliding = "sliding_attention" in (getattr(config, "layer_types", None) or ["sliding_attention"])
    return getattr(config, "sliding_window", None) if sliding else None
