"""Encoder-decoders that take ``inputs_embeds``: the prompt stands in front of the encoder's text."""

import functools
import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationMixin
from transformers.modeling_outputs import BaseModelOutput

from crosspt.functional import Backend
from crosspt.models.family import Family
from crosspt.tasks.collation import IGNORED_LABEL

SCALED = "crosspt_scaled_embedding"
"""The attribute of an encoder that keeps its embedding with its scale, so that hooks on it stay."""


class ScaledEmbedding(nn.Module):
    """A token embedding with the factor that its model puts on the rows it looks up, but not on ``inputs_embeds``.

    Args:
        embedding: ids (B, L) to (B, L, d).
        scale: the factor.
    """

    def __init__(self, embedding: nn.Module, scale: float):
        super().__init__()
        self.embedding = embedding
        self.scale = scale

    @property
    def weight(self) -> Tensor:
        """The table (V, d), without the factor."""
        weight: Any = self.embedding.weight
        return weight

    def forward(self, input_ids: Tensor) -> Tensor:
        """The rows (B, L, d)."""
        return self.embedding(input_ids) * self.scale


class EncoderDecoder(Family):
    """BART, mBART, M2M100, Marian, Pegasus and T5Gemma; T5 is a family of its own."""

    causal = False

    def prepare(self, base_model: Any, backend: Backend, *, isolated: bool) -> None:
        """Ready a model, in place, so that generation with beams leaves the encoder's output as it came."""
        if isolated:
            raise ValueError(
                f"CrossPTModel: prefix_mode 'isolated' needs a T5, mT5, UMT5 or a causal model, "
                f"got {type(base_model).__name__}; use prefix_mode 'full'"
            )
        base_model._expand_inputs_for_generation = functools.partial(expand_a_copy, base_model)

    def text_embedding(self, base_model: Any) -> nn.Module:
        """The encoder's token embedding, with the factor that Marian and Pegasus put on rows which they embed alone."""
        encoder = base_model.get_encoder()
        embedding: nn.Module = encoder.embed_tokens
        scale = getattr(encoder, "embed_scale", 1.0)
        if scale == 1:
            return embedding
        known = vars(encoder).get(SCALED)
        if known is None or known.embedding is not embedding:
            known = vars(encoder)[SCALED] = ScaledEmbedding(embedding, scale)  # no part of the encoder, but found again
        return known

    def positions(self, base_model: Any) -> int | None:
        """The rows of the encoder's table of positions, where it has one that ends."""
        table = getattr(base_model.get_encoder(), "embed_positions", None)
        return table.num_embeddings - getattr(table, "offset", 0) if isinstance(table, nn.Embedding) else None

    def prefix(self, base_model: Any, prompts: Tensor) -> Any:
        """No such model has isolated prefixes."""
        raise AssertionError("prepare refuses isolated prefixes")

    def forward(self, base_model: Any, inputs: dict[str, Any], labels: Tensor | None, **kwargs: Any) -> Any:
        """The model's output."""
        return base_model(**inputs, labels=labels, **kwargs)

    def encode(self, base_model: Any, inputs: dict[str, Any], **kwargs: Any) -> BaseModelOutput:
        """The encoder's output."""
        return base_model.get_encoder()(**inputs, **kwargs)

    def generate(self, base_model: Any, input_ids: Tensor, states: Any, mask: Tensor, **kwargs: Any) -> Any:
        """What the decoder generates. A draft model given as ``assistant_model`` sees the text without the prompt."""
        if kwargs.get("assistant_model") is not None:  # it encodes the ids by itself, under the same mask
            padding = base_model.generation_config.pad_token_id or 0
            input_ids = nn.functional.pad(input_ids, (mask.shape[1] - input_ids.shape[1], 0), value=padding)
        return base_model.generate(inputs=input_ids, encoder_outputs=states, attention_mask=mask, **kwargs)

    def answer(self, base_model: Any, states: Any, mask: Tensor, **options: Any) -> Tensor:
        """What the decoder generates."""
        return base_model.generate(encoder_outputs=states, attention_mask=mask, **options)

    def select(self, states: BaseModelOutput, rows: Tensor) -> BaseModelOutput:
        """The states of these rows, and whatever else of the output is a tensor."""
        parts: dict[str, Any] = {
            name: part.index_select(0, rows) if isinstance(part, Tensor) else part for name, part in states.items()
        }
        return type(states)(**parts)

    def log_likelihoods(
        self, base_model: Any, states: Any, mask: Tensor, labels: Tensor, rows: Tensor | None = None
    ) -> Tensor:
        """By one pass of the decoder over B C rows, whose keys and values of the encoder are made once for each."""
        rows = torch.arange(len(mask), device=mask.device) if rows is None else rows
        labels = labels.to(mask.device).expand(len(rows), -1, -1)
        count = labels.shape[1]
        read = rows.repeat_interleave(count)
        expanded = {"encoder_outputs": self.select(states, read), "attention_mask": mask.index_select(0, read)}
        decoder_input_ids = shift_right(base_model, labels.flatten(0, 1))
        with read_once(self.cross_projections(base_model), states.last_hidden_state, read):
            logits = base_model(**expanded, decoder_input_ids=decoder_input_ids, use_cache=False).logits
        return sum_log_probabilities(logits.unflatten(0, (-1, count)), labels)

    def cross_projections(self, base_model: Any) -> list[nn.Module]:
        """The modules that the decoder's keys and values of the encoder's states come from."""
        attentions = [getattr(layer, "encoder_attn", None) for layer in base_model.get_decoder().layers]
        return [getattr(one, name) for one in attentions if one is not None for name in ("k_proj", "v_proj")]


@contextmanager
def read_once(projections: Sequence[nn.Module], states: Tensor, rows: Tensor) -> Iterator[None]:
    """Linear projections of the rows (N,) of states (B, L, d) are made of the states, and their rows taken."""
    handles = []
    for module in projections if len(rows) > len(states) else ():
        if isinstance(module, nn.Linear):  # of another, which may look at more than a row, nothing is known
            handles.append(module.register_forward_pre_hook(lambda module, inputs: (states,)))
            handles.append(module.register_forward_hook(lambda module, inputs, found: found.index_select(0, rows)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def shift_right(base_model: Any, labels: Tensor) -> Tensor:
    """What the decoder reads to tell the labels (N, L'), as the model makes it of labels itself."""
    if hasattr(base_model, "prepare_decoder_input_ids_from_labels"):
        return base_model.prepare_decoder_input_ids_from_labels(labels)
    config = base_model.config  # of an M2M100
    shifted = nn.functional.pad(labels[:, :-1], (1, 0), value=config.decoder_start_token_id)
    return shifted.masked_fill(shifted == IGNORED_LABEL, config.pad_token_id)


def sum_log_probabilities(logits: Tensor, labels: Tensor) -> Tensor:
    """The sums (B, C) over the answers' tokens, in float32 or above.

    Args:
        logits: (B, C, L', V), at the position that each token is told from.
        labels: (B, C, L') int64, padded with -100.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    # A padded position takes token 0's value, which does not count.
    targets = labels.clamp(min=0)[..., None]
    log_probabilities = logits.gather(-1, targets)[..., 0] - logits.logsumexp(dim=-1)
    return log_probabilities.masked_fill(labels == IGNORED_LABEL, 0).sum(dim=-1)


def expand_a_copy(base_model: Any, **kwargs: Any) -> Any:
    """Transformers' ``_expand_inputs_for_generation``, which repeats ``encoder_outputs`` for beams in place.

    They stay as they came, so that several generations can read the rows that were encoded once.
    """
    encoded = kwargs.get("encoder_outputs")
    if encoded is not None:
        kwargs["encoder_outputs"] = type(encoded)(**encoded)
    inherited: Any = inspect.getattr_static(GenerationMixin, "_expand_inputs_for_generation")  # static in some versions
    return inherited.__get__(base_model)(**kwargs)
