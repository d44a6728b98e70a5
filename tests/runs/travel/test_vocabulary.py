"""Prompts as tokens of a copy: the same answers from transformers, and from an engine that knows only token ids."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    BartConfig,
    BartForConditionalGeneration,
    T5ForConditionalGeneration,
    T5GemmaConfig,
    T5GemmaForConditionalGeneration,
)

from crosspt import CrossPTModel
from crosspt.models.embedded import EMBEDDED_T5
from crosspt.models.family import width
from crosspt.runs.travel.prompts import TaskRows
from crosspt.runs.travel.vocabulary import token_names, write_vocabulary
from crosspt.storage import load_prompts
from tests.conftest import VOCABULARY, make_t5
from tests.models.causal_models import make_causal
from tests.models.encoder_decoder_models import make_encoder_decoder
from tests.runs.travel.support import (
    LENGTH,
    TASKS,
    export,
    make_batch,
    save_model,
    save_rows,
)
from tests.workspace import crosspt, make_tokenizer, mistake

PADDED = VOCABULARY + 12  # rows of the table: more than the tokenizer has tokens, as in a T5
NEW = 6
T5S = ("1.0", "1.1")
UNTIED = ("1.1", "llama")


def make_model(kind: str) -> Any:
    """A T5 or a causal model whose answers differ by row."""
    if kind not in T5S:
        return make_causal(kind)
    t5 = make_t5(kind, vocab_size=PADDED, eos_token_id=1, pad_token_id=0)
    t5.config.name_or_path = "model"
    if kind == "1.1":  # whose head transformers ties as it makes one, and not as it loads one
        t5.lm_head.weight = nn.Parameter(torch.empty_like(t5.lm_head.weight))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for name, parameter in t5.named_parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.4 if name == "shared.weight" else 0.8)
    return t5


def in_front(tokenizer: Any, task: str, ids: Tensor) -> Tensor:
    """Token ids (B, m + L) of a prompt and texts."""
    prompt = torch.tensor(tokenizer.convert_tokens_to_ids(token_names(task, LENGTH)))
    return torch.cat((prompt.expand(len(ids), -1), ids), dim=1)


def new_tokens(kind: str, answers: Tensor, read: int) -> list[list[int]]:
    """What is answered in rows (B, n) that a model of a kind returns for texts of a length, without end and padding."""
    return [[token for token in row if token > 1] for row in answers[:, 1 if kind in T5S else read :].tolist()]


def answers_of_prompts(kind: str, model: Any, run: Path, ids: Tensor) -> list[list[list[int]]]:
    """The new tokens for each task's prompt in front of each text."""
    model.config.name_or_path = load_prompts(run).base_model["name"]
    ours = CrossPTModel.from_pretrained(model, run).eval()
    return [
        new_tokens(kind, ours.generate(ids, task_ids=torch.full((len(ids),), index), max_new_tokens=NEW), ids.shape[1])
        for index in range(len(TASKS))
    ]


@pytest.fixture(scope="module", params=["1.0", "1.1", "llama", "gpt2", "gemma"])
def copied(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any, Tensor, Path]:
    """A kind of model, the model, its prompts, and the folder of its copy."""
    folder, kind = tmp_path_factory.mktemp("vocabulary"), request.param
    model = make_model(kind)
    prompts = save_rows(folder / "run", model, save_model(model, folder / "model"))
    return kind, model, prompts, export(folder / "run", "vocabulary", folder / "copy")


Copied = tuple[str, Any, Tensor, Path]


def load_copy(folder: Path, kind: str) -> tuple[Any, Any]:
    auto = AutoModelForSeq2SeqLM if kind in T5S else AutoModelForCausalLM
    return auto.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)


@torch.no_grad()
def test_plain_transformers_answer_as_crosspt_does(copied: Copied) -> None:
    kind, model, _, folder = copied
    copy, tokenizer = load_copy(folder, kind)
    ids = make_batch()["input_ids"][:3]
    wanted = answers_of_prompts(kind, model, folder.with_name("run"), ids)
    got = []
    for task in TASKS:
        answers = copy.generate(input_ids=in_front(tokenizer, task, ids), max_new_tokens=NEW)
        got.append(new_tokens(kind, answers, LENGTH + ids.shape[1]))
    assert got == wanted
    assert len({str(answers) for answers in got}) == len(TASKS)


@torch.no_grad()
@pytest.mark.parametrize("copied", ["1.0", "1.1", "llama", "gpt2"], indirect=True)
def test_an_engine_that_knows_only_token_ids_answers_as_crosspt_does(
    copied: Copied, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reason = "CTranslate2 is the engine; the extra crosspt[test] has it"
    ctranslate2 = pytest.importorskip("ctranslate2", reason=reason)
    converters = pytest.importorskip("ctranslate2.converters", reason=reason)
    kind, model, _, folder = copied
    copy, tokenizer = load_copy(folder, kind)
    monkeypatch.setattr("gc.collect", lambda: 0)  # one for each layer, over all that the tests hold
    converters.TransformersConverter(str(folder)).convert(str(tmp_path / "engine"))
    names = tokenizer.convert_ids_to_tokens
    options: dict[str, Any] = {"suppress_sequences": [[name] for name in names(copy.generation_config.suppress_tokens)]}
    engine: Any
    if kind in T5S:
        engine = ctranslate2.Translator(str(tmp_path / "engine"), compute_type="float32", intra_threads=1)
        options |= {"beam_size": 1, "max_decoding_length": NEW, "min_decoding_length": 0}
    else:
        engine = ctranslate2.Generator(str(tmp_path / "engine"), compute_type="float32", intra_threads=1)
        options |= {"sampling_topk": 1, "max_length": NEW, "include_prompt_in_result": False}
    ids = make_batch()["input_ids"][:3]
    wanted = answers_of_prompts(kind, model, folder.with_name("run"), ids)
    got = []
    for task in TASKS:
        texts = [names(row) for row in in_front(tokenizer, task, ids).tolist()]
        if kind in T5S:
            answers = [result.hypotheses[0] for result in engine.translate_batch(texts, **options)]
        else:
            answers = [result.sequences[0] for result in engine.generate_batch(texts, **options)]
        numbers = [tokenizer.convert_tokens_to_ids(answer) for answer in answers]
        got.append([[token for token in row if token > 1] for row in numbers])
    assert got == wanted


def test_nothing_that_was_there_is_changed(copied: Copied) -> None:
    kind, model, prompts, folder = copied
    copy, tokenizer = load_copy(folder, kind)
    size = PADDED + len(TASKS) * LENGTH
    assert copy.generation_config.suppress_tokens == list(range(PADDED, size))
    assert tokenizer.convert_tokens_to_ids("<rte:0>") == PADDED + LENGTH
    assert tokenizer.decode([VOCABULARY - 1, PADDED], skip_special_tokens=True) == make_tokenizer().decode(
        VOCABULARY - 1
    )
    assert (len(tokenizer), copy.config.get_text_config().vocab_size) == (size, size)
    for get in ("get_input_embeddings", "get_output_embeddings"):
        assert torch.equal(getattr(copy, get)().weight[:PADDED], getattr(model, get)().weight)
        assert len(getattr(copy, get)().weight) == size
    assert (copy.get_output_embeddings().weight is copy.get_input_embeddings().weight) == (kind not in UNTIED)
    if kind in UNTIED:
        assert not copy.get_output_embeddings().weight[PADDED:].any()
    embedded = copy.get_input_embeddings()(torch.arange(PADDED, size)).view(prompts.shape)
    torch.testing.assert_close(embedded, prompts, rtol=1e-6, atol=1e-6)


@torch.no_grad()
def test_a_factor_that_a_model_puts_on_its_rows(tmp_path: Path) -> None:
    pegasus, batch = make_encoder_decoder("pegasus", tie_word_embeddings=True), make_batch()
    save_rows(tmp_path / "run", pegasus, save_model(pegasus, tmp_path / "model"))
    copy, tokenizer = load_copy(export(tmp_path / "run", "vocabulary", tmp_path / "copy"), "1.0")
    pegasus.config.name_or_path = str(tmp_path / "model")
    ours = CrossPTModel.from_pretrained(pegasus, tmp_path / "run").eval()
    ids, labels = batch["input_ids"][:3], torch.tensor([[3, 4, 1]]).repeat(3, 1)
    wanted = ours(ids, task_ids=torch.ones(3, dtype=torch.int64), labels=labels).logits
    got = copy(input_ids=in_front(tokenizer, "rte", ids), labels=labels).logits[..., :PADDED]
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["1.0", "gpt2"])
def test_a_prompts_tokens_are_never_answered(kind: str, tmp_path: Path) -> None:
    """Also where they are the likeliest, as rows that are much longer than a token's are in a tied head."""
    model = make_model(kind)
    prompts = 50 * torch.randn(1, LENGTH, width(model), generator=torch.Generator().manual_seed(0))
    write_vocabulary(tmp_path, TaskRows(["rte"], prompts, {}), model, make_tokenizer())
    copy, tokenizer = load_copy(tmp_path, kind)
    rows = in_front(tokenizer, "rte", make_batch()["input_ids"][:3])
    start = rows.shape[1] if kind == "gpt2" else 0
    assert copy.generate(input_ids=rows, max_new_tokens=NEW)[:, start:].max() < PADDED
    copy.generation_config.suppress_tokens = None
    assert copy.generate(input_ids=rows, max_new_tokens=NEW)[:, start:].max() >= PADDED


def test_the_text_of_a_t5s_prompt(tmp_path: Path) -> None:
    t5 = T5ForConditionalGeneration.from_pretrained(EMBEDDED_T5)
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED_T5)
    rows = TaskRows(["rte"], torch.randn(1, LENGTH, t5.config.d_model), {})
    write_vocabulary(tmp_path, rows, t5, tokenizer)
    text, (front,) = "the sailor waits", in_front(tokenizer, "rte", torch.empty(1, 0, dtype=torch.int64)).tolist()
    assert tokenizer("".join(token_names("rte", LENGTH)) + text).input_ids == front + tokenizer(text).input_ids


BART: dict[str, Any] = {"vocab_size": 60, "d_model": 16, "max_position_embeddings": 16, "init_std": 0.3}
BART |= {f"{part}_layers": 1 for part in ("encoder", "decoder")}
BART |= {f"{part}_{size}": 8 for part in ("encoder", "decoder") for size in ("attention_heads", "ffn_dim")}
GEMMA: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 8, "num_hidden_layers": 1, "head_dim": 8}
GEMMA |= {"vocab_size": 60, "num_attention_heads": 2, "num_key_value_heads": 2}


def test_what_cannot_be_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = TaskRows(["rte"], torch.randn(1, LENGTH, 16), {})
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["<rte:1>"])
    with pytest.raises(ValueError, match=r"the tokenizer must not have a token '<rte:1>' yet"):
        write_vocabulary(tmp_path / "copy", rows, make_t5(), tokenizer)
    doubling = make_t5()
    forward = doubling.encoder.forward

    def double(input_ids: Any = None, inputs_embeds: Any = None, **options: Any) -> Any:
        """As a Marian does, but unknown to its family."""
        embeds = inputs_embeds if input_ids is None else 2 * doubling.encoder.embed_tokens(input_ids)
        return forward(inputs_embeds=embeds, **options)

    monkeypatch.setattr(doubling.encoder, "forward", double)
    bart = BartForConditionalGeneration(BartConfig(**BART, tie_word_embeddings=False)).eval()
    t5gemma = T5GemmaForConditionalGeneration(T5GemmaConfig(encoder=GEMMA, decoder=GEMMA, vocab_size=60)).eval()
    for model, message in (
        (doubling, "T5ForConditionalGeneration makes something else of a token than of its row in inputs_embeds"),
        (bart, "BartForConditionalGeneration makes something else of a text once its table has grown"),
        (t5gemma, "T5GemmaForConditionalGeneration has no place in its configuration for the rows of "),
    ):
        with pytest.raises(ValueError, match=message):
            write_vocabulary(tmp_path / "copy", rows, model, make_tokenizer())
    assert not (tmp_path / "copy").exists()
    save_rows(tmp_path / "run", make_t5(d_model=8), save_model(make_t5(), tmp_path / "model"))
    line = mistake(crosspt("export", tmp_path / "run", "--to", "vocabulary", "--output", tmp_path / "copy"))
    assert f"the prompts have width 8, model '{tmp_path / 'model'}' has 16" in line
