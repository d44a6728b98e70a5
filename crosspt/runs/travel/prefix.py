"""What prompts leave in the layers of a causal language model: the keys and values that later tokens read."""

from typing import Any

import torch
from torch import Tensor

from crosspt.runs.travel.prompts import TaskRows


@torch.no_grad()
def keys_and_values(model: Any, rows: TaskRows) -> Tensor:
    """Run a causal language model on each task's prompt alone.

    Args:
        model: of transformers, in eval mode.
        rows: the prompts P (T, m, d), as the model takes them in ``inputs_embeds``.

    Returns:
        For every layer keys, then values: (T, m, layers, 2, heads, width), the order in which PEFT keeps them.

    Raises:
        ValueError: the layers keep something else than keys and values of one shape, or not those of all m rows; or
            PEFT would read them in another shape.
    """
    tasks, m, _ = rows.prompts.shape
    output = model(inputs_embeds=rows.prompts.to(model.dtype), use_cache=True)
    layers = list(getattr(getattr(output, "past_key_values", None), "layers", []))
    pairs: list[tuple[Any, Any]] = [(getattr(layer, "keys", None), getattr(layer, "values", None)) for layer in layers]
    shapes = {None if part is None else tuple(part.shape) for pair in pairs for part in pair}
    text = model.config.get_text_config()
    shape = next(iter(shapes), None)
    if len(shapes) != 1 or shape is None or len(layers) != text.num_hidden_layers:
        found = ", ".join(sorted(map(str, shapes))) or "nothing"
        raise _unfit(model, f"its {text.num_hidden_layers} layers must keep keys and values of one shape, got {found}")
    if len(shape) != 4 or (shape[0], shape[2]) != (tasks, m):
        raise _unfit(model, f"its layers must keep (tasks, heads, m = {m}, width), got {shape}")
    _check_how_peft_reads(model, text.to_dict(), heads=shape[1], width=shape[3])
    states = torch.stack([torch.stack(pair) for pair in pairs])  # (layers, 2, T, heads, m, width)
    return states.permute(2, 4, 0, 1, 3, 5).float()


def _check_how_peft_reads(model: Any, text: dict[str, Any], *, heads: int, width: int) -> None:
    """Raise ValueError where PEFT takes another shape from a model's configuration than the adapter's."""
    if text.get("global_head_dim") is not None or text.get("per_layer_config") is not None:
        raise _unfit(model, "PEFT reads keys of the widest layer's shape in all layers, and these differ")
    theirs = text.get("num_key_value_heads", heads), text.get("head_dim") or width
    if theirs != (heads, width):
        raise _unfit(model, f"PEFT reads {theirs[0]} heads of width {theirs[1]}, its layers keep {heads} of {width}")


def _unfit(model: Any, reason: str) -> ValueError:
    return ValueError(f"{type(model).__name__} cannot be prefix-tuned by PEFT: {reason}")
