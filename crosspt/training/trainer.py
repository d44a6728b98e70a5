"""transformers' Trainer for any method: own parameter groups, whole checkpoints, the best of them, a finite loss."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from torch import Tensor
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerState, TrainingArguments, set_seed
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, get_last_checkpoint

from crosspt.config.files import SCHEMA, read_json
from crosspt.config.training import TrainingConfig
from crosspt.config.values import check_types
from crosspt.methods.method import Method
from crosspt.tasks.collation import IGNORED_LABEL
from crosspt.training.loss import longest_end, tasks_without_finite_loss, weigh_loss
from crosspt.training.processes import from_first, join_processes, share_only_learned
from crosspt.training.progress import Following, Steps
from crosspt.training.selection import METRIC, Patience, Score, to_metrics

CHECKPOINTS_KEPT = 2
UNFINISHED = "unfinished"
SUMS_NAME = "checksums.json"


class PromptTrainer(Trainer):
    """Trains a method's model on encoded rows, also in several processes that were started together.

    An optimizer step of W processes is that of one whose batch is W times as large, but for the order of sums: rows are
    drawn alike, and every row counts once. The first process alone writes.

    Args:
        method: the method.
        model: what it built.
        training: the settings.
        rows: encoded rows, see ``crosspt.tasks.collation.encode_rows``; rows of different tasks share batches.
        collator: makes a batch of rows.
        folder: where checkpoints go.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        progress: what a progress bar says is trained; nothing is shown without.
        score: for ``select="best"``: the score on development rows, which a checkpoint of each evaluation keeps.
        callbacks: further ones of the Trainer.
    """

    model: Any

    def __init__(
        self,
        method: Method,
        model: Any,
        training: TrainingConfig,
        rows: Any,
        collator: Any,
        folder: Path,
        *,
        device: str = "auto",
        progress: str = "",
        score: Score | None = None,
        callbacks: Sequence[TrainerCallback] = (),
    ):
        self.method = method
        self.groups = method.groups(model, training)
        self.folder = folder
        self.rows = len(rows)
        self.selects = training.select == "best"
        self.score = score
        self.best_steps: list[int | None] = []  # the best of each of the checkpoints that are kept
        if self.selects and score is None:
            raise ValueError("PromptTrainer: select best needs a score, got None")
        if training.patience is not None:
            callbacks = [*callbacks, Patience(training.patience)]
        processes = join_processes("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")
        if processes > 1:
            share_only_learned(model)
        arguments = TrainingArguments(
            output_dir=str(folder),
            num_train_epochs=method.epochs(model.config, training),
            per_device_train_batch_size=training.batch_size,
            gradient_accumulation_steps=training.gradient_accumulation_steps,
            max_grad_norm=training.max_grad_norm,
            lr_scheduler_type="linear",
            bf16=training.bf16,
            seed=training.seed,
            data_seed=training.seed,
            ddp_find_unused_parameters=False,
            **_when_to_save(training, len(rows), processes),
            logging_strategy="epoch",
            logging_nan_inf_filter=False,
            remove_unused_columns=False,
            dataloader_pin_memory=device != "cpu" and torch.cuda.is_available(),
            use_cpu=device == "cpu",
            disable_tqdm=True,
            report_to="none",
        )
        arguments._n_gpu = min(arguments.n_gpu, 1)  # DataParallel would copy the frozen T5 in every step
        super().__init__(
            model=model,
            args=arguments,
            train_dataset=rows,
            eval_dataset=() if self.selects else None,  # that there are rows is all the Trainer asks
            data_collator=collator,
            callbacks=[*callbacks],
        )
        self.progress = progress
        self.remove_callback(PrinterCallback)

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Adam over the method's groups of parameters, each with its own learning rate."""
        if self.optimizer is None:
            self.optimizer = torch.optim.Adam(self.groups)
        return self.optimizer

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: torch.device) -> tuple[list[Any], Any]:
        """The batches of an optimizer step. Of an epoch's last, a process has the rows that are its own.

        Accelerate fills it with rows of the epoch's first batches. A process that has none keeps a row without labels.
        """
        samples, items = super().get_batch_samples(epoch_iterator, num_batches, device)
        arguments = self.args
        left = self.rows % (arguments.train_batch_size * arguments.world_size)
        if arguments.world_size > 1 and left and self.accelerator.gradient_state.end_of_dataloader:
            own = max(left - arguments.process_index * arguments.train_batch_size, 0)
            samples[-1] = {name: tensor[: max(own, 1)] for name, tensor in samples[-1].items()}
            if not own:
                samples[-1]["labels"].fill_(IGNORED_LABEL)
        return samples, items

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The T5's loss, or with weights of rows that mean of the labels' losses in which each counts by its weight.

        A loss that is not finite stops the run with the step and the tasks it came from.
        """
        family, weights = self.model.family, inputs.get("weights")
        inputs = {name: value for name, value in inputs.items() if name != "weights"}
        if family.causal:
            inputs["logits_to_keep"] = longest_end(inputs)
        outputs = model(**inputs)
        loss, labels = outputs.loss, inputs["labels"]
        count = (labels != IGNORED_LABEL).sum()
        if weights is not None:
            loss, count = weigh_loss(
                outputs.logits, family.told(labels, inputs["attention_mask"], outputs.logits), weights
            )
        failed = not torch.isfinite(loss)
        if self.args.world_size > 1:
            # The mean over all processes' labels: each gives its part, times their number, as gradients are averaged.
            if not count:
                loss = outputs.logits.sum() * 0
            sums = torch.stack([count, ~torch.isfinite(loss)]).double()  # of weights in some processes, in others not
            total, failures = self.accelerator.reduce(sums, "sum").tolist()
            failed = failures > 0
            loss = loss * (count * self.args.world_size / total)
        if failed:
            tasks = gather_object(tasks_without_finite_loss(outputs.logits, inputs, self.model.config.tasks))
            raise RuntimeError(
                f"training: the loss must be finite, got {outputs.loss.item()} in step {self.state.global_step + 1} "
                f"on rows of {', '.join(dict.fromkeys(tasks))}; lower the learning rates, or train in bfloat16 or "
                "float32"
            )
        return (loss, outputs) if return_outputs else loss

    def training_step(self, *arguments: Any, **options: Any) -> Tensor:
        """A step of the Trainer's. One that leaves no gradient stops the run: it would end with what it began with."""
        loss = super().training_step(*arguments, **options)
        if all(parameter.grad is None for group in self.groups for parameter in group["params"]):
            raise RuntimeError(
                f"training: no gradient has reached what learns in step {self.state.global_step + 1}; a layer of the "
                "language model hands none back, as 4-bit ones of bitsandbytes on a CPU once they have answered"
            )
        return loss

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """The scores on the development rows; the step is one whose checkpoint is written."""
        assert self.score is not None
        metrics = to_metrics(self.score(self.model.eval()))
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        self.control.should_save = True
        return metrics

    def train_or_resume(self) -> int:
        """Train, from the last whole checkpoint in the folder where there is one; the best prompts are taken if so set.

        Returns:
            The number of optimizer steps that were made now.

        Raises:
            ValueError: a checkpoint that is needed is not as it was written.
        """
        checkpoint = from_first(lambda: get_last_checkpoint(self.folder) if self.folder.is_dir() else None)
        if self.args.process_index:
            set_seed((self.args.seed + self.args.process_index) % 2**32)  # dropout of its own for every process
        if checkpoint is not None:
            _check_sums(Path(checkpoint), f"without {checkpoint} the run goes on from before it")
        before = 0 if checkpoint is None else int(Path(checkpoint).name.rpartition("-")[2])
        if not self.selects:
            self._train(checkpoint)
            return self.state.global_step - before
        stopped = False
        if checkpoint is not None:
            state = TrainerState.load_from_json(str(Path(checkpoint) / TRAINER_STATE_NAME))
            self.best_steps = [state.best_global_step]
            if state.best_global_step not in (None, state.global_step):
                _check_sums(
                    self._checkpoint(state.best_global_step),
                    f"it holds the best prompts so far; without {self.folder} the training starts again",
                )
            stopped = state.stateful_callbacks["TrainerControl"]["args"]["should_training_stop"]
            self.state = state
        if not stopped:  # the Trainer would make another step
            self._train(checkpoint)
        if self.is_world_process_zero():  # which saves them
            self._load_from_checkpoint(str(self._checkpoint(self.state.best_global_step)))
        return self.state.global_step - before

    def _train(self, checkpoint: str | None) -> None:
        with Steps(self.progress, shown=bool(self.progress) and self.is_world_process_zero()) as steps:
            self.add_callback(Following(steps))
            self.train(resume_from_checkpoint=checkpoint)
            steps.finish()

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Nothing: the Trainer's estimate is for training all of a model's weights."""
        return 0

    def _get_output_dir(self, trial: Any) -> str:
        # `_save_checkpoint` builds the checkpoint here; only a whole one is renamed to where a resumed run looks.
        return str(self.folder / UNFINISHED)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        if self.is_world_process_zero():
            shutil.rmtree(self.folder / UNFINISHED, ignore_errors=True)
        super()._save_checkpoint(model, trial)
        self.state.best_model_checkpoint = None  # a path that is about to change; the step is enough
        if self.is_world_process_zero():
            self._finish_checkpoint()

    def _finish_checkpoint(self) -> None:
        """Give the checkpoint its name once all of it is on disk, and remove those that are needed no more."""
        unfinished = self.folder / UNFINISHED
        (checkpoint,) = unfinished.iterdir()
        self.state.save_to_json(str(checkpoint / TRAINER_STATE_NAME))
        sums = {file.name: _digest(file) for file in checkpoint.iterdir()}
        (checkpoint / SUMS_NAME).write_text(json.dumps({"schema": SCHEMA, "files": sums}), encoding="utf-8")
        for file in checkpoint.iterdir():
            with file.open("rb") as opened:
                os.fsync(opened.fileno())
        target = self.folder / checkpoint.name
        shutil.rmtree(target, ignore_errors=True)
        checkpoint.rename(target)
        unfinished.rmdir()
        self.best_steps = [*self.best_steps, self.state.best_global_step][-CHECKPOINTS_KEPT:]
        steps = {int(path.name.rpartition("-")[2]): path for path in self.folder.glob("checkpoint-*")}
        for step in sorted(steps)[:-CHECKPOINTS_KEPT]:
            if step not in self.best_steps:
                shutil.rmtree(steps[step])

    def _save_rng_state(self, output_dir: str) -> None:
        if self.args.world_size == 1:
            super()._save_rng_state(output_dir)
            return
        # Each process would write its own: they are gathered, so that one alone writes and has all before it goes on.
        with tempfile.TemporaryDirectory() as name:
            super()._save_rng_state(name)
            states = gather_object([(file.name, file.read_bytes()) for file in Path(name).iterdir()])
        if self.is_world_process_zero():
            for file, content in states:
                (Path(output_dir) / file).write_bytes(content)

    def _checkpoint(self, step: int | None) -> Path:
        return self.folder / f"{PREFIX_CHECKPOINT_DIR}-{step}"

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        if self.is_world_process_zero():
            self.method.save(self.model, Path(output_dir or self.folder))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        self.method.restore(self.model, Path(resume_from_checkpoint))


def _when_to_save(training: TrainingConfig, rows: int, processes: int) -> dict[str, Any]:
    """Arguments of the Trainer. Evaluations go by steps: a step's evaluation and checkpoint are never apart."""
    if training.select == "last":
        return {"save_strategy": "steps" if training.save_steps else "epoch", "save_steps": training.save_steps or 500}
    steps = training.eval_steps or training.steps_per_epoch(rows, processes)
    return {
        "eval_strategy": "steps",
        "eval_steps": steps,
        "save_strategy": "steps",
        "save_steps": training.save_steps or steps,
        "metric_for_best_model": METRIC,
        "greater_is_better": True,
        "restore_callback_states_from_checkpoint": True,
    }


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _check_sums(checkpoint: Path, remedy: str) -> None:
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
        raise ValueError(f"resume: {error}; {remedy}") from None
