"""What a :class:`crosspt.CrossPTModel` asks of a causal language model, such as a Llama, Qwen, Gemma or GPT-2."""

from dataclasses import replace
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from crosspt.functional import Backend
from crosspt.models.causal.prefix import CausalPrefix, compute_prefix
from crosspt.models.causal.text import PromptedText
from crosspt.models.encoder_decoder import sum_log_probabilities
from crosspt.models.family import Family
from crosspt.prompts.rows import move_padding
from crosspt.tasks.collation import IGNORED_LABEL


class Causal(Family):
    """A decoder alone: an answer continues the text, which stands behind the prompt.

    Both prefix modes compute the same. ``"full"`` puts the prompt's rows in front of the text; ``"isolated"`` reads
    what they leave in every layer, computed once for each task, from the model's own cache.
    """

    causal = True
    defaults = MappingProxyType(
        {
            "initialization": "vocabulary",
            "prefix_mode": "isolated",
            "source_learning_rate": 0.3,
            "private_learning_rate": 0.3,
            "encoder_learning_rate": 0.001,  # at 0.01 and more the loss rose or its steps were erratic
        }
    )
    defaults_source = "for causal models start and rates chosen by SmolLM2-135M-Instruct's loss on 32 rows of SST-2"

    def prepare(self, base_model: Any, backend: Backend, *, isolated: bool) -> None:
        """A causal language model is ready as it is."""

    def text_embedding(self, base_model: Any) -> nn.Module:
        """The token embedding."""
        embedding: nn.Module = base_model.get_input_embeddings()
        return embedding

    def positions(self, base_model: Any) -> int | None:
        """The rows of the table of learned positions, which GPT-2 has."""
        table = getattr(getattr(base_model, "transformer", None), "wpe", None)
        return None if table is None else table.num_embeddings

    def prefix(self, base_model: Any, prompts: Tensor) -> CausalPrefix:
        """The keys and values that prompts (T, m, d) leave in the layers."""
        return compute_prefix(base_model, prompts)

    def forward(self, base_model: Any, inputs: dict[str, Any], labels: Tensor | None, **kwargs: Any) -> Any:
        """The model's output: logits of rows with their prompts (B, m + L, V), or of the text alone (B, L, V).

        With labels and ``logits_to_keep``, rows end together and have so many logits, their last.
        """
        text = PromptedText(**inputs)
        if labels is not None and kwargs.get("logits_to_keep"):
            return self._forward_ends(base_model, text, labels, **kwargs)
        if text.prefix is None or text.prefix.layers is None:
            read = text.as_rows(base_model).read(base_model)
            if labels is not None:
                prompt = read["attention_mask"].shape[1] - labels.shape[1]
                labels = nn.functional.pad(labels, (prompt, 0), value=IGNORED_LABEL)
            return base_model(**read, labels=labels, **kwargs)
        output = base_model(**text.read(base_model), **kwargs)
        if labels is not None:  # a text's first token is told from the prompt's last row, which is not among these
            first = text.prefix.logits.index_select(0, text.task_ids)[:, None]
            logits = torch.cat([first, output.logits], dim=1)
            labels = nn.functional.pad(labels, (1, 0), value=IGNORED_LABEL)
            output.loss = base_model.loss_function(logits=logits, labels=labels, vocab_size=logits.shape[-1])
        return output

    def _forward_ends(
        self, base_model: Any, text: PromptedText, labels: Tensor, *, logits_to_keep: int, **kwargs: Any
    ) -> Any:
        """As :meth:`forward`, with the logits alone that labels are told from: a vocabulary is wide."""
        mask = text.attention_mask[:, -labels.shape[1] :]
        # A text's first token is told from the prompt, which only rows have in front of it.
        begins = bool((labels[:, 0] != IGNORED_LABEL).any())
        text = text.as_rows(base_model) if begins else text.in_sight(base_model, 0)
        output = base_model(**text.read(base_model, left=True), logits_to_keep=logits_to_keep, **kwargs)
        shown = _last(labels, mask, output.logits)
        told, wanted = (int((some != IGNORED_LABEL).sum()) for some in (shown[:, 1:], labels))
        if told != wanted:
            raise ValueError(f"forward: logits_to_keep={logits_to_keep} leaves {told} of {wanted} labels to be told")
        output.loss = base_model.loss_function(logits=output.logits, labels=shown, vocab_size=output.logits.shape[-1])
        return output

    def told(self, labels: Tensor, attention_mask: Tensor, logits: Tensor) -> Tensor:
        """A label each, of rows that end together: that behind it."""
        shown = _last(labels, attention_mask, logits)
        return nn.functional.pad(shown[:, 1:], (0, 1), value=IGNORED_LABEL)

    def encode(self, base_model: Any, inputs: dict[str, Any], **kwargs: Any) -> PromptedText:
        """The batch as it is: what a model makes of it is not known before it is told how to answer."""
        return PromptedText(**inputs)

    def generate(self, base_model: Any, input_ids: Tensor, states: PromptedText, mask: Tensor, **kwargs: Any) -> Any:
        """The text (B, L), padded on the left, and what continues it."""
        if kwargs.get("assistant_model") is not None or kwargs.get("prompt_lookup_num_tokens"):
            raise ValueError("generate: a draft model cannot read the prompts of a causal language model")
        settings = kwargs.get("generation_config") or base_model.generation_config
        several = ("num_beams", "num_return_sequences")
        copies = max(kwargs.get(name) or getattr(settings, name) or 1 for name in several)
        new = kwargs.get("max_new_tokens") or settings.max_new_tokens or settings.max_length or torch.inf
        read = states.in_sight(base_model, new).read(base_model, left=True, copies=copies)
        del read["position_ids"]  # `generate` makes its own, from the mask
        if "input_ids" not in read:
            text_mask = states.attention_mask[:, mask.shape[1] - input_ids.shape[1] :]
            (read["input_ids"],) = move_padding(text_mask, input_ids, left=True)
        return base_model.generate(**read, **kwargs)

    def answer(self, base_model: Any, states: PromptedText, mask: Tensor, **options: Any) -> Tensor:
        """What continues the text."""
        rows = states.input_ids
        if rows is None:  # any ids will do: only their number counts
            rows = mask.new_zeros(len(mask), 0)
        return self.generate(base_model, rows, states, mask, **options)[:, rows.shape[1] :]

    def select(self, states: PromptedText, rows: Tensor) -> PromptedText:
        """The batch of these rows."""
        parts: dict[str, Any] = {
            name: part.index_select(0, rows) for name, part in vars(states).items() if isinstance(part, Tensor)
        }
        return replace(states, **parts)

    def log_likelihoods(
        self, base_model: Any, states: PromptedText, mask: Tensor, labels: Tensor, rows: Tensor | None = None
    ) -> Tensor:
        """By one pass over the rows and one over the B C answers, which read the rows in the cache."""
        if rows is not None:
            states, mask = self.select(states, rows), mask.index_select(0, rows)
        labels = labels.to(mask.device).expand(len(mask), -1, -1)
        count, length = labels.shape[1:]
        read = states.in_sight(base_model, length).read(base_model, left=True)
        output = base_model(**read, use_cache=True, logits_to_keep=1)
        first = output.logits[:, None].expand(-1, count, -1, -1)
        cache = output.past_key_values
        cache.batch_repeat_interleave(count)
        behind = read["attention_mask"].sum(dim=1, keepdim=True) + torch.arange(length - 1, device=mask.device)
        seen = read["attention_mask"].repeat_interleave(count, dim=0)
        rest = base_model(
            input_ids=labels[..., :-1].clamp(min=0).flatten(0, 1),
            attention_mask=nn.functional.pad(seen, (0, length - 1), value=1),
            position_ids=behind.repeat_interleave(count, dim=0),
            past_key_values=cache,
        ).logits
        return sum_log_probabilities(torch.cat([first, rest.unflatten(0, (-1, count))], dim=2), labels)


def _last(labels: Tensor, mask: Tensor, logits: Tensor) -> Tensor:
    """The labels (B, K) at the places of the last K logits of rows that end together; labels and mask are (B, L)."""
    (ends,) = move_padding(mask, labels, left=True)
    more = logits.shape[1] - ends.shape[1]
    return nn.functional.pad(ends, (more, 0), value=IGNORED_LABEL)  # fewer, where that is negative
