"""The command ``import``: prompts of other libraries become a folder of source prompts."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig

from crosspt.config.prompts import CrossPTConfig
from crosspt.models.family import describe
from crosspt.models.loading import load_model
from crosspt.runs.travel.folder import whole_folder
from crosspt.runs.travel.foreign import Foreign, find_sources, read_source
from crosspt.runs.travel.prompts import TaskRows
from crosspt.storage import SavedPrompts, save_prompts


def import_prompts(source: Path, output: Path, tasks: Sequence[str] = (), model: str | None = None) -> TaskRows:
    """Read prompts of another library and save them, of scheme P without an encoder.

    Args:
        source: an adapter's folder or file, or a folder of such.
        output: the folder that ``crosspt train --source-prompts`` takes; it is written whole or not at all.
        tasks: names of the prompts' tasks, by default as the files name them.
        model: the model they were trained on, by default the one that the files name.

    Returns:
        What was written.

    Raises:
        ValueError: a file is missing, damaged, or holds something else than prompts of one shape and of the model's
            width; or the output holds something else.
    """
    found = [read_source(path) for path in find_sources(source)]
    shapes = {tuple(one.prompts.shape[1:]) for one in found}
    if len(shapes) > 1:
        raise ValueError(f"source {source} must hold prompts of one shape (m, d), got {', '.join(map(str, shapes))}")
    prompts = torch.cat([one.prompts for one in found])
    rows = TaskRows(_task_names(found, list(tasks), source), prompts, {})
    rows = replace(rows, base_model=_base_model(found, model, prompts.shape[2]))
    for one in found:
        if one.left_out:
            warnings.warn(f"{one.path}: {one.left_out} left out, the prompt alone is imported", stacklevel=2)
    config = CrossPTConfig(tasks=rows.tasks, scheme="P", prompt_length=prompts.shape[1], encoder="none")
    with whole_folder(output) as folder:
        save_prompts(folder, SavedPrompts(config, rows.base_model, {"privates": prompts}, prompts.clone()))
    return rows


def _task_names(found: Sequence[Foreign], given: list[str], source: Path) -> list[str]:
    """The names that are given, or that the files give."""
    count = sum(len(one.prompts) for one in found)
    names = given
    if not given:
        for one in found:
            names = [*names, *one.origin.get("tasks", [one.name] if one.name else [])]
    if len(names) != count or len(set(names)) < count:
        got = f"got {', '.join(names)}" if names else "and the files name none"
        raise ValueError(
            f"--task must name the {count} different tasks of {source}, in the order of its prompts, {got}"
        )
    return names


def _base_model(found: Sequence[Foreign], given: str | None, width: int) -> dict[str, Any]:
    """What is known of the prompts' model. Raises ValueError where it is of another width than they are."""
    one = found[0]
    if given is None and "base_model" in one.origin:
        return dict(one.origin["base_model"])
    name = given or one.model
    described: dict[str, Any] = {"name": name, "model_type": None, "d_model": width, "vocab_size": None}
    if given is not None:
        described = describe(load_model(given)[0])
    elif name is None:
        warnings.warn("the files do not say which model their prompts were trained on; --model does", stacklevel=3)
    else:
        try:
            described = _describe_config(name)
        except Exception as error:  # transformers and the hub's client each raise their own
            reason = " ".join(str(error).split())
            warnings.warn(f"model {name!r} is not here to be compared, --model may name it: {reason}", stacklevel=3)
    if described["d_model"] != width:
        raise ValueError(f"{one.path} holds prompts of width {width}, model {name!r} has {described['d_model']}")
    return described


def _describe_config(name: str) -> dict[str, Any]:
    """What saved prompts say of a model, from its configuration in a folder or in the hub's cache."""
    config = AutoConfig.from_pretrained(name, local_files_only=True)
    text = config.get_text_config()
    return {
        "name": name,
        "model_type": config.model_type,
        "d_model": text.hidden_size,
        "vocab_size": text.vocab_size,
    }
