"""CrossPTModel: a frozen language model behind a CrossPTEmbedding."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import T5ForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput
from transformers.utils import PushToHubMixin

from crosspt.config.prompts import CrossPTConfig
from crosspt.functional import Backend
from crosspt.models.t5 import family
from crosspt.models.t5.prefix import Prefix
from crosspt.prompts.bank import TextTokenizer
from crosspt.prompts.cache import ScopedCache
from crosspt.prompts.embedding import CrossPTEmbedding
from crosspt.prompts.state import (
    BANK,
    drop_language_model,
    holds_state,
    load_state,
    miss_no_language_model,
    pack_header,
    unpack_header,
)
from crosspt.storage import Origin, SavedPrompts, check_state, load_prompts, save_prompts

PREFIX_CACHE_BYTES = 2**31


class CrossPTModel(nn.Module, PushToHubMixin):
    """A T5 whose inputs carry the prompt of their task. Only the prompts learn.

    Args:
        t5: a ``T5ForConditionalGeneration`` (1.0, 1.1, flan, mT5). Its parameters are frozen in place.
        config: the prompts.
        source_prompts: encoded stage-1 prompts (m, d) by task, for schemes that start from them.
        tokenizer: for initialisation from text.
        backend: ``"auto"``, ``"torch"`` or ``"triton"``; see :func:`crosspt.functional.compose_prompts`.
        initialize: False leaves the prompts at zero, for a saved state to be loaded.

    What this class does not define is the T5's: ``generation_config``, ``gradient_checkpointing_enable``, ``dtype`` and
    so on. Its ``state_dict`` holds the prompts and their configuration, not the T5, so that checkpoints of the Trainer
    and of Accelerate do too.

    With ``prefix_mode="isolated"`` the T5's ``attn_implementation`` is set to ``"crosspt"`` (``"crosspt_torch"`` or
    ``"crosspt_triton"`` where a backend is forced), and ``generate`` finds the prefix by a hook on the T5; with
    ``"full"`` the T5's attention is left as it is. Prompts and prefixes are computed in every call, but inside
    :meth:`keep_prompts`. ``prefix_cache.nbytes`` is the size of the prefixes that are kept, ``prefix_cache.limit`` the
    most that may be, by default 2 GiB.
    """

    # The Trainer would otherwise take **kwargs as a sign that the loss is normalised over accumulation steps.
    accepts_loss_kwargs = False

    def __init__(
        self,
        t5: T5ForConditionalGeneration,
        config: CrossPTConfig,
        *,
        source_prompts: Mapping[str, Tensor] | None = None,
        tokenizer: TextTokenizer | None = None,
        backend: Backend = "auto",
        initialize: bool = True,
    ):
        super().__init__()
        if not isinstance(t5, family.CLASSES):
            raise TypeError(f"CrossPTModel: t5 must be a T5ForConditionalGeneration, got {type(t5).__name__}")
        self.t5 = t5.requires_grad_(False)
        self.config = config.for_model(t5.config)
        family.prepare(t5, backend, isolated=config.prefix_mode == "isolated")
        for task in config.resolved_source_tasks if config.parsed_scheme.needs_source_prompts else ():
            origin = getattr(source_prompts, "origins", {}).get(task)
            if origin is not None:
                origin.warn_of(family.describe(t5), config.prefix_mode, f"the source prompts of {task}")
        self.embedding = CrossPTEmbedding(
            family.text_embedding(t5),
            config,
            source_prompts=source_prompts,
            tokenizer=tokenizer,
            backend=backend,
            initialize=initialize,
        )
        self.prefix_cache: ScopedCache[Prefix] = ScopedCache(PREFIX_CACHE_BYTES)
        self.register_state_dict_post_hook(drop_language_model)
        self.register_load_state_dict_post_hook(miss_no_language_model)

    def __getattr__(self, name: str) -> Any:
        """What the T5 has and this class has not."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "t5":  # before it is set
                raise
            return getattr(self.t5, name)

    @property
    def generation_config(self) -> Any:
        """The T5's, by which :meth:`generate` goes."""
        return self.t5.generation_config

    @generation_config.setter
    def generation_config(self, config: Any) -> None:
        self.t5.generation_config = config

    def get_extra_state(self) -> Tensor:
        """The prompts' configuration and the T5 they belong to, as the bytes of a JSON text."""
        return pack_header(self.config, family.describe(self.t5))

    def set_extra_state(self, state: Tensor) -> None:
        """Raise ValueError where a state belongs to other prompt settings."""
        if unpack_header(state, "the state")[0] != self.config:
            raise ValueError("CrossPTModel: the state was saved with other prompt settings than this model's")

    @property
    def device(self) -> torch.device:
        """The device that inputs must be on: that of the prompts, also where the T5's weights are offloaded."""
        return self.embedding.bank.logits.device

    def get_input_embeddings(self) -> nn.Module:
        """The module that embeds the text."""
        return family.text_embedding(self.t5)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        task_ids: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs: Any,
    ) -> Seq2SeqLMOutput:
        """Run the T5 on prompted inputs.

        Args:
            input_ids: (B, L), any integer dtype.
            attention_mask: (B, L), by default all ones.
            task_ids: (B,) integer, positions in ``config.tasks``; rows may be of different tasks.
            labels: (B, L') int64, -100 where the loss looks away.
            kwargs: handed to the T5, such as ``decoder_input_ids``.

        Returns:
            The T5's output; ``loss`` is set when labels are given, ``encoder_last_hidden_state`` is (B, m + L, d), or
            (B, L, d) with isolated prefixes, in which padding on the left of a row comes last.
        """
        return self.t5(**self._inputs(input_ids, attention_mask, task_ids), labels=labels, **kwargs)

    @torch.no_grad()
    def generate(
        self,
        inputs: Tensor | None = None,
        attention_mask: Tensor | None = None,
        task_ids: Tensor | None = None,
        *,
        input_ids: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """Generate from prompted inputs, with every option of transformers' ``generate``; see :meth:`forward`.

        Args:
            inputs: token ids (B, L), which may be given as ``input_ids`` as well.
            attention_mask: (B, L), by default all ones.
            task_ids: (B,) integer.
            input_ids: another name of ``inputs``.
            kwargs: handed to the T5's ``generate``. A draft model given as ``assistant_model`` sees the text without
                the prompt.
        """
        ids = inputs if input_ids is None else input_ids
        if ids is None or (inputs is not None and input_ids is not None):
            raise ValueError("CrossPTModel.generate: give the token ids either as inputs or as input_ids")
        defaults = kwargs.get("generation_config") or self.generation_config
        wanted = {
            name: kwargs.get(name, getattr(defaults, name, None))
            for name in ("output_attentions", "output_hidden_states")
        }
        asked = {name: True for name, value in wanted.items() if value}
        encoded, mask = self.encode(ids, attention_mask, task_ids, **asked)
        if kwargs.get("assistant_model") is not None:  # it encodes the ids by itself, under the same mask
            padding = self.generation_config.pad_token_id or 0
            ids = nn.functional.pad(ids, (mask.shape[1] - ids.shape[1], 0), value=padding)
        t5: Any = self.t5  # transformers types generate() for a protocol that its own T5 does not meet
        return t5.generate(inputs=ids, encoder_outputs=encoded, attention_mask=mask, **kwargs)

    def encode(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        task_ids: Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[BaseModelOutput, Tensor]:
        """Run the encoder alone on prompted inputs, for several decoder passes over them; see :meth:`forward`.

        Args:
            input_ids: (B, L), any integer dtype.
            attention_mask: (B, L), by default all ones.
            task_ids: (B,) integer, positions in ``config.tasks``.
            kwargs: handed to the encoder, such as ``output_hidden_states``.

        Returns:
            The encoder's output and the attention mask, which the T5 takes as ``encoder_outputs`` and
            ``attention_mask``: (B, m + L) or, isolated, (B, L) beside what its decoder reads of the prefixes.
        """
        inputs = self._inputs(input_ids, attention_mask, task_ids)
        return family.encode(self.t5, inputs, **kwargs), inputs["attention_mask"]

    def _inputs(self, input_ids: Tensor, attention_mask: Tensor | None, task_ids: Tensor | None) -> dict[str, Any]:
        """What the T5 takes: rows that carry their prompts, or, isolated, tokens and the prefixes they read."""
        self.embedding.token_embedding = family.text_embedding(self.t5)  # it may have been replaced
        if self.config.prefix_mode == "full":
            embeds, mask = self.embedding(input_ids, attention_mask, task_ids)
            return {"inputs_embeds": embeds, "attention_mask": mask}
        input_ids, mask, task_ids = self.embedding.arrange_rows(input_ids, attention_mask, task_ids)
        return {"input_ids": input_ids, "attention_mask": mask, "prefix": self.prefix(), "task_ids": task_ids}

    def prefix(self) -> Prefix:
        """The keys and values that each task's prompt leaves in the T5's layers, for ``prefix_mode="isolated"``.

        Raises:
            RuntimeError: the T5 no longer has a crosspt attention, or checkpoints its layers with reentrant autograd.
        """

        def compute() -> Prefix:
            return family.prefix(self.t5, self.embedding.compose().to(self.t5.dtype))

        if self.t5.training:  # with dropout no two are alike
            return compute()
        device = self.device.type
        autocast = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
        return self.prefix_cache.get(compute, autocast)

    @contextmanager
    def keep_prompts(self) -> Iterator[None]:
        """Compute the prompts and isolated prefixes once inside the block, where no weight or hook may change.

        Nothing is kept while gradients are enabled or the T5 trains.
        """
        with self.embedding.keep_prompts(), self.prefix_cache.scope():
            yield

    def count_parameters(self) -> tuple[int, int]:
        """Number of trainable and of all parameters, the shared token table counted once."""
        parameters = list(self.parameters())
        return sum(p.numel() for p in parameters if p.requires_grad), sum(p.numel() for p in parameters)

    def print_trainable_parameters(self) -> None:
        """Print the number and share of trainable parameters."""
        trainable, total = self.count_parameters()
        print(f"trainable params: {trainable:,} || all params: {total:,} || trainable%: {100 * trainable / total:.4f}")

    def save_pretrained(
        self,
        save_directory: str | os.PathLike[str],
        *,
        is_main_process: bool = True,
        state_dict: Mapping[str, Tensor] | None = None,
        save_function: Any = None,
        max_shard_size: Any = None,
        push_to_hub: bool = False,
        **kwargs: Any,
    ) -> None:
        """Write the prompts, not the T5: ``crosspt_config.json`` and ``crosspt_model.safetensors``, each atomically.

        Args:
            save_directory: the folder.
            is_main_process: False writes nothing.
            state_dict: this model's, where it was gathered from several processes.
            save_function: not called: files are safetensors.
            max_shard_size: without effect: there is one file.
            push_to_hub: upload the folder afterwards, with ``repo_id`` and the other options of ``push_to_hub``.
            kwargs: those options.
        """
        if kwargs and not push_to_hub:
            raise TypeError(f"save_pretrained: got unexpected {', '.join(kwargs)}")
        if not is_main_process:
            return
        bank = self.embedding.bank
        state = bank.state_dict()
        if state_dict is not None:
            state = {name: state_dict[BANK + name] for name in state}
        with torch.no_grad():
            prompts = bank.compose("torch")
        save_prompts(save_directory, SavedPrompts(self.config, family.describe(self.t5), state, prompts))
        if push_to_hub:
            self.push_to_hub(kwargs.pop("repo_id", os.path.basename(os.path.abspath(save_directory))), **kwargs)

    @classmethod
    def from_pretrained(
        cls, t5: T5ForConditionalGeneration, folder: str | os.PathLike[str], *, backend: Backend = "auto"
    ) -> "CrossPTModel":
        """A T5 with the prompts of a folder that :meth:`save_pretrained` or the Trainer wrote. Training can go on.

        Warns where the prompts were trained on another T5.

        Raises:
            ValueError: a file is missing, foreign or corrupt, or the prompts were made for another width.
        """
        if holds_state(folder):
            config, base_model, state = load_state(folder)
        else:
            saved = load_prompts(folder)
            config, base_model, state = saved.config, saved.base_model, saved.state
        width = base_model.get("d_model")
        if width != t5.config.d_model:
            raise ValueError(
                f"from_pretrained: the prompts in {folder} have width {width} "
                f"(made for {base_model.get('name')!r}), the T5 has d_model {t5.config.d_model}"
            )
        origin = Origin(str(folder), base_model, config.prefix_mode)
        origin.warn_of(family.describe(t5), config.prefix_mode, "the prompts")
        model = cls(t5, config, backend=backend, initialize=False)
        bank = model.embedding.bank
        check_state(folder, state, bank.state_dict())
        bank.load_state_dict(state)
        return model
