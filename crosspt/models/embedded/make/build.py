"""The embedded model before its training: a tokenizer over the suite's words and a small T5 with a head start."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from torch import Tensor
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from crosspt.tasks.embedded import lexicon
from crosspt.tasks.embedded.synthetic import SYNTHETIC_TASKS, generate_rows

# What a task may be called in pretraining besides its name.
INSTRUCTIONS = {
    "syn_cola": (
        "judge the grammar",
        "is this sentence well formed",
        "check agreement and word order",
        "broken or correct",
    ),
    "syn_sst2": ("tell the sentiment", "what is the opinion", "how does the reviewer feel", "which polarity and mood"),
    "syn_mrpc": ("do both statements mean the same", "is the second a paraphrase", "are they equal in meaning"),
    "syn_qqp": ("do both questions ask the same", "find repeated questions", "is this query asked twice"),
    "syn_stsb": ("score the similarity", "grade how close the pair is", "give a number up to five"),
    "syn_mnli": ("reason in three ways", "does the premise support or deny the hypothesis", "logic with a middle case"),
    "syn_qnli": ("does the passage answer", "look for the reply", "is the information given there"),
    "syn_rte": ("does the conclusion follow", "infer in two ways", "is the claim certain or not"),
}
SENTINELS = 16
WIDTH, HEADS, HEAD_WIDTH, HIDDEN = 128, 8, 16, 384
ENCODER_LAYERS, DECODER_LAYERS = 4, 2


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Build a tokenizer whose vocabulary is every word of the suite; other words fall apart into characters."""
    sentinels = [f"<extra_id_{index}>" for index in range(SENTINELS)]
    words = lexicon.word_forms() | set(SYNTHETIC_TASKS) | {f"{tenths / 10:.1f}" for tenths in range(0, 51, 2)}
    words |= {word for phrases in INSTRUCTIONS.values() for phrase in phrases for word in phrase.split()}
    for task, spec in SYNTHETIC_TASKS.items():
        words |= {f"{field}:" for field in spec["fields"]} | set(spec["labels"])
        for row in generate_rows(task, "pretrain", 1000):
            words |= {word.rstrip("?") for field in spec["fields"] for word in row[field].split()}
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


def draw_embeddings(vocabulary: dict[str, int], width: int) -> Tensor:
    """Draw starting embeddings in which the lexicon shows: related words share random parts of their vectors."""
    table = torch.randn(len(vocabulary), width) * 0.6

    def relate(words: Iterable[str], strength: float) -> None:
        shared = torch.randn(width) * strength
        for word in {word.split()[-1] for word in words} & vocabulary.keys():
            table[vocabulary[word]] += shared

    nouns, verbs = lexicon.PEOPLE + lexicon.THINGS, lexicon.PERSONAL_VERBS + lexicon.OBJECT_VERBS
    noun_words = [word for noun in nouns for word in noun.words]
    verb_words = [word for verb in verbs for word in verb.words]
    forms = {word: [word, lexicon.add_s(word)] for word in noun_words}
    forms |= {word: [word, lexicon.add_s(word), lexicon.past(word)] for word in verb_words}
    # Concepts, then what contains or joins them: hypernyms, opposites, kinds of adjunct, polarity and form of a word.
    for concept in [noun.words for noun in nouns] + [verb.words for verb in verbs]:
        relate([form for word in concept for form in forms[word]], 1.0)
    for concept in lexicon.ADJECTIVE_ANTONYMS:
        relate(concept, 1.0)
    for hypernym in lexicon.HYPERNYMS:
        members = [word for noun in nouns if noun.hypernym == hypernym for word in noun.words]
        relate([hypernym, *(form for word in members for form in forms[word])], 0.8)
    for verb in verbs:
        relate([form for word in verb.words + verb.antonyms for form in forms[word]], 0.4)
    for concept, antonyms in lexicon.ADJECTIVE_ANTONYMS.items():
        relate(concept + antonyms, 0.4)
    for adjuncts in lexicon.ADJUNCTS.values():
        for adjunct in adjuncts:
            relate(adjunct.words, 1.0)
        relate([word for adjunct in adjuncts for word in adjunct.words], 0.8)
    for polarity in (lexicon.PRAISE, lexicon.SCORN):
        relate(polarity, 0.8)
    pasts, plurals, third_persons = (
        list(map(form, words))
        for form, words in ((lexicon.past, verb_words), (lexicon.add_s, noun_words), (lexicon.add_s, verb_words))
    )
    for group in (noun_words, verb_words, pasts, plurals, third_persons):
        relate(group, 0.6)
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
