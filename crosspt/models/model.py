"""CrossPTModel: a frozen language model behind a CrossPTEmbedding, with what is kept of it and saved."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers.utils import PushToHubMixin

from crosspt.config.prompts import CrossPTConfig
from crosspt.functional import Backend
from crosspt.models.family import describe, width
from crosspt.models.prompted import PromptedModel
from crosspt.prompts.bank import TextTokenizer
from crosspt.prompts.cache import ScopedCache
from crosspt.prompts.embedding import CrossPTEmbedding
from crosspt.prompts.rows import arrange_rows
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


class CrossPTModel(PromptedModel, PushToHubMixin):
    """A language model whose inputs carry the prompt of their task. Only the prompts learn.

    Args:
        base_model: a language model of one of ``crosspt.models.family.FAMILIES``. Its parameters are frozen in place.
        config: the prompts.
        source_prompts: encoded stage-1 prompts (m, d) by task, for schemes that start from them.
        tokenizer: for initialisation from text.
        backend: ``"auto"``, ``"torch"`` or ``"triton"``; see :func:`crosspt.functional.compose_prompts`.
        initialize: False leaves the prompts at zero, for a saved state to be loaded.

    Its ``state_dict`` holds the prompts and their configuration, not the language model, so that checkpoints of the
    Trainer and of Accelerate do too.

    With ``prefix_mode="isolated"`` a T5's ``attn_implementation`` is set to ``"crosspt"`` (``"crosspt_torch"`` or
    ``"crosspt_triton"`` where a backend is forced), and ``generate`` finds the prefix by a hook on the T5; with
    ``"full"`` the T5's attention is left as it is. Prompts and prefixes are computed in every call, but inside
    :meth:`keep_prompts`. ``prefix_cache.nbytes`` is the size of the prefixes that are kept, ``prefix_cache.limit`` the
    most that may be, by default 2 GiB.
    """

    def __init__(
        self,
        base_model: Any,
        config: CrossPTConfig,
        *,
        source_prompts: Mapping[str, Tensor] | None = None,
        tokenizer: TextTokenizer | None = None,
        backend: Backend = "auto",
        initialize: bool = True,
    ):
        super().__init__(base_model, config, backend)
        base_model.requires_grad_(False)
        for task in config.resolved_source_tasks if config.parsed_scheme.needs_source_prompts else ():
            origin = getattr(source_prompts, "origins", {}).get(task)
            if origin is not None:
                origin.warn_of(describe(base_model), config.prefix_mode, f"the source prompts of {task}")
        self.embedding = CrossPTEmbedding(
            self.family.text_embedding(base_model),
            config,
            source_prompts=source_prompts,
            tokenizer=tokenizer,
            backend=backend,
            initialize=initialize,
        )
        self.prefix_cache: ScopedCache[Any] = ScopedCache(PREFIX_CACHE_BYTES)
        self.register_state_dict_post_hook(drop_language_model)
        self.register_load_state_dict_post_hook(miss_no_language_model)

    def get_extra_state(self) -> Tensor:
        """The prompts' configuration and the model they belong to, as the bytes of a JSON text."""
        return pack_header(self.config, describe(self.base_model))

    def set_extra_state(self, state: Tensor) -> None:
        """Raise ValueError where a state belongs to other prompt settings."""
        if unpack_header(state, "the state")[0] != self.config:
            raise ValueError("CrossPTModel: the state was saved with other prompt settings than this model's")

    @property
    def device(self) -> torch.device:
        """The device that inputs must be on: that of the prompts, also where other weights are offloaded."""
        return self.embedding.bank.logits.device

    def _inputs(self, input_ids: Tensor, attention_mask: Tensor | None, task_ids: Tensor | None) -> dict[str, Any]:
        """Rows that carry their prompts, or, isolated, tokens and the prefixes they read."""
        self.embedding.token_embedding = self.family.text_embedding(self.base_model)  # it may have been replaced
        if self.config.prefix_mode == "full":
            embeds, mask = self.embedding(input_ids, attention_mask, task_ids)
            return {"inputs_embeds": embeds, "attention_mask": mask}
        input_ids, mask, task_ids = arrange_rows("CrossPTModel", self.config.tasks, input_ids, attention_mask, task_ids)
        used = None
        if self.family.causal and (torch.is_grad_enabled() or not self.prefix_cache.in_scope):
            used, task_ids = task_ids.unique(return_inverse=True)
        return {"input_ids": input_ids, "attention_mask": mask, "prefix": self.prefix(used), "task_ids": task_ids}

    def prefix(self, task_ids: Tensor | None = None) -> Any:
        """The keys and values that each task's prompt leaves in the layers, for ``prefix_mode="isolated"``.

        Args:
            task_ids: (n,), to compute those of these tasks alone, and keep none.

        Raises:
            RuntimeError: the T5 no longer has a crosspt attention, or checkpoints its layers with reentrant autograd.
        """

        def compute() -> Any:
            prompts = self.embedding.compose().to(self.base_model.dtype)
            chosen = prompts if task_ids is None else prompts.index_select(0, task_ids)
            return self.family.prefix(self.base_model, chosen)

        if task_ids is not None or self.base_model.training:  # with dropout no two are alike
            return compute()
        device = self.device.type
        autocast = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
        return self.prefix_cache.get(compute, autocast)

    @property
    def kept_bytes(self) -> int:
        """Bytes of the prompts and prefixes that are kept at present."""
        return self.embedding.kept_bytes + self.prefix_cache.nbytes

    @contextmanager
    def keep_prompts(self) -> Iterator[None]:
        """Compute the prompts and isolated prefixes once inside the block, where no weight or hook may change.

        Nothing is kept while gradients are enabled or the T5 trains.
        """
        with self.embedding.keep_prompts(), self.prefix_cache.scope():
            yield

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
        """Write the prompts alone: ``crosspt_config.json`` and ``crosspt_model.safetensors``, each atomically.

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
        save_prompts(save_directory, SavedPrompts(self.config, describe(self.base_model), state, prompts))
        if push_to_hub:
            self.push_to_hub(kwargs.pop("repo_id", os.path.basename(os.path.abspath(save_directory))), **kwargs)

    @classmethod
    def from_pretrained(
        cls, base_model: Any, folder: str | os.PathLike[str], *, backend: Backend = "auto"
    ) -> "CrossPTModel":
        """A language model with the prompts that :meth:`save_pretrained` or the Trainer wrote. Training can go on.

        Warns where the prompts were trained on another one.

        Raises:
            ValueError: a file is missing, foreign or corrupt, or the prompts were made for another width.
        """
        if holds_state(folder):
            config, trained_on, state = load_state(folder)
        else:
            saved = load_prompts(folder)
            config, trained_on, state = saved.config, saved.base_model, saved.state
        if trained_on.get("d_model") != width(base_model):
            raise ValueError(
                f"from_pretrained: the prompts in {folder} have width {trained_on.get('d_model')} "
                f"(made for {trained_on.get('name')!r}), the model has d_model {width(base_model)}"
            )
        origin = Origin(str(folder), trained_on, config.prefix_mode)
        origin.warn_of(describe(base_model), config.prefix_mode, "the prompts")
        model = cls(base_model, config, backend=backend, initialize=False)
        bank = model.embedding.bank
        check_state(folder, state, bank.state_dict())
        bank.load_state_dict(state)
        return model
