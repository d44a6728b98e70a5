"""The command ``export``: the prompts of a run in another library's format."""

from pathlib import Path
from typing import Any

from crosspt.config.run import EMBEDDED, RunConfig
from crosspt.models.embedded import EMBEDDED_T5
from crosspt.models.family import FAMILIES, family_of, width
from crosspt.models.loading import load_model
from crosspt.runs.travel import Target
from crosspt.runs.travel.adapters import (
    common_settings,
    write_multitask,
    write_prefix_tuning,
    write_prompt_tuning,
)
from crosspt.runs.travel.folder import whole_folder
from crosspt.runs.travel.prefix import keys_and_values
from crosspt.runs.travel.prompts import TaskRows, read_rows
from crosspt.runs.travel.vocabulary import write_vocabulary

UNFIT = {
    "marian": "whose factor on a text's tokens PEFT leaves out",
    "pegasus": "whose factor on a text's tokens PEFT leaves out",
    "t5gemma": "in whose configuration PEFT finds no number of layers",
}
"""Types of models whose prompts PEFT cannot serve, and why."""


def export(checkpoint: Path, run: RunConfig, target: Target, output: Path) -> TaskRows:
    """Write the prompts of a checkpoint into a folder; ``docs/formats.md`` says what each target holds.

    Args:
        checkpoint: a run's folder, or one that ``save_pretrained`` wrote.
        run: its settings, from :func:`crosspt.runs.evaluate.open_checkpoint`.
        target: the format.
        output: the folder, which is written whole or not at all.

    Returns:
        What was written.

    Raises:
        ValueError: the target cannot hold what was learned, or the folder holds something else.
    """
    rows = read_rows(checkpoint, run)
    causal = _is_causal(rows)
    if rows.prefix_mode == "isolated" and not causal:
        raise ValueError(
            f"isolated prefixes of an encoder-decoder have no format elsewhere, so that {checkpoint} cannot be exported"
        )
    if target == "prefix" and not causal:
        raise ValueError(f"--to prefix is for causal language models, got an encoder-decoder, {run.model}")
    kind = rows.base_model["model_type"]
    if target in ("peft", "peft-multitask") and kind in UNFIT:
        raise ValueError(f"--to {target} is not for a model of type {kind}, {UNFIT[kind]}")
    settings = common_settings(rows, str(EMBEDDED_T5) if run.model == EMBEDDED else run.model, causal=causal)
    with whole_folder(output) as folder:
        if target == "peft":
            write_prompt_tuning(folder, rows, settings)
        elif target == "peft-multitask":
            write_multitask(folder, rows, settings)
        else:
            model, tokenizer = _load(rows, run.model)
            if target == "prefix":
                write_prefix_tuning(folder, rows, keys_and_values(model, rows), settings)
            else:
                write_vocabulary(folder, rows, model, tokenizer)
    return rows


def _is_causal(rows: TaskRows) -> bool:
    """Whether the prompts' model is one. Raises ValueError where it is of no known family."""
    kind = rows.base_model.get("model_type")
    if kind not in FAMILIES:
        raise ValueError(f"the prompts must be of a model of type {', '.join(FAMILIES)}, got {kind!r}")
    return family_of(kind).causal


def _load(rows: TaskRows, name: str) -> tuple[Any, Any]:
    """The model and its tokenizer. Raises ValueError where the prompts have another width."""
    model, tokenizer = load_model(name)
    own, wanted = rows.prompts.shape[2], width(model)
    if own != wanted:
        raise ValueError(f"the prompts have width {own}, model {name!r} has {wanted}")
    return model.eval(), tokenizer
