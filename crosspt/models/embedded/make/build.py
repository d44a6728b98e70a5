"""The embedded model before its training: a tokenizer over the suite's words and a small T5 with a head start."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from torch import Tensor
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from crosspt.tasks.embedded import lexicon
from crosspt.tasks.embedded.sentences import PAIR, SENTENCE
from crosspt.tasks.embedded.synthetic import SYNTHETIC_TASKS

SENTINELS = 16
WIDTH, HEADS, HEAD_WIDTH, HIDDEN = 128, 8, 16, 384
ENCODER_LAYERS, DECODER_LAYERS = 4, 2


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Build a tokenizer whose vocabulary is every word of the suite; other words fall apart into characters."""
    sentinels = [f"<extra_id_{index}>" for index in range(SENTINELS)]
    words = lexicon.word_forms() | {f"{tenths / 10:.1f}" for tenths in range(0, 51, 2)}
    words |= {*SENTENCE.slots, *PAIR.slots}
    for task in SYNTHETIC_TASKS.values():
        words |= {f"{field}:" for field in task.question.form.fields} | {*task.labels, *task.style.split()}
    characters = [chr(code) for code in range(33, 127)]
    pieces = sorted(words | set(characters)) + [f"##{character}" for character in characters]
    vocabulary = {piece: index for index, piece in enumerate(["<pad>", "</s>", "<unk>", *sentinels, *pieces])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="<unk>", max_input_chars_per_word=100))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(Regex(r"[.,?!]$"), "isolated")]
    )
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=sentinels,
        model_max_length=512,
    )


def _forms(slot: str, words: Iterable[str]) -> list[str]:
    """Return the words of a slot and their inflections."""
    inflect = {"action": (lexicon.past,), "verdict": (lexicon.add_s, lexicon.past)}
    return [form for word in words for form in (word, *(change(word) for change in inflect.get(slot, ())))]


def draw_embeddings(vocabulary: dict[str, int], width: int) -> Tensor:
    """Draw starting embeddings in which the lexicon shows: related words share random parts of their vectors."""
    table = torch.randn(len(vocabulary), width) * 0.6

    def relate(words: Iterable[str], strength: float) -> None:
        shared = torch.randn(width) * strength
        for word in {word.split()[-1] for word in words} & vocabulary.keys():
            table[vocabulary[word]] += shared

    # Concepts, then what joins them: the slot they fill and its name, polarity, and the form of a word.
    for slot, concepts in lexicon.CONCEPTS.items():
        for concept in concepts:
            relate(_forms(slot, concept), 1.2)
        relate([slot, *(form for concept in concepts for form in _forms(slot, concept))], 1.0)
    for slot, sides in lexicon.POLAR.items():
        for side in sides:
            relate(_forms(slot, side), 0.8)
        relate([slot, *(form for side in sides for form in _forms(slot, side))], 1.0)
    nouns = lexicon.REVIEWERS + lexicon.WORKS
    verbs = [*lexicon.NEUTRAL_VERBS, *(word for side in lexicon.POLAR["verdict"] for word in side)]
    # Number: what is singular, nouns, their determiners and the verbs that go with them, and what is plural.
    singular, plural = lexicon.DETERMINERS
    relate([*nouns, *singular, *map(lexicon.add_s, verbs)], 1.5)
    relate([*map(lexicon.add_s, nouns), *plural, *verbs], 1.5)
    for kind in (lexicon.REVIEWERS, lexicon.WORKS):
        relate([*kind, *map(lexicon.add_s, kind)], 1.0)
    return table / table.pow(2).mean(1, keepdim=True).sqrt()


def build_model(tokenizer: PreTrainedTokenizerFast) -> T5ForConditionalGeneration:
    """Build a T5 with a head start: related words are close, and encoder heads already compare, or look to one side.

    In each encoder layer half of the heads begin with equal query and key weights, so that a word attends to its like
    further away; the others begin at the previous word, the next, all words before and all words behind. Dropout is off
    because no row is seen twice.
    """
    settings: dict[str, Any] = {"decoder_start_token_id": 0, "tie_word_embeddings": True}
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=WIDTH,
        d_kv=HEAD_WIDTH,
        num_heads=HEADS,
        d_ff=HIDDEN,
        num_layers=ENCODER_LAYERS,
        num_decoder_layers=DECODER_LAYERS,
        dropout_rate=0.0,
        **settings,
    )
    model: Any = T5ForConditionalGeneration(config)
    comparing = HEADS // 2
    with torch.no_grad():
        model.shared.weight.copy_(draw_embeddings(tokenizer.get_vocab(), WIDTH))
        for block in model.encoder.block:
            attention = block.layer[0].SelfAttention
            weight = torch.randn(comparing * HEAD_WIDTH, WIDTH) * (4.0 / (HEAD_WIDTH * WIDTH)) ** 0.5
            attention.q.weight[: len(weight)] = weight
            attention.k.weight[: len(weight)] = weight
        # Buckets 0 to 15 are the keys at and left of the query, 16 to 31 those right of it, the nearest first.
        bias = model.encoder.block[0].layer[0].SelfAttention.relative_attention_bias.weight.zero_()
        bias[:4, :comparing] = bias[17:20, :comparing] = -4.0
        bias[1, comparing] = bias[17, comparing + 1] = 4.0
        bias[16:, comparing + 2] = bias[:16, comparing + 3] = -4.0
    return model
