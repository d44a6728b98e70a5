"""The two stages: source prompts, one for each source task, then the prompts of the targets.

A run is a sequence of jobs. Each trains one bank into a folder of its own and is finished once its prompts lie there,
so a run that was stopped goes on with the first unfinished job, from that job's last whole checkpoint.
"""

import dataclasses
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers import T5ForConditionalGeneration, set_seed

from crosspt.config.data import DataConfig
from crosspt.config.files import SCHEMA, write_json
from crosspt.config.layout import CHECKPOINTS, LOGS, SELECTION_NAME, SOURCES, TARGETS
from crosspt.config.prompts import CrossPTConfig, Initialization
from crosspt.config.run import ReportTo
from crosspt.config.training import TrainingConfig
from crosspt.models.model import CrossPTModel
from crosspt.storage import CONFIG_NAME
from crosspt.tasks.collation import PromptCollator
from crosspt.tasks.rows import TaskRows, encode_training_rows
from crosspt.training.reporting import reporting
from crosspt.training.selection import Score, describe_selection
from crosspt.training.trainer import PromptTrainer


@dataclass(frozen=True)
class Job:
    """The training of one bank.

    Args:
        folder: where its prompts go, below the run's folder.
        config: the prompts.
        training: the settings.
    """

    folder: str
    config: CrossPTConfig
    training: TrainingConfig

    def is_finished(self, folder: Path) -> bool:
        """Whether its prompts are below a folder."""
        return (folder / self.folder / CONFIG_NAME).is_file()  # the later one of the two files


def plan_stage1(config: CrossPTConfig, training: TrainingConfig, available: Collection[str] = ()) -> list[Job]:
    """The jobs that train the source prompts a scheme starts from: none where it starts from none.

    Stage 1 is scheme P on the source tasks whose prompt is not available yet, with P's own learning rates. The texts of
    ``init_texts`` belong to the targets; stage 1 starts from the vocabulary instead.
    """
    if not config.parsed_scheme.needs_source_prompts:
        return []
    missing = [task for task in config.resolved_source_tasks if task not in available]
    settings = dataclasses.replace(
        training,
        epochs=training.stage1_epochs or training.epochs,
        source_learning_rate=None,
        private_learning_rate=None,
        logits_learning_rate=None,
        encoder_learning_rate=None,
    )
    if training.stage1 == "joint":
        groups = [("joint", missing)] if missing else []
    else:
        groups = [(task, [task]) for task in missing]
    fresh: Initialization = "vocabulary" if config.initialization == "text" else config.initialization
    jobs = []
    for name, tasks in groups:
        prompts = dataclasses.replace(
            config, tasks=tasks, scheme="P", source_tasks=None, initialization=fresh, init_texts=None
        )
        jobs.append(Job(f"{SOURCES}/{name}", prompts, settings))
    return jobs


def plan_stage2(config: CrossPTConfig, training: TrainingConfig) -> list[Job]:
    """One job for all targets, in the run's folder itself, or one for every target below ``targets/``."""
    if training.stage2 == "joint":
        return [Job("", config, training)]
    return [
        Job(
            f"{TARGETS}/{task}",
            dataclasses.replace(config, tasks=[task], source_tasks=list(config.resolved_source_tasks)),
            training,
        )
        for task in config.tasks
    ]


def run_job(
    job: Job,
    folder: Path,
    t5: T5ForConditionalGeneration,
    tokenizer: Any,
    rows: Mapping[str, TaskRows],
    data: DataConfig,
    *,
    source_prompts: Mapping[str, Tensor] | None = None,
    score: Score | None = None,
    report_to: ReportTo = "none",
    device: str = "auto",
    progress: bool = True,
) -> None:
    """Train a job, from its last whole checkpoint where there is one, and save its prompts.

    Where they are selected, ``selection.json`` beside them says which step's they are, see :func:`describe_selection`.

    Args:
        job: what to train.
        folder: the run's folder.
        t5: the model; its dropout rates are set while training.
        tokenizer: the T5's.
        rows: the rows of each task.
        data: how rows are encoded.
        source_prompts: encoded stage-1 prompts (m, d) by task.
        score: for ``select="best"``: the score on development rows.
        report_to: what the curves of the training are logged for.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        progress: whether to show a progress bar.
    """
    set_seed(job.training.seed)
    model = CrossPTModel(t5, job.config, source_prompts=source_prompts, tokenizer=tokenizer)
    if job.training.lm_dropout is not None:
        _set_dropout(t5, job.training.lm_dropout)
    with reporting(report_to, folder / LOGS / job.folder) as callbacks:
        folder = folder / job.folder
        trainer = PromptTrainer(
            model,
            job.training,
            encode_training_rows(job.config.tasks, rows, tokenizer, data),
            PromptCollator(tokenizer),
            folder / CHECKPOINTS,
            device=device,
            progress=progress,
            score=score,
            callbacks=callbacks,
        )
        trainer.train_or_resume()
    if trainer.selects:
        write_json(folder / SELECTION_NAME, {"schema": SCHEMA, **describe_selection(trainer.state)})
    model.save_pretrained(folder)
    shutil.rmtree(folder / CHECKPOINTS)


def _set_dropout(t5: nn.Module, rate: float) -> None:
    for module in t5.modules():
        if isinstance(module, nn.Dropout):
            module.p = rate
        elif isinstance(getattr(module, "dropout", None), float):
            setattr(module, "dropout", rate)  # noqa: B010  attention keeps its rate as a number
