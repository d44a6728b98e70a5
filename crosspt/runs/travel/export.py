"""The command ``export``: the prompts of a run in another library's format."""

from pathlib import Path
from typing import Any, Literal

from transformers import CONFIG_MAPPING

from crosspt.config.run import RunConfig
from crosspt.runs.travel.adapters import (
    common_settings,
    write_multitask,
    write_prefix_tuning,
    write_prompt_tuning,
)
from crosspt.runs.travel.folder import whole_folder
from crosspt.runs.travel.language_model import load_language_model, read_config, where_it_is
from crosspt.runs.travel.prefix import keys_and_values
from crosspt.runs.travel.prompts import TaskRows, read_rows
from crosspt.runs.travel.vocabulary import write_vocabulary

Target = Literal["peft", "peft-multitask", "prefix", "vocabulary"]


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
    encoder_decoder = _is_encoder_decoder(rows, run.model)
    if rows.prefix_mode == "isolated" and encoder_decoder:
        raise ValueError(
            f"isolated prefixes of an encoder-decoder have no format elsewhere, so that {checkpoint} cannot be exported"
        )
    if target == "prefix" and encoder_decoder:
        raise ValueError(f"--to prefix is for causal language models, got an encoder-decoder, {run.model}")
    settings = common_settings(rows, where_it_is(run.model), encoder_decoder=encoder_decoder)
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


def _is_encoder_decoder(rows: TaskRows, name: str) -> bool:
    """Whether the prompts' model has an encoder: by its type, or its configuration where no type was saved."""
    kind: Any = rows.base_model.get("model_type")
    config = CONFIG_MAPPING[kind]() if kind in CONFIG_MAPPING else read_config(name)
    return bool(config.is_encoder_decoder)


def _load(rows: TaskRows, name: str) -> tuple[Any, Any]:
    """The model and its tokenizer. Raises ValueError where the prompts have another width."""
    model, tokenizer = load_language_model(name)
    width, wanted = rows.prompts.shape[2], model.config.get_text_config().hidden_size
    if width != wanted:
        raise ValueError(f"the prompts have width {width}, model {name!r} has {wanted}")
    return model, tokenizer
