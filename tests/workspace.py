"""A workplace for whole runs: a tiny T5 with its tokenizer, rows of a few tasks, the command line in-process."""

import contextlib
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast, T5ForConditionalGeneration

from crosspt.cli.main import main
from tests.conftest import make_t5

COLUMNS = ["sentence1:", "sentence2:", "sentence:", "question:", "text:", "mrpc", "rte", "sst2", "qnli"]
LABELS = ["equivalent", "not_equivalent", "entailment", "not_entailment", "positive", "negative", "good", "bad"]
SYNTHETIC = [f"{letter}{index}" for letter in "ABC" for index in range(2)]
TEXT = [f"w{index}" for index in range(20)]
VOCABULARY = ["<pad>", "</s>", "<unk>", *COLUMNS, *LABELS, *SYNTHETIC, "0", "1", *TEXT]


@dataclass(frozen=True)
class Outcome:
    """What a command came to."""

    status: int
    stdout: str
    stderr: str

    def json(self) -> Any:
        return json.loads(self.stdout)


def crosspt(*arguments: object) -> Outcome:
    """Call the command line as a shell would."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else 1
    return Outcome(status, stdout.getvalue(), stderr.getvalue())


def mistake(outcome: Outcome, status: int = 2) -> str:
    """The one line that a failed command says; only a run that was under way has said more before."""
    assert outcome.status == status, outcome
    assert outcome.stdout == ""
    assert "Traceback" not in outcome.stderr
    lines = outcome.stderr.splitlines()
    assert lines[-1].startswith("crosspt"), outcome.stderr
    assert status != 2 or len(lines) == 1, outcome.stderr
    return lines[-1]


def make_tokenizer(**special: str | None) -> PreTrainedTokenizerFast:
    words = Tokenizer(WordLevel({word: index for index, word in enumerate(VOCABULARY)}, unk_token="<unk>"))
    words.pre_tokenizer = WhitespaceSplit()
    words.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", **special}
    return PreTrainedTokenizerFast(tokenizer_object=words, **special)


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def make_rows(fields: tuple[str, ...], count: int, start: int = 0) -> list[dict[str, Any]]:
    """Rows of two classes, of different lengths."""
    rows = []
    for number in range(start, start + count):
        row: dict[str, Any] = {
            field: " ".join(TEXT[(number * 7 + place + offset) % len(TEXT)] for offset in range(1 + number % 4))
            for place, field in enumerate(fields)
        }
        rows.append({**row, "label": number % 2})
    return rows


FIELDS = {
    "mrpc": ("sentence1", "sentence2"),
    "rte": ("sentence1", "sentence2"),
    "qnli": ("question", "sentence"),
    "sst2": ("sentence",),
}


@dataclass(frozen=True)
class Workspace:
    """Where the T5 and the rows lie."""

    model: Path
    data: Path

    def train(self, output: Path, *arguments: object) -> Outcome:
        """A run of a few steps."""
        return crosspt("train", *self.settings(), "--output", output, *arguments)

    def settings(self) -> list[object]:
        few = ["--shots", 4, "--epochs", 1, "--test-rows", 6, "--batch-size", 4, "--prompt-length", 2]
        return ["--model", self.model, "--data-dir", self.data, "--device", "cpu", *few]


def make_answering_t5() -> T5ForConditionalGeneration:
    """A T5 with random weights that answers with one label word, which depends on the prompt and the input.

    Dimension 0 marks label words; where the decoder has read one, its feed-forward layer turns to the end token, which
    is dimension 1.
    """
    t5 = make_t5(vocab_size=len(VOCABULARY), num_layers=1)
    answers = [VOCABULARY.index(word) for word in [*LABELS, *SYNTHETIC, "0", "1"]]
    with torch.no_grad():
        table = t5.shared.weight
        table[:, :2] = 0
        table[answers] *= 3
        table[answers, 0] = 5
        table[[VOCABULARY.index("<pad>"), VOCABULARY.index("</s>")]] = 0
        table[VOCABULARY.index("</s>"), 1] = 10
        decoder: Any = t5.decoder.block[0]
        attention, cross_attention, feed_forward = decoder.layer
        attention.SelfAttention.o.weight[:2] = 0
        cross_attention.EncDecAttention.o.weight[:2] = 0
        feed_forward.DenseReluDense.wo.weight[:2] = 0
        feed_forward.DenseReluDense.wi.weight[0] = 0
        feed_forward.DenseReluDense.wi.weight[0, 0] = 10
        feed_forward.DenseReluDense.wo.weight[1, 0] = 10
    return t5


def make_workspace(folder: Path) -> Workspace:
    space = Workspace(folder / "t5", folder / "data")
    make_answering_t5().save_pretrained(space.model)
    make_tokenizer().save_pretrained(space.model)
    for task, fields in FIELDS.items():
        for split, count in (("train", 12), ("validation", 10)):
            write_jsonl(space.data / task / f"{split}.jsonl", make_rows(fields, count, start=len(split)))
    return space
