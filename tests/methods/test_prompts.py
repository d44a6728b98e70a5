"""What each method that makes prompts computes, counts and learns."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import T5Config, T5ForConditionalGeneration

from crosspt import CrossPTConfig
from crosspt.config.training import TrainingConfig
from crosspt.functional import prepend_prompts
from crosspt.methods import METHODS, find_method
from crosspt.methods.mpt import COLUMNS, POSITIONS, SHARED, DistilledModel
from crosspt.methods.prompts import RowsMethod
from crosspt.methods.spot import choose_source
from crosspt.training.stages import _set_dropout
from tests.conftest import make_t5

NAMES = [name for name in METHODS if isinstance(find_method(name), RowsMethod)]
TASKS, SOURCES, LENGTH, WIDTH = ["mrpc", "rte"], ["mrpc", "rte", "qnli"], 3, 16
CONFIG = CrossPTConfig(tasks=TASKS, source_tasks=SOURCES, prompt_length=LENGTH)


def sources(seed: int = 1) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    found = {task: torch.randn(LENGTH, WIDTH, generator=draw) for task in SOURCES}
    shapes = {SHARED: (LENGTH, WIDTH), POSITIONS: (LENGTH,), COLUMNS: (WIDTH,)}
    return found | {name: torch.randn(shape, generator=draw) for name, shape in shapes.items()}


def build(name: str, t5: T5ForConditionalGeneration, config: CrossPTConfig = CONFIG) -> Any:
    """A model in eval mode, all that it learns moved away from where it starts."""
    torch.manual_seed(0)
    model = find_method(name).build(t5, config, source_prompts=sources()).eval()
    with torch.no_grad():
        for parameter in model.rows.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model


# The few-line definitions: the prompt and the embedded tokens of a row of a task, from what is learned.
def own(row: Tensor, task: int, known: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    return known["prompts"][task], row


def attended(row: Tensor, task: int, known: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    candidates = torch.cat((known["sources"], known["prompts"][task][None]))
    query = F.silu(row.max(dim=0).values @ known["down.weight"].T) @ known["up.weight"].T
    query = F.layer_norm(query, (WIDTH,), known["norm.weight"], known["norm.bias"])
    weights = torch.softmax(candidates.max(dim=1).values @ query / (WIDTH * math.e), dim=0)
    return sum(weight * each for weight, each in zip(weights, candidates, strict=True)) + candidates[-1], row


def scaled(row: Tensor, task: int, known: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    return known["prompts"] * torch.outer(known["positions"][task], known["columns"][task]), row


def shifted(row: Tensor, task: int, known: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    return known["prompts"][task], row + known["left"][task][: len(row)] @ known["right"][task]


DEFINITIONS = {
    "spot": own, "attempt": attended, "dept": shifted, "mpt": scaled, "mpt-source": scaled, "mpt-scratch": scaled,
}  # fmt: skip


def test_every_method_has_a_definition() -> None:
    assert sorted(DEFINITIONS) == sorted(NAMES)


@pytest.mark.parametrize("left", [False, True], ids=["padded right", "padded left"])
@pytest.mark.parametrize("name", NAMES)
def test_first_forward_is_the_definition(name: str, left: bool) -> None:
    t5 = make_t5()
    model = build(name, t5)
    texts, tasks = [[5, 6, 7, 1], [8, 1], [9, 3, 1]], [1, 0, 1]
    rows = [[0] * ((4 - len(text)) * left) + text + [0] * ((4 - len(text)) * (not left)) for text in texts]
    ids = torch.tensor(rows)
    labels = torch.tensor([[4, 1], [5, 1], [6, 1]])
    with torch.no_grad():
        found = model(ids, (ids != 0).long(), torch.tensor(tasks), labels=labels).logits
        for number, (text, task) in enumerate(zip(texts, tasks, strict=True)):
            embedded = t5.shared(torch.tensor(text))
            row = torch.cat(DEFINITIONS[name](embedded, task, model.rows.state_dict()))
            wanted = t5(inputs_embeds=row[None], labels=labels[number : number + 1]).logits[0]
            torch.testing.assert_close(found[number], wanted, rtol=1e-4, atol=1e-5)


def test_trainable_parameters_are_the_published_counts() -> None:
    """T5-base, one task: m d and 202 d (ATTEMPT), m d + m + d (MPT), m d + (256 + d) r (DePT)."""
    with torch.device("meta"):
        base = T5ForConditionalGeneration(T5Config(d_model=768, d_kv=64, d_ff=3072, num_layers=1, num_heads=12))
    counts = {"spot": 76_800, "attempt": 76_800 + 2 * 768 * 100 + 2 * 768, "mpt": 77_668, "dept": 76_800}
    counts |= {"mpt-source": 77_668, "mpt-scratch": 77_668}
    for name in NAMES:
        method = find_method(name)
        config = CrossPTConfig(tasks=["rte"], prompt_length=method.defaults["prompt_length"])
        assert method.build(base, config, initialize=False).count_parameters()[0] == counts[name], name


@pytest.mark.parametrize("name", NAMES)
def test_it_learns_and_leaves_the_t5_alone(name: str) -> None:
    t5 = make_t5()
    before = {key: value.clone() for key, value in t5.state_dict().items()}
    method = find_method(name)
    torch.manual_seed(0)
    model = method.build(t5, CONFIG, source_prompts=sources()).train()
    optimizer = torch.optim.Adam(method.groups(model, TrainingConfig(learning_rate=0.05)))
    grouped = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    assert {id(p) for p in grouped} == {id(p) for p in model.parameters() if p.requires_grad}
    ids, tasks = torch.randint(1, 30, (4, 5)), torch.tensor([0, 1, 0, 1])
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = model(ids, None, tasks, labels=torch.tensor([[3, 1], [4, 1], [3, 1], [4, 1]])).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert all(torch.equal(value, before[key]) for key, value in t5.state_dict().items())


@pytest.mark.parametrize("name", NAMES)
def test_saved_and_loaded(name: str, tmp_path: Path) -> None:
    t5 = make_t5()
    model, method = build(name, t5), find_method(name)
    method.save(model, tmp_path)
    loaded = method.load(t5, tmp_path).eval()
    ids, tasks = torch.tensor([[5, 6, 1], [7, 8, 1]]), torch.tensor([0, 1])
    with torch.no_grad():
        (one, _), (other, _) = model.encode(ids, None, tasks), loaded.encode(ids, None, tasks)
    assert torch.equal(one[0], other[0])


def test_spot_takes_the_most_similar_other_source() -> None:
    prompts = sources()
    prompts["qnli"] = 2 * prompts["rte"] + 0.01
    assert choose_source("rte", CONFIG, prompts) == "qnli"
    method, t5 = find_method("spot"), make_t5()
    model = method.build(t5, CONFIG, source_prompts=prompts)
    torch.testing.assert_close(model.rows.prompts[1].detach(), prompts["qnli"])
    one = CrossPTConfig(tasks=TASKS, source_tasks=["qnli"], prompt_length=LENGTH)
    given = method.build(t5, one, source_prompts={"qnli": prompts["qnli"]})
    assert all(torch.equal(start.detach(), prompts["qnli"]) for start in given.rows.prompts)
    jobs = method.plan_sources(one, TrainingConfig())
    assert [job.folder for job in jobs] == ["stage1/qnli"], "nothing is trained to choose of one"
    far = CrossPTConfig(tasks=["sst2"], source_tasks=["qnli", "rte"], prompt_length=LENGTH)
    assert [job.folder for job in method.plan_sources(far, TrainingConfig())] == [
        "stage1/qnli", "stage1/rte", "stage1/sst2",
    ]  # fmt: skip


def test_sources_are_trained_with_ps_own_settings() -> None:
    method = find_method("attempt")
    norm, epochs = method.defaults["max_grad_norm"], method.defaults["epochs"]
    (job, *_) = method.plan_sources(CONFIG, TrainingConfig(epochs=epochs, max_grad_norm=norm, learning_rate=0.3))
    assert (job.training.epochs, job.training.max_grad_norm, job.training.learning_rate) == (None, 0.0, None)
    (job, *_) = method.plan_sources(CONFIG, TrainingConfig(epochs=3, max_grad_norm=2.0))
    assert (job.training.epochs, job.training.max_grad_norm) == (3, 2.0)
    jobs = find_method("mpt").plan_sources(CONFIG, TrainingConfig(epochs=epochs, stage1_epochs=7))
    assert [job.training.epochs for job in jobs] == [7] * 4


def test_mpt_has_a_source_stage_of_its_own() -> None:
    method = find_method("mpt")
    jobs = method.plan_sources(CONFIG, TrainingConfig(stage2="per_target"))
    assert [(job.folder, job.method) for job in jobs] == [
        ("stage1/mrpc", "crosspt"), ("stage1/rte", "crosspt"), ("stage1/qnli", "crosspt"),
        ("stage1/mpt-source", "mpt-source"),
    ]  # fmt: skip
    assert jobs[-1].config.tasks == SOURCES
    left = find_method("mpt-source").prompts(build("mpt-source", make_t5()))
    rows = method.build(make_t5(), CONFIG, source_prompts=sources() | dict(left)).rows
    torch.testing.assert_close(rows.prompts.detach(), left[SHARED])
    torch.testing.assert_close(rows.positions.detach(), left[POSITIONS].expand(2, -1))


def test_distillation_is_in_the_training_loss_alone() -> None:
    t5 = make_t5()
    model = build("mpt-source", t5, CrossPTConfig(tasks=TASKS, prompt_length=LENGTH))
    assert isinstance(model, DistilledModel)
    ids, tasks, labels = torch.tensor([[5, 6, 1], [7, 1, 0]]), torch.tensor([0, 1]), torch.tensor([[3, 1], [4, -100]])
    mask = (ids != 0).long()
    plain = model(ids, mask, tasks, labels=labels)
    model.train()
    _set_dropout(t5, 0.0)
    distilled = model(ids, mask, tasks, labels=labels)
    assert t5.training
    teacher = T5ForConditionalGeneration(t5.config).eval()
    teacher.load_state_dict(t5.state_dict())

    def run(prompts: Tensor) -> Any:
        embeds = torch.cat((prompts[tasks], t5.shared(ids)), dim=1)
        whole = torch.cat((mask.new_ones(2, LENGTH), mask), dim=1)
        return teacher(inputs_embeds=embeds, attention_mask=whole, labels=labels, output_hidden_states=True), whole

    rows: Any = model.rows
    (mine, seen), (theirs, _) = run(rows.compose()), run(model.teachers.prompts)
    answers = labels != -100
    p, q = (torch.softmax(each.logits[answers], dim=1) for each in (theirs, mine))
    divergence = (p * (p / q).log()).sum(dim=1).mean()
    parts = [
        ((a - b)[where] ** 2).mean()
        for of, where in (("encoder_hidden_states", seen == 1), ("decoder_hidden_states", answers))
        for a, b in zip(mine[of], theirs[of], strict=True)
    ]
    wanted = plain.loss + 0.9 * (divergence + sum(parts) / len(parts))
    torch.testing.assert_close(distilled.loss, wanted, rtol=1e-4, atol=1e-5)
    assert not any(parameter.requires_grad for parameter in model.teachers.parameters())


@pytest.mark.parametrize("name", ["spot", "attempt", "mpt-source"])
def test_sources_that_are_missing_or_do_not_fit(name: str) -> None:
    config = CrossPTConfig(tasks=TASKS, prompt_length=LENGTH)
    with pytest.raises(ValueError, match=f"method {name}: source prompts must hold one for"):
        find_method(name).build(make_t5(), config, source_prompts={})
    short = dict.fromkeys(TASKS, torch.zeros(LENGTH + 1, WIDTH))
    with pytest.raises(ValueError, match=f"method {name}: the source prompt of mrpc must have m = 3 rows, got 4"):
        find_method(name).build(make_t5(), config, source_prompts=short)


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("name", ["dept", "mpt", "mpt-source"])
def test_the_operation_is_taken_where_the_embedding_is_a_lookup(
    name: str, plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build(name, make_t5(), CrossPTConfig(tasks=TASKS, prompt_length=LENGTH))
    embedding = model.base_model.get_input_embeddings()
    if not plain:
        embedding.register_forward_hook(lambda module, arguments, output: 2 * output)
    spy = mock.Mock(wraps=prepend_prompts)
    monkeypatch.setattr("crosspt.prompts.rows.prepend_prompts", spy)
    ids, tasks = torch.tensor([[5, 6, 1], [7, 1, 0]]), torch.tensor([1, 0])
    found = model.rows(ids, ids != 0, tasks, embedding)
    assert spy.called == plain
    if plain:
        more = {"dept": "offsets"}.get(name, "gain")
        assert spy.call_args.kwargs[more] is not None
        assert name == "dept" or spy.call_args.args[0].shape == (1, LENGTH, WIDTH), "no task's own prompt is formed"
    known = model.rows.state_dict()
    for row, task, tokens in zip(found, tasks.tolist(), ids, strict=True):
        wanted = torch.cat(DEFINITIONS[name]((2 - plain) * embedding.weight[tokens], task, known))
        torch.testing.assert_close(row, wanted)


def test_dept_refuses_rows_that_are_longer_than_its_offsets() -> None:
    model = build("dept", make_t5())
    with pytest.raises(ValueError, match="dept: rows must have at most 256 tokens, got 257"):
        model.encode(torch.ones(1, 257, dtype=torch.int64), None, torch.tensor([0]))
