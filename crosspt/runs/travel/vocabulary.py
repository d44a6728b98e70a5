"""Prompts as tokens: rows ``<task:i>`` behind the table of a copy of the model, and their names in its tokenizer."""

import copy
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken
from torch import Tensor, nn

from crosspt.models.family import family_of
from crosspt.runs.travel.prompts import TaskRows

SOME = 8  # tokens of a text that the model must make the same of before and after
ENOUGH = 1e-4  # relative difference of what it makes of them, and of a prompt as tokens and as embeddings


def token_names(task: str, length: int) -> list[str]:
    """The tokens of a task's prompt, in order; a text's own tokens come behind them."""
    return [f"<{task}:{index}>" for index in range(length)]


def write_vocabulary(folder: Path, rows: TaskRows, model: Any, tokenizer: Any) -> None:
    """Write a copy of a model and its tokenizer in which prompts are tokens that are never answered.

    Rows of the table that the tokenizer has no token for get one, ``<row N>``, so that every row there was stays as it
    was. The tokens are special, and in ``suppress_tokens`` of the generation config.

    Args:
        folder: where the copy goes.
        rows: the prompts.
        model: of transformers, in eval mode; it is changed.
        tokenizer: its tokenizer; it is changed.

    Raises:
        ValueError: the tokenizer has such tokens; the model makes something else of a row of its table than of the same
            row in ``inputs_embeds``; or of a text, where its table cannot grow alone.
    """
    names = [name for task in rows.tasks for name in token_names(task, rows.prompts.shape[1])]
    size = len(model.get_input_embeddings().weight)
    first = _add_tokens(tokenizer, names, size)
    ids = torch.arange(first, first + len(names)).view(rows.prompts.shape[:2])
    text = torch.arange(min(size, SOME)).unsqueeze(0)
    before = _logits(model, text)
    _add_rows(model, rows.prompts, ids, size)
    stack = model.get_encoder() if model.config.is_encoder_decoder else model
    _check(model, before, _logits(model, text)[..., :size], "a text once its table has grown")
    with torch.no_grad():
        pair = stack(inputs_embeds=rows.prompts.to(model.dtype))[0], stack(input_ids=ids)[0]
    _check(model, *pair, "a token than of its row in inputs_embeds")
    _check_configuration(model)
    generation = model.generation_config
    generation.suppress_tokens = sorted({*(generation.suppress_tokens or []), *range(size, first + len(names))})
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@torch.no_grad()
def _logits(model: Any, ids: Tensor) -> Tensor:
    """The logits of a text (1, L), answered by itself where a decoder answers."""
    own = {"decoder_input_ids": ids} if model.config.is_encoder_decoder else {}
    return model(input_ids=ids, **own).logits


def _check(model: Any, wanted: Tensor, got: Tensor, what: str) -> None:
    if not bool((got - wanted).abs().max() <= ENOUGH * wanted.abs().max()):
        raise ValueError(f"{type(model).__name__} makes something else of {what}")


def _check_configuration(model: Any) -> None:
    """Raise ValueError where the configuration does not know of the new rows, so that a copy could not be loaded."""
    with torch.device("meta"):
        described = type(model)(copy.deepcopy(model.config)).state_dict()
    unlike = [name for name, tensor in model.state_dict().items() if described[name].shape != tensor.shape]
    if unlike:
        raise ValueError(f"{type(model).__name__} has no place in its configuration for the rows of {unlike[0]}")


def _add_tokens(tokenizer: Any, names: list[str], size: int) -> int:
    """Name rows of a table of a size, and those behind it; the id of the first of these."""
    taken = [name for name in names if name in tokenizer.get_vocab()]
    if taken:
        raise ValueError(f"the tokenizer must not have a token {taken[0]!r} yet, got one")
    padding = [f"<row {index}>" for index in range(len(tokenizer), size)]
    new = [AddedToken(name, normalized=False) for name in (*padding, *names)]
    tokenizer.add_tokens(new, special_tokens=True)
    first = max(size, len(tokenizer) - len(names))
    got = tokenizer.convert_tokens_to_ids(names)
    if got != list(range(first, first + len(names))):
        raise ValueError(f"the tokenizer must give new tokens the ids from {first} on, got {got[0]} to {got[-1]}")
    return first


@torch.no_grad()
def _add_rows(model: Any, prompts: Tensor, ids: Tensor, size: int) -> None:
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    own = None if head is None or head.weight.data_ptr() == embedding.weight.data_ptr() else head.weight
    model.resize_token_embeddings(int(ids.max()) + 1, mean_resizing=False)
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    embedding.weight[size:] = 0
    embedding.weight[ids] = 1
    embed = family_of(model.config.model_type).text_embedding(model)
    embedding.weight[ids] = prompts.to(embedding.weight) / embed(ids)  # by the factor that some put on their rows
    if own is not None:  # transformers has tied it to the table now, as every T5's configuration says since version 5
        added = own.new_zeros(len(embedding.weight) - len(own), own.shape[1])
        head.weight = nn.Parameter(torch.cat((own, added)), requires_grad=False)
    if getattr(head, "bias", None) is not None:
        head.bias[size:] = 0
