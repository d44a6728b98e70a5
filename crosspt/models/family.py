"""The families of language models, and what the rest of the program asks of one."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from importlib import import_module
from typing import Any, ClassVar

from torch import Tensor, nn
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
)

from crosspt.functional import Backend

T5 = ("t5", "mt5")
ENCODER_DECODERS = ("bart", "mbart", "m2m_100", "marian", "pegasus", "t5gemma")
CAUSAL = (
    "llama",
    "mistral",
    "qwen2",
    "qwen3",
    "gemma",
    "gemma2",
    "gemma3_text",
    "smollm3",
    "gpt2",
    "gpt_neox",
    "phi",
    "phi3",
    "olmo2",
    "granite",
    "cohere",
    "stablelm",
    "starcoder2",
)
FAMILIES = {
    **dict.fromkeys((*T5, "umt5"), "crosspt.models.t5.family:T5"),
    **dict.fromkeys(ENCODER_DECODERS, "crosspt.models.encoder_decoder:EncoderDecoder"),
    **dict.fromkeys(CAUSAL, "crosspt.models.causal.family:Causal"),
}
"""Module and class of the family of each ``model_type``; a family is imported when it is first asked for."""


class Family(ABC):
    """What a model with prompts asks of the language model behind them.

    ``inputs`` is what :meth:`crosspt.models.prompted.PromptedModel._inputs` makes for a batch: ``attention_mask``, and
    ``inputs_embeds`` (B, m + L, d), ``input_ids`` (B, L) with ``prefix`` and ``task_ids``, or ``input_ids`` alone.
    Padding is on the right. ``states`` is what :meth:`encode` makes of it, from which a batch can be answered.

    Attributes:
        causal: whether an answer continues the text, rather than coming from a decoder of its own.
        defaults: CrossPT's settings of a run that suit it where none are given, by name; of the others the paper's.
        defaults_source: where they come from, in a few words.
    """

    causal: ClassVar[bool]
    defaults: ClassVar[Mapping[str, Any]] = {}
    defaults_source: ClassVar[str] = ""

    @abstractmethod
    def prepare(self, base_model: Any, backend: Backend, *, isolated: bool) -> None:
        """Ready a language model, in place, to be prompted. Raises ValueError where it has no isolated prefixes."""

    @abstractmethod
    def text_embedding(self, base_model: Any) -> nn.Module:
        """The module that embeds the text at present, as the language model takes it in ``inputs_embeds``."""

    def positions(self, base_model: Any) -> int | None:
        """How many rows, prompt and text together, a table of positions holds; None where nothing ends."""
        return None

    @abstractmethod
    def prefix(self, base_model: Any, prompts: Tensor) -> Any:
        """What prompts (T, m, d) leave in the layers, for ``prefix_mode="isolated"``; it has ``nbytes``."""

    @abstractmethod
    def forward(self, base_model: Any, inputs: dict[str, Any], labels: Tensor | None, **kwargs: Any) -> Any:
        """The language model's output, with the loss where labels are given."""

    def told(self, labels: Tensor, attention_mask: Tensor, logits: Tensor) -> Tensor:
        """The label that each of the logits (B, K, V) of :meth:`forward` tells, -100 for none: (B, K).

        Args:
            labels: that it was given, padded on the right.
            attention_mask: (B, L) of the text.
            logits: its own; of a causal model the last ones, by ``logits_to_keep``.
        """
        return labels

    @abstractmethod
    def encode(self, base_model: Any, inputs: dict[str, Any], **kwargs: Any) -> Any:
        """What answers are made from, several times if need be."""

    @abstractmethod
    def generate(self, base_model: Any, input_ids: Tensor, states: Any, mask: Tensor, **kwargs: Any) -> Any:
        """What transformers' ``generate`` returns for the text (B, L), with its options."""

    @abstractmethod
    def answer(self, base_model: Any, states: Any, mask: Tensor, **options: Any) -> Tensor:
        """The tokens (B, n) that are generated, without the text."""

    @abstractmethod
    def select(self, states: Any, rows: Tensor) -> Any:
        """What :meth:`encode` would have made of these rows (n,) int64 of the batch."""

    @abstractmethod
    def log_likelihoods(
        self, base_model: Any, states: Any, mask: Tensor, labels: Tensor, rows: Tensor | None = None
    ) -> Tensor:
        """Log-likelihood of each of C answers to each of B rows, in one pass over B C.

        Args:
            base_model: the language model, in eval mode.
            states: what :meth:`encode` made of the rows.
            mask: the attention mask that came with it.
            labels: (C, L') int64, token ids with the end token, padded with -100; or (B, C, L'), each row's own.
            rows: (B,) int64, which of the rows of ``states`` each is, in any order and any number of times; by default
                they are these.

        Returns:
            (B, C) float32 (float64 from a float64 model), the sums over the tokens that are not padding.
        """


def find_family(base_model: Any, owner: str) -> Family:
    """The family of a language model. Raises TypeError, which begins with the owner, for another one."""
    model_type = getattr(getattr(base_model, "config", None), "model_type", None)
    names = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES if model_type in CAUSAL else MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES
    classes = {kind.__name__ for kind in type(base_model).__mro__}
    if model_type not in FAMILIES or names.get(model_type) not in classes:
        raise TypeError(
            f"{owner}: expected a language model with a head of one of {', '.join(FAMILIES)}, "
            f"got {type(base_model).__name__}"
        )
    return family_of(model_type)


def family_of(model_type: str) -> Family:
    """The family of a ``model_type`` in ``FAMILIES``."""
    module, _, kind = FAMILIES[model_type].partition(":")
    family: Family = getattr(import_module(module), kind)()
    return family


def describe(base_model: Any) -> dict[str, Any]:
    """What saved prompts say of the model they were trained on."""
    config = base_model.config
    return {
        "name": config.name_or_path,
        "model_type": config.model_type,
        "d_model": width(base_model),
        "vocab_size": config.get_text_config().vocab_size,
    }


def width(base_model: Any) -> int:
    """The width d of the language model's embedded tokens."""
    embedding: Any = family_of(base_model.config.model_type).text_embedding(base_model)
    return embedding.weight.shape[1]
