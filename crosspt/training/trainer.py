"""transformers' Trainer for prompts: own parameter groups, whole checkpoints, a loss that must stay finite."""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import Trainer, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from crosspt.config.files import SCHEMA, read_json
from crosspt.config.training import TrainingConfig
from crosspt.config.values import check_types
from crosspt.models.model import CrossPTModel
from crosspt.storage import check_state, load_prompts
from crosspt.tasks.collation import IGNORED_LABEL
from crosspt.training.optimizer import make_optimizer

CHECKPOINTS_KEPT = 2
UNFINISHED = "unfinished"
SUMS_NAME = "checksums.json"


class PromptTrainer(Trainer):
    """Trains the prompts of a :class:`CrossPTModel` on encoded rows.

    Args:
        model: the model.
        training: the settings.
        rows: encoded rows, see ``crosspt.tasks.collation.encode_rows``; rows of different tasks share batches.
        collator: makes a batch of rows.
        folder: where checkpoints go.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        progress: whether to show a progress bar.
    """

    model: CrossPTModel

    def __init__(
        self,
        model: CrossPTModel,
        training: TrainingConfig,
        rows: Any,
        collator: Any,
        folder: Path,
        *,
        device: str = "auto",
        progress: bool = True,
    ):
        self.learning_rates = training.learning_rates(model.config)
        self.folder = folder
        arguments = TrainingArguments(
            output_dir=str(folder),
            num_train_epochs=training.resolved_epochs(model.config.parsed_scheme),
            per_device_train_batch_size=training.batch_size,
            gradient_accumulation_steps=training.gradient_accumulation_steps,
            max_grad_norm=training.max_grad_norm,
            lr_scheduler_type="linear",
            bf16=training.bf16,
            seed=training.seed,
            save_strategy="steps" if training.save_steps else "epoch",
            save_steps=training.save_steps or 500,
            logging_strategy="epoch",
            logging_nan_inf_filter=False,
            remove_unused_columns=False,
            dataloader_pin_memory=device != "cpu" and torch.cuda.is_available(),
            use_cpu=device == "cpu",
            disable_tqdm=not progress,
            report_to="none",
        )
        arguments._n_gpu = min(arguments.n_gpu, 1)  # DataParallel would copy the frozen T5 in every step
        super().__init__(model=model, args=arguments, train_dataset=rows, data_collator=collator)

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Adam over the groups of prompt parameters."""
        if self.optimizer is None:
            self.optimizer = make_optimizer(self.model.embedding.bank, self.learning_rates)
        return self.optimizer

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The T5's loss. A loss that is not finite stops the run with the step and the tasks it came from."""
        outputs = model(**inputs)
        if not torch.isfinite(outputs.loss):
            tasks = _tasks_without_finite_loss(outputs.logits, inputs, self.model.config.tasks)
            raise RuntimeError(
                f"training: the loss must be finite, got {outputs.loss.item()} in step {self.state.global_step + 1} "
                f"on rows of {', '.join(tasks)}; lower the learning rates, or train in bfloat16 or float32"
            )
        return (outputs.loss, outputs) if return_outputs else outputs.loss

    def train_or_resume(self) -> None:
        """Train, from the last whole checkpoint in the folder where there is one."""
        checkpoint = get_last_checkpoint(self.folder) if self.folder.is_dir() else None
        if checkpoint is not None:
            _check_sums(Path(checkpoint))
        self.train(resume_from_checkpoint=checkpoint)

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Nothing: the Trainer's estimate is for training all of a model's weights."""
        return 0

    def _get_output_dir(self, trial: Any) -> str:
        # `_save_checkpoint` builds the checkpoint here; only a whole one is renamed to where a resumed run looks.
        return str(self.folder / UNFINISHED)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        unfinished = self.folder / UNFINISHED
        shutil.rmtree(unfinished, ignore_errors=True)
        super()._save_checkpoint(model, trial)
        (checkpoint,) = unfinished.iterdir()
        sums = {file.name: _digest(file) for file in checkpoint.iterdir()}
        (checkpoint / SUMS_NAME).write_text(json.dumps({"schema": SCHEMA, "files": sums}), encoding="utf-8")
        for file in checkpoint.iterdir():
            with file.open("rb") as opened:
                os.fsync(opened.fileno())
        target = self.folder / checkpoint.name
        shutil.rmtree(target, ignore_errors=True)
        checkpoint.rename(target)
        unfinished.rmdir()
        steps = {int(path.name.rpartition("-")[2]): path for path in self.folder.glob("checkpoint-*")}
        for step in sorted(steps)[:-CHECKPOINTS_KEPT]:
            shutil.rmtree(steps[step])

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        self.model.save_pretrained(output_dir or self.folder)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        bank = self.model.embedding.bank
        saved = load_prompts(resume_from_checkpoint)
        if saved.config != self.model.config:
            raise ValueError(f"resume: {resume_from_checkpoint} was made with other prompt settings than this run's")
        check_state(resume_from_checkpoint, saved.state, bank.state_dict())
        bank.load_state_dict(saved.state)


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _check_sums(checkpoint: Path) -> None:
    """Raise ValueError where a file of a checkpoint is not the one that was written: what reads it would not notice."""
    path = checkpoint / SUMS_NAME
    try:
        content = read_json(path)
        check_types(path, content, {"files": dict[str, str]})
        for name, digest in content["files"].items():
            file = checkpoint / name
            if not file.is_file() or _digest(file) != digest:
                raise ValueError(f"{file} is not as it was written")
    except ValueError as error:
        raise ValueError(f"resume: {error}; without {checkpoint} the run goes on from before it") from None


def _tasks_without_finite_loss(logits: Tensor, inputs: dict[str, Any], tasks: list[str]) -> list[str]:
    """The tasks of the rows whose own loss is not finite."""
    losses = F.cross_entropy(
        logits.float().flatten(0, 1), inputs["labels"].flatten(), ignore_index=IGNORED_LABEL, reduction="none"
    )
    bad_rows = ~torch.isfinite(losses.view_as(inputs["labels"]).sum(dim=1))
    ids = inputs["task_ids"][bad_rows].unique().tolist()
    return [tasks[task] for task in ids]
