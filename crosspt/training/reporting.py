"""Logs of a training for TensorBoard or Weights & Biases, by the Trainer's own callbacks."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from accelerate import PartialState
from transformers import TrainerCallback
from transformers.integrations import TensorBoardCallback, WandbCallback

from crosspt.config.run import ReportTo


def check_reporting(report_to: ReportTo) -> None:
    """Raise ValueError where the package that logs are written with is not installed."""
    if report_to == "none":
        return
    try:
        version(report_to)
    except PackageNotFoundError:
        raise ValueError(f"report_to {report_to} needs the package {report_to}, which is not installed") from None


@contextmanager
def reporting(report_to: ReportTo, folder: Path) -> Iterator[list[TrainerCallback]]:
    """The callbacks that write the logs of a training into a folder, which is made when missing.

    Of processes that were started together the first one has them.

    Raises:
        RuntimeError: Weights & Biases does not start, as without a login.
    """
    if report_to == "none" or not PartialState().is_main_process:
        yield []
        return
    folder.mkdir(parents=True, exist_ok=True)
    if report_to == "tensorboard":
        callback = TensorBoardCallback()
        callback.logging_dir = str(folder)
        yield [callback]
        return
    import wandb

    try:
        run = wandb.init(dir=folder)
    except wandb.Error as error:
        raise RuntimeError(f"report_to wandb: {error}") from None
    with run:
        yield [WandbCallback()]
