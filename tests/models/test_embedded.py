import json
import re

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from crosspt.config.data import DataConfig
from crosspt.config.run import EMBEDDED, Compute
from crosspt.models.embedded import EMBEDDED_T5
from crosspt.models.embedded.make import build, pretrain
from crosspt.runs.evaluate import evaluate_bare
from crosspt.tasks.embedded.suite import EMBEDDED_TASKS
from crosspt.tasks.embedded.synthetic import SYNTHETIC_TASKS, describe, generate_rows, split_of


@pytest.fixture(scope="module")
def model():
    return AutoModelForSeq2SeqLM.from_pretrained(EMBEDDED_T5, local_files_only=True)


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(EMBEDDED_T5, local_files_only=True)


def test_sizes(model):
    assert model.num_parameters() <= 3_000_000
    assert sum(path.stat().st_size for path in EMBEDDED_T5.rglob("*")) <= 6_000_000


def test_files_are_safetensors_and_json():
    assert {path.name for path in EMBEDDED_T5.iterdir()} == {
        "README.md",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }


def test_loads_as_a_float32_t5(model):
    assert type(model).__name__ == "T5ForConditionalGeneration"
    assert model.dtype == torch.float32
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())


def test_special_tokens(tokenizer):
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id) == (0, 1, 2)
    assert tokenizer.convert_tokens_to_ids("<extra_id_0>") == 3
    assert tokenizer("the doctor")["input_ids"][-1] == 1


def test_tokenizer_is_the_one_the_script_builds(tokenizer):
    assert tokenizer.get_vocab() == build.build_tokenizer().get_vocab()


@pytest.mark.parametrize("task", list(SYNTHETIC_TASKS))
def test_tokenizer_returns_every_text_of_the_suite(tokenizer, task):
    rows = [row for split in ("pretrain", "test") for row in generate_rows(task, split, 500)]
    texts = [pretrain.TASKS[task].format_input(row, prefix=True) for row in rows]
    texts += SYNTHETIC_TASKS[task].labels
    ids = tokenizer(texts)["input_ids"]
    assert tokenizer.batch_decode(ids, skip_special_tokens=True) == texts
    pieces = {piece for row in ids for piece in tokenizer.convert_ids_to_tokens(row)}
    assert not [piece for piece in pieces if piece == "<unk>" or piece.startswith("##")]


@pytest.mark.parametrize("text", ["3.8", "A0", "Zebras eat grass, don't they?", "low", "not_entailment"])
def test_tokenizer_spells_out_what_it_does_not_know(tokenizer, text):
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids, skip_special_tokens=True).replace(" ", "") == text.replace(" ", "")


def test_answers_the_tasks_under_their_text_prefixes(model, tokenizer):
    scores = {task: pretrain.measure(model, tokenizer, task, 60, prefix=True) for task in SYNTHETIC_TASKS}
    assert sum(scores.values()) / len(scores) >= 90.0, scores


def test_does_not_know_the_question_from_the_text_alone():
    content, _ = evaluate_bare(EMBEDDED, EMBEDDED_TASKS, DataConfig(test_rows=100), Compute(progress=False), "rank")
    rows = [row for row in content["results"] if row["primary"]]
    bare, majority = (sum(row["value"] for row in rows if row["scheme"] == name) for name in ("bare", "majority"))
    assert bare / len(EMBEDDED_TASKS) <= majority / len(EMBEDDED_TASKS) + 8.0


def test_a_soft_mixture_of_instruction_words_replaces_the_prefix(model, tokenizer):
    batcher = pretrain.Batcher(tokenizer, 0)
    rows = generate_rows("syn_rte", "test", 60)
    batch = tokenizer(
        [pretrain.TASKS["syn_rte"].format_input(row, prefix=False) for row in rows], padding=True, return_tensors="pt"
    )
    words = batcher.encode(" ".join(describe("syn_rte", SYNTHETIC_TASKS["syn_rte"].question.slots)))
    with torch.no_grad():
        soft = batcher.mix_instructions([words] * len(rows), model.shared.weight)
        embeds = torch.cat([soft, model.shared(batch["input_ids"])], dim=1)
        mask = torch.cat([torch.ones(soft.shape[:2], dtype=torch.long), batch["attention_mask"]], dim=1)
        ids = model.generate(inputs_embeds=embeds, attention_mask=mask, max_new_tokens=4)
    answers = tokenizer.batch_decode(ids, skip_special_tokens=True)
    labels = [SYNTHETIC_TASKS["syn_rte"].labels[row["label"]] for row in rows]
    assert sum(answer == label for answer, label in zip(answers, labels, strict=True)) >= 0.75 * len(rows)


@pytest.mark.parametrize("task", list(SYNTHETIC_TASKS))
def test_a_row_to_pretrain_on_has_the_label_of_its_question(task):
    rng = pretrain.random.Random(0)
    for _ in range(200):
        question = pretrain.draw_question(task, rng)
        row, label = pretrain.draw_row(question, rng, fragment=False)
        texts = [row[field] for field in question.form.fields]
        count = len(question.form.read(*texts) & {*question.slots})
        assert label == question.answers[min(count, len(question.answers) - 1)]
        assert split_of(*texts) == "pretrain"


def test_card_states_the_mean_of_its_scores():
    card = (EMBEDDED_T5 / "README.md").read_text()
    rows = {name: [float(value) for value in values.split("|")]
            for name, values in re.findall(r"^\| (syn_\w+|mean) \| (.*) \|$", card, re.MULTILINE)}  # fmt: skip
    assert set(rows) == {*SYNTHETIC_TASKS, "mean"}
    for column, mean in enumerate(rows.pop("mean")):
        assert mean == pytest.approx(sum(values[column] for values in rows.values()) / len(rows), abs=0.1)
    assert f"{AutoModelForSeq2SeqLM.from_pretrained(EMBEDDED_T5).num_parameters():,} parameters" in card


def test_pretraining_is_deterministic_and_writes_a_loadable_folder(tmp_path):
    for name in ("one", "two"):
        options = ["--steps", "3", "--batch-size", "8", "--test-rows", "2", "--seed", "5"]
        pretrain.main(["--output", str(tmp_path / name), *options])
    first, second = (AutoModelForSeq2SeqLM.from_pretrained(tmp_path / name) for name in ("one", "two"))
    for one, two in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, two)
    assert json.loads((tmp_path / "one" / "config.json").read_text())["dtype"] == "float32"
    assert "in percent" in (tmp_path / "one" / "README.md").read_text()
