"""The learned parameters: source prompts, private prompts, attention logits and the prompt encoder."""

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from crosspt.config.prompts import CrossPTConfig
from crosspt.functional import Backend, compose_prompts, mixing_weights
from crosspt.kernels.mixture import Mixture


class TextTokenizer(Protocol):
    """What initialisation from text needs of a tokenizer."""

    def __call__(self, text: str, *, add_special_tokens: bool) -> Any:
        """Return an object with the token ids under ``input_ids``."""


class LSTMEncoder(nn.Module):
    """A bidirectional LSTM over the prompt's tokens, then a linear layer: (k, m, d) to (k, m, d)."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.lstm = nn.LSTM(width, hidden, batch_first=True, bidirectional=True)
        self.linear = nn.Linear(2 * hidden, width)

    def forward(self, prompts: Tensor) -> Tensor:
        """Encode k prompts (k, m, d)."""
        return self.linear(self.lstm(prompts)[0])


class PerPromptEncoder(nn.ModuleList):
    """One encoder for every prompt: prompt k of (K, m, d) goes through encoder k."""

    def forward(self, prompts: Tensor) -> Tensor:
        """Encode K prompts (K, m, d)."""
        return torch.cat([encoder(prompt[None]) for encoder, prompt in zip(self, prompts, strict=True)])


class PromptBank(nn.Module):
    """The parameters that learn, and nothing else. Prompts are zero until :meth:`initialize` or a loaded state.

    Args:
        config: the scheme and its settings.
        like: any embedded tokens (., d), for the width, the device and the dtype.

    Attributes:
        sources: (n, m, d) or None; frozen in schemes such as SIP.
        privates: (T, m, d) or None.
        logits: (T, N), zero at the start, so all candidates weigh the same. A constant where N = 1.
        encoder: a module (k, m, d) to (k, m, d), or None. Linear and shared, it is applied inside the fused operation.

    Saved prompts become raw prompts under a linear encoder that starts as the identity, or bypass the encoder where
    they are frozen or it is not linear: either way, starting from them changes nothing.
    """

    def __init__(self, config: CrossPTConfig, like: Tensor):
        super().__init__()
        scheme = config.parsed_scheme
        tasks, n, m, d = len(config.tasks), config.num_sources, config.prompt_length, like.shape[1]
        self.config = config
        self.shape = (m, d)
        # Prompts learn in at least float32, also beside a table in half precision.
        like = torch.empty(0, dtype=torch.promote_types(like.dtype, torch.float32), device=like.device)
        self.sources = nn.Parameter(like.new_zeros(n, m, d), scheme.learns_sources) if scheme.uses_sources else None
        self.privates = nn.Parameter(like.new_zeros(tasks, m, d)) if scheme.uses_privates else None
        logits = like.new_zeros(tasks, config.num_candidates)
        if config.num_candidates > 1:
            self.logits: Tensor = nn.Parameter(logits)
        else:
            self.register_buffer("logits", logits, persistent=False)
        self.encoder = self._make_encoder(d).to(like) if config.has_encoder else None
        if config.freeze_shared:
            for parameter in self.shared().values():
                parameter.requires_grad_(False)

    @torch.no_grad()
    def initialize(
        self,
        embedding: nn.Module,
        *,
        source_prompts: Mapping[str, Tensor] | None = None,
        tokenizer: TextTokenizer | None = None,
    ) -> None:
        """Give the prompts their starting values; what is frozen as another bank's is NaN until it is taken from there.

        Args:
            embedding: of tokens; called for initialisation from the vocabulary or from text.
            source_prompts: the encoded stage-1 prompt (m, d) of each source task, for schemes that start from them.
            tokenizer: for initialisation from text.
        """
        scheme, config = self.config.parsed_scheme, self.config
        if config.freeze_shared:
            for parameter in self.shared().values():
                parameter.fill_(torch.nan)
        sources = None if scheme.initializes_sources or config.freeze_shared else self.sources
        privates = None if scheme.initializes_privates else self.privates
        fresh = [group for group in (sources, privates) if group is not None]
        counts = [len(group) for group in fresh]
        values = _fresh_prompts(config, embedding, (sum(counts), *self.shape), tokenizer)
        for group, value in zip(fresh, values.split(counts), strict=True):
            group.copy_(value)
        if self.sources is not None and scheme.initializes_sources and not config.freeze_shared:
            self.sources.copy_(_saved_prompts(config.resolved_source_tasks, source_prompts, self.sources))
        if self.privates is not None and scheme.initializes_privates:
            self.privates.copy_(_saved_prompts(config.tasks, source_prompts, self.privates))

    def shared(self) -> dict[str, nn.Parameter]:
        """What all tasks use, by name: the sources and the encoder, but for encoders of a private prompt's own."""
        own = ["privates", "logits"]
        if isinstance(self.encoder, PerPromptEncoder):
            first = self.config.num_sources * self.config.encodes_sources
            own += [f"encoder.{number}." for number in range(first, len(self.encoder))]
        return {name: value for name, value in self.named_parameters() if not name.startswith(tuple(own))}

    @torch.no_grad()
    def take_shared(self, bank: "PromptBank") -> None:
        """Put what all tasks of another bank use into this one.

        Raises:
            ValueError: the other bank shares something else, or of other shapes.
        """
        ours, theirs = self.shared(), bank.shared()
        wanted, got = ({name: tuple(value.shape) for name, value in one.items()} for one in (ours, theirs))
        if wanted != got:
            raise ValueError(f"take_shared: expected a bank that shares {wanted}, got one that shares {got}")
        for name, value in ours.items():
            value.copy_(theirs[name])

    def _make_encoder(self, d: int) -> nn.Module:
        config = self.config
        count = config.num_sources * config.encodes_sources + len(config.tasks) * config.encodes_privates
        hidden = config.encoder_hidden_size or d
        as_identity = config.parsed_scheme.needs_source_prompts

        def make() -> nn.Module:
            if config.encoder == "mlp":
                return nn.Sequential(nn.Linear(d, hidden), nn.ReLU(), nn.Linear(hidden, d))
            if config.encoder == "lstm":
                return LSTMEncoder(d, hidden)
            linear = nn.Linear(d, d)
            if as_identity:
                nn.init.eye_(linear.weight)
                nn.init.zeros_(linear.bias)
            return linear

        return PerPromptEncoder(make() for _ in range(count)) if config.encodes_each else make()

    def mixture(self) -> Mixture:
        """What prompts are composed of. A shared linear encoder is handed on; any other is applied here."""
        config, encoder = self.config, self.encoder
        sources: Tensor | None = self.sources
        privates: Tensor | None = self.privates
        linear: tuple[Tensor | None, Tensor | None] = (None, None)
        if isinstance(encoder, nn.Linear):
            linear = (encoder.weight, encoder.bias)
        elif encoder is not None:
            raw: list[Tensor] = []
            if sources is not None and config.encodes_sources:
                raw.append(sources)
            if privates is not None and config.encodes_privates:
                raw.append(privates)
            with torch.autocast(self.logits.device.type, enabled=False):
                encoded = list(encoder(torch.cat(raw)).split([len(group) for group in raw]))
            if config.encodes_sources:
                sources = encoded.pop(0)
            if config.encodes_privates:
                privates = encoded.pop()
        return Mixture(
            self.logits,
            sources,
            privates,
            *linear,
            temperature=config.temperature_value,
            encode_sources=config.encodes_sources,
            encode_privates=config.encodes_privates,
        )

    def compose(self, backend: Backend = "auto") -> Tensor:
        """Every task's prompt, P (T, m, d)."""
        return compose_prompts(**self.mixture()._asdict(), backend=backend)

    def mixing_weights(self) -> Tensor:
        """Attention weights alpha (T, N), sources first, the private prompt last."""
        return mixing_weights(self.logits, self.config.temperature_value)


def embed_ids(embedding: Any, ids: Tensor) -> Tensor:
    """The rows (., d) that a token embedding gives for ids (.,), called where its weights are.

    The hooks of offloaded weights, which are on the meta device meanwhile, take ids from the CPU.
    """
    device = embedding.weight.device
    with torch.no_grad():
        return embedding(ids if device.type == "meta" else ids.to(device))


def _fresh_prompts(
    config: CrossPTConfig, embedding: Any, shape: tuple[int, int, int], tokenizer: TextTokenizer | None
) -> Tensor:
    """Prompts of a shape (count, m, d) that start from no saved prompt."""
    count, m, _ = shape
    if config.initialization == "vocabulary":
        return embed_ids(embedding, torch.randint(len(embedding.weight), (count, m)))
    if config.init_texts is not None:
        if tokenizer is None:
            raise ValueError("PromptBank: initialization 'text' needs a tokenizer, got None")
        texts = config.init_texts * (count if len(config.init_texts) == 1 else 1)
        return torch.stack([_text_prompt(text, m, embedding, tokenizer) for text in texts])
    return torch.empty(shape).uniform_(-0.5, 0.5)


def _text_prompt(text: str, m: int, embedding: Any, tokenizer: TextTokenizer) -> Tensor:
    ids = torch.as_tensor(tokenizer(text, add_special_tokens=False).input_ids, dtype=torch.int64)
    if len(ids) == 0:
        raise ValueError(f"PromptBank: init_texts must each hold a token, got {text!r}")
    return embed_ids(embedding, ids.repeat(-(-m // len(ids)))[:m])


def _saved_prompts(tasks: list[str], source_prompts: Mapping[str, Tensor] | None, group: Tensor) -> Tensor:
    """The prompts saved for the tasks, stacked to the shape of ``group``."""
    source_prompts = source_prompts or {}
    missing = [task for task in tasks if task not in source_prompts]
    if missing:
        raise ValueError(f"PromptBank: source_prompts must hold a stage-1 prompt for {', '.join(missing)}")
    for task in tasks:
        wanted, got = tuple(group.shape[1:]), tuple(source_prompts[task].shape)
        if got != wanted:
            raise ValueError(f"PromptBank: the source prompt of {task} must have shape (m, d) = {wanted}, got {got}")
    return torch.stack([source_prompts[task].to(group) for task in tasks])
