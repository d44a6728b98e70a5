import dataclasses
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch

from crosspt import CrossPTConfig, CrossPTModel
from crosspt.config.data import DataConfig
from crosspt.config.training import TrainingConfig
from crosspt.methods.crosspt import CrossPT
from crosspt.storage import load_source_prompts
from crosspt.tasks.rows import TaskRows
from crosspt.tasks.task import Task
from crosspt.training.stages import run_job
from tests.conftest import make_t5

TASKS = ["mrpc", "rte"]
TRAINING = TrainingConfig(epochs=1, batch_size=4)


class LetterTokenizer:
    """One token for each letter, 3 for ``a``."""

    pad_token_id = 0
    eos_token_id = 1
    unk_token_id = 2
    all_special_ids = (0, 1, 2)

    def __call__(self, texts: list[str], **options: Any) -> dict[str, list[list[int]]]:
        return {"input_ids": [[3 + (ord(letter) - ord("a")) % 40 for letter in text] for text in texts]}

    def decode(self, ids: list[int], **options: Any) -> str:
        return "".join(chr(ord("a") + token - 3) for token in ids)


def make_rows(names: list[str]) -> dict[str, TaskRows]:
    rows = datasets.Dataset.from_list([{"text": "abc" * (1 + row % 3), "label": row % 2} for row in range(8)])
    return {
        name: TaskRows(Task(name=name, fields=("text",), labels=("no", "yes")), ("no", "yes"), rows, rows)
        for name in names
    }


def test_schemes_without_saved_prompts_have_no_stage_1() -> None:
    assert CrossPT().plan_sources(CrossPTConfig(tasks=TASKS, scheme="SLPN"), TRAINING) == []


def test_stage_1_is_scheme_p_on_each_source_task_that_is_missing() -> None:
    config = CrossPTConfig(tasks=TASKS, scheme="SILP", source_tasks=["mrpc", "qnli", "cola"], encoder="mlp")
    training = TrainingConfig(epochs=4, source_learning_rate=0.3, seed=5)
    jobs = CrossPT().plan_sources(config, training, available=["qnli"])
    assert [(job.folder, job.config.tasks, job.config.scheme) for job in jobs] == [
        ("stage1/mrpc", ["mrpc"], "P"),
        ("stage1/cola", ["cola"], "P"),
    ]
    assert all(job.config.encoder == "mlp" and job.training.seed == 5 for job in jobs)
    assert jobs[0].training.learning_rates(jobs[0].config) == {"privates": 0.07, "encoder": 0.07}
    assert jobs[0].training.epochs == 4
    later = dataclasses.replace(training, stage1_epochs=9, stage1="joint")
    (joint,) = CrossPT().plan_sources(config, later, available=["qnli"])
    assert (joint.folder, joint.config.tasks, joint.training.epochs) == ("stage1/joint", ["mrpc", "cola"], 9)
    assert CrossPT().plan_sources(config, later, available=["mrpc", "qnli", "cola"]) == []


def test_texts_belong_to_the_targets() -> None:
    config = CrossPTConfig(tasks=TASKS, scheme="SILP", initialization="text", init_texts=["a", "b"])
    assert {job.config.initialization for job in CrossPT().plan_sources(config, TRAINING)} == {"vocabulary"}


def test_stage_2_jointly_or_for_every_target() -> None:
    config = CrossPTConfig(tasks=TASKS, scheme="SILP")
    (joint,) = CrossPT().plan_targets(config, TRAINING)
    assert (joint.folder, joint.config) == ("", config)
    single = CrossPT().plan_targets(config, dataclasses.replace(TRAINING, stage2="per_target"))
    assert [(job.folder, job.config.tasks, job.config.num_sources) for job in single] == [
        ("targets/mrpc", ["mrpc"], 2),
        ("targets/rte", ["rte"], 2),
    ]


def test_both_stages(tmp_path: Path) -> None:
    t5, rows = make_t5(), make_rows([*TASKS, "qnli"])
    config = CrossPTConfig(tasks=TASKS, scheme="SILP", source_tasks=["rte", "qnli"], prompt_length=3)
    stage1 = CrossPT().plan_sources(config, TRAINING)
    options: dict[str, Any] = {"device": "cpu"}
    for job in stage1:
        assert not job.is_finished(tmp_path)
        run_job(job, tmp_path, t5, LetterTokenizer(), rows, DataConfig(), **options)
        assert job.is_finished(tmp_path)
    source_prompts = load_source_prompts([tmp_path / job.folder for job in stage1], d_model=16)
    (stage2,) = CrossPT().plan_targets(config, TRAINING)
    start = CrossPTModel(t5, config, source_prompts=source_prompts).embedding.bank
    assert start.sources is not None
    assert torch.equal(start.sources[1], source_prompts["qnli"])
    run_job(stage2, tmp_path, t5, LetterTokenizer(), rows, DataConfig(), source_prompts=source_prompts, **options)
    trained = CrossPTModel.from_pretrained(t5, tmp_path)
    assert trained.embedding.bank.sources is not None
    assert not torch.equal(trained.embedding.bank.sources[1], source_prompts["qnli"])
    assert not (tmp_path / "checkpoints").exists()


def test_a_task_trained_with_another_or_alone_by_scheme_p_has_the_same_gradients() -> None:
    t5 = make_t5()
    rows = torch.tensor([[3, 4, 5], [6, 7, 8]])
    labels = torch.tensor([[3, 1], [4, 1]])
    torch.manual_seed(0)
    both = CrossPTModel(t5, CrossPTConfig(tasks=TASKS, scheme="P", prompt_length=3)).eval()
    alone = CrossPTModel(t5, CrossPTConfig(tasks=["rte"], scheme="P", prompt_length=3)).eval()
    mine, theirs = alone.embedding.bank, both.embedding.bank
    state = {"privates": theirs.privates[1:]} if theirs.privates is not None else {}
    state |= {f"encoder.0.{name}": theirs.get_parameter(f"encoder.1.{name}") for name in ("weight", "bias")}
    mine.load_state_dict(state)
    (2 * both(input_ids=rows, task_ids=torch.tensor([0, 1]), labels=labels).loss).backward()
    alone(input_ids=rows[1:], labels=labels[1:]).loss.backward()
    for name in ("weight", "bias"):
        torch.testing.assert_close(
            theirs.get_parameter(f"encoder.1.{name}").grad, mine.get_parameter(f"encoder.0.{name}").grad
        )


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_lm_dropout_overrides_every_rate_of_the_t5(rate: float, tmp_path: Path) -> None:
    t5 = make_t5(dropout_rate=0.1)
    (job,) = CrossPT().plan_targets(
        CrossPTConfig(tasks=["mrpc"], scheme="P", prompt_length=3), dataclasses.replace(TRAINING, lm_dropout=rate)
    )
    run_job(job, tmp_path, t5, LetterTokenizer(), make_rows(["mrpc"]), DataConfig(), device="cpu")
    t5.train()
    ids = torch.tensor([[3, 4, 5]])
    outputs = [t5(input_ids=ids, labels=ids).logits for _ in range(2)]
    assert torch.equal(*outputs) == (rate == 0.0)
    attention: Any = t5.get_submodule("encoder.block.0.layer.0.SelfAttention")
    assert attention.dropout == rate
