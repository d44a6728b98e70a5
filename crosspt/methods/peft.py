"""Methods of the library PEFT, an optional package, on their own copy of a T5's modules."""

import importlib
import warnings
from abc import abstractmethod
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from transformers import T5ForConditionalGeneration

from crosspt.config.prompts import CrossPTConfig
from crosspt.config.run import RunConfig
from crosspt.methods.adapted import AdaptedT5, AdaptingMethod
from crosspt.methods.method import baseline
from crosspt.models.copying import own_copy
from crosspt.prompts.rows import arrange_rows, put_in_front


class PeftMethod(AdaptingMethod):
    """One of PEFT's methods: what PEFT's configuration of it says. By default every task has its own."""

    uses = frozenset({"learning_rate"})

    @abstractmethod
    def peft_config(self, peft: Any, config: CrossPTConfig) -> Any:
        """PEFT's configuration for a T5, made with the given module."""

    def check(self, run: RunConfig) -> None:
        """Raise ValueError where PEFT is not installed, or as any method does."""
        self._need_peft()
        super().check(run)

    def adapt(self, base_model: T5ForConditionalGeneration, config: CrossPTConfig) -> AdaptedT5:
        """The T5 with PEFT's modules inside, or behind PEFT's prompt."""
        self._need_peft()
        peft = importlib.import_module("peft")
        own = own_copy(base_model, lambda name: False)
        settings = self.peft_config(peft, config)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # PEFT asks transformers by names that it is giving up
            adapted = peft.get_peft_model(own, settings)
        return PeftPrompted(own, config, adapted) if settings.is_prompt_learning else AdaptedT5(own, config)

    def _need_peft(self) -> None:
        if find_spec("peft") is None:
            raise ValueError(f"method {self.name} needs the package peft, which is not installed: crosspt[peft] has it")


class PeftPrompted(AdaptedT5):
    """A T5 whose inputs carry the prompt of a PEFT model over it.

    Args:
        base_model: the T5.
        config: the tasks.
        adapted: the PEFT model.
    """

    def __init__(self, base_model: T5ForConditionalGeneration, config: CrossPTConfig, adapted: Any):
        super().__init__(base_model, config)
        self.adapted = adapted

    def _inputs(self, input_ids: Tensor, attention_mask: Tensor | None, task_ids: Tensor | None) -> dict[str, Any]:
        """Prompt and token embeddings (B, m + L, d), and their mask."""
        ids, mask, task_ids = arrange_rows(type(self).__name__, self.config.tasks, input_ids, attention_mask, task_ids)
        prompts = self.adapted.get_prompt(batch_size=1)
        embeds = put_in_front(prompts, torch.zeros_like(task_ids), ids, self.base_model.get_input_embeddings())
        ones = mask.new_ones(len(mask), prompts.shape[1])
        return {"inputs_embeds": embeds, "attention_mask": torch.cat((ones, mask), dim=1)}


class LoRA(PeftMethod):
    """W + B A alpha / r at queries and values: 2 r d numbers for each W of d x d."""

    name = "lora"
    source = (
        "Hu et al. 2022 for RoBERTa-base on GLUE, r = alpha = 8 as PEFT's defaults; 20 epochs as ATTEMPT's baselines"
    )
    defaults = baseline(learning_rate=5e-4, stage2="per_target")

    def peft_config(self, peft: Any, config: CrossPTConfig) -> Any:
        """Rank 8 at q and v of every attention."""
        return peft.LoraConfig(task_type="SEQ_2_SEQ_LM")


class IA3(PeftMethod):
    """Learned scales of keys, values and the feed-forward layers' hidden units."""

    name = "ia3"
    source = "Liu et al. 2022 (T-Few), 3e-3; PEFT's places for a T5; 20 epochs as ATTEMPT's baselines"
    defaults = baseline(learning_rate=3e-3, stage2="per_target")

    def peft_config(self, peft: Any, config: CrossPTConfig) -> Any:
        """Scales at k and v of every attention and at wo of every feed-forward layer."""
        return peft.IA3Config(task_type="SEQ_2_SEQ_LM")


class PromptTuning(PeftMethod):
    """A prompt (m, d) that starts from random rows of the token table: m d numbers (Lester et al. 2021)."""

    name = "prompt-tuning"
    source = "AkariAsai/ATTEMPT, configs/baselines/prompt_tuning.json; without warm-up and weight decay, batches of 16"
    defaults = baseline(learning_rate=0.3, stage2="per_target", prompt_length=100)
    uses = PeftMethod.uses | {"prompt_length"}
    changes_backbone = False

    def peft_config(self, peft: Any, config: CrossPTConfig) -> Any:
        """A prompt of the encoder alone."""
        return peft.PromptTuningConfig(
            task_type="SEQ_2_SEQ_LM",
            num_virtual_tokens=config.prompt_length,
            num_transformer_submodules=1,  # by default PEFT adds rows for the decoder, which nothing reads
            prompt_tuning_init="SAMPLE_VOCAB",
        )


class PTuning(PeftMethod):
    """A prompt that an MLP of three layers makes of m learned rows (Liu et al. 2021)."""

    name = "p-tuning"
    source = "PEFT's guide to p-tuning: 20 tokens, hidden width 128, 1e-3; 20 epochs as ATTEMPT's baselines"
    defaults = baseline(learning_rate=1e-3, stage2="per_target", prompt_length=20)
    uses = PeftMethod.uses | {"prompt_length"}
    changes_backbone = False

    def peft_config(self, peft: Any, config: CrossPTConfig) -> Any:
        """A prompt of the encoder alone."""
        return peft.PromptEncoderConfig(
            task_type="SEQ_2_SEQ_LM",
            num_virtual_tokens=config.prompt_length,
            num_transformer_submodules=1,  # by default PEFT adds rows for the decoder, which nothing reads
            encoder_hidden_size=128,
        )
