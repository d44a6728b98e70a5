"""The jobs of the two stages: source prompts, one for each source task, then what the targets learn.

A run is a sequence of jobs. Each trains one model into a folder of its own and is finished once it is saved there, so a
run that was stopped goes on with the first unfinished job, from that job's last whole checkpoint.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accelerate import PartialState
from torch import Tensor, nn
from transformers import set_seed

from crosspt.config.data import DataConfig
from crosspt.config.files import SCHEMA, write_json
from crosspt.config.layout import CHECKPOINTS, LOGS, SELECTION_NAME
from crosspt.config.run import ReportTo
from crosspt.methods import find_method
from crosspt.methods.method import Job
from crosspt.tasks.collation import PromptCollator
from crosspt.tasks.rows import TaskRows, encode_training_rows
from crosspt.training.reporting import reporting
from crosspt.training.selection import Score, describe_selection
from crosspt.training.trainer import PromptTrainer


def run_job(
    job: Job,
    folder: Path,
    base_model: Any,
    tokenizer: Any,
    rows: Mapping[str, TaskRows],
    data: DataConfig,
    *,
    source_prompts: Mapping[str, Tensor] | None = None,
    shared: Path | None = None,
    score: Score | None = None,
    report_to: ReportTo = "none",
    device: str = "auto",
    progress: str = "",
) -> int:
    """Train a job, from its last whole checkpoint where there is one, and save what it has learned.

    Where it is selected, ``selection.json`` beside it says which step's it is, see :func:`describe_selection`.

    Args:
        job: what to train.
        folder: the run's folder.
        base_model: the model; its dropout rates are set while training.
        tokenizer: the language model's.
        rows: the rows of each task.
        data: how rows are encoded.
        source_prompts: encoded stage-1 prompts (m, d) by task.
        shared: the folder of the bank that the tasks are added to, for prompts with ``freeze_shared``.
        score: for ``select="best"``: the score on development rows.
        report_to: what the curves of the training are logged for.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        progress: what a progress bar says is trained; nothing is shown without.

    Returns:
        The number of optimizer steps that were made now.
    """
    set_seed(job.training.seed)
    method = find_method(job.method)
    model = method.build(base_model, job.config, source_prompts=source_prompts, tokenizer=tokenizer)
    if shared is not None:
        method.take_shared(model, shared)
    if job.training.lm_dropout is not None:
        _set_dropout(model.base_model, job.training.lm_dropout)
    with reporting(report_to, folder / LOGS / job.folder) as callbacks:
        folder = folder / job.folder
        trainer = PromptTrainer(
            method,
            model,
            job.training,
            encode_training_rows(job.config.tasks, rows, tokenizer, data, causal=model.family.causal),
            PromptCollator(tokenizer, causal=model.family.causal),
            folder / CHECKPOINTS,
            device=device,
            progress=progress,
            score=score,
            callbacks=callbacks,
        )
        steps = trainer.train_or_resume()
    if trainer.is_world_process_zero():
        if trainer.selects:
            write_json(folder / SELECTION_NAME, {"schema": SCHEMA, **describe_selection(trainer.state)})
        method.save(model, folder)
        shutil.rmtree(folder / CHECKPOINTS)
    PartialState().wait_for_everyone()
    return steps


def _set_dropout(base_model: nn.Module, rate: float) -> None:
    for module in base_model.modules():
        if isinstance(module, nn.Dropout):
            module.p = rate
        elif isinstance(getattr(module, "dropout", None), float):
            setattr(module, "dropout", rate)  # noqa: B010  attention keeps its rate as a number
