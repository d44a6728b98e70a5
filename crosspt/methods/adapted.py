"""Methods that train a T5 itself, or modules inside it, on a copy which shares the weights that stay frozen."""

import copy
from abc import abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import T5ForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput

from crosspt.config.files import read_json
from crosspt.config.layout import METHOD_NAME
from crosspt.config.prompts import CrossPTConfig
from crosspt.methods.method import Method
from crosspt.models.t5 import family
from crosspt.storage import Origin, check_state, read_weights, write_weights

WEIGHTS_NAME = "method_model.safetensors"
BASELINES = {"epochs": 20, "max_grad_norm": 1.0}
"""What all of ATTEMPT's baselines share; the norm is transformers' default, which they keep."""


class AdaptedT5(nn.Module):
    """A T5 that has been adapted to tasks; rows of all of them go through it alike.

    Args:
        t5: a T5 of its own, see :func:`own_copy`. What requires a gradient is what was learned, and is saved.
        config: the tasks.
    """

    accepts_loss_kwargs = False  # the Trainer would take **kwargs as a sign that the loss is normalised over steps

    def __init__(self, t5: T5ForConditionalGeneration, config: CrossPTConfig):
        super().__init__()
        family.prepare(t5, "auto", isolated=False)
        self.t5 = t5
        self.config = config.for_model(t5.config)

    @property
    def device(self) -> torch.device:
        """The device that inputs must be on."""
        return self.t5.device

    def inputs(self, input_ids: Tensor, attention_mask: Tensor | None) -> dict[str, Any]:
        """What the T5's encoder takes of rows (B, L)."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        return {"input_ids": input_ids, "attention_mask": mask}

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        task_ids: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs: Any,
    ) -> Seq2SeqLMOutput:
        """Run the T5.

        Args:
            input_ids: (B, L) int64.
            attention_mask: (B, L), by default all ones.
            task_ids: (B,), not looked at.
            labels: (B, L') int64, -100 where the loss looks away.
            kwargs: handed to the T5, such as ``decoder_input_ids``.
        """
        return self.t5(**self.inputs(input_ids, attention_mask), labels=labels, **kwargs)

    def encode(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, task_ids: Tensor | None = None, **kwargs: Any
    ) -> tuple[BaseModelOutput, Tensor]:
        """The encoder's output and its attention mask, for several decoder passes over them; see :meth:`forward`."""
        inputs = self.inputs(input_ids, attention_mask)
        return family.encode(self.t5, inputs, **kwargs), inputs["attention_mask"]

    @torch.no_grad()
    def generate(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, task_ids: Tensor | None = None, **kwargs: Any
    ) -> Any:
        """Generate with every option of transformers' ``generate``; see :meth:`forward`."""
        states, mask = self.encode(input_ids, attention_mask, task_ids)
        t5: Any = self.t5  # transformers types generate() for a protocol that its own T5 does not meet
        return t5.generate(encoder_outputs=states, attention_mask=mask, **kwargs)

    def keep_prompts(self) -> AbstractContextManager[None]:
        """Nothing: there are no prompts to be composed once."""
        return nullcontext()

    def count_parameters(self) -> tuple[int, int]:
        """Number of trainable and of all parameters, the shared token table counted once."""
        parameters = list(self.parameters())
        return sum(p.numel() for p in parameters if p.requires_grad), sum(p.numel() for p in parameters)

    def learned(self) -> dict[str, nn.Parameter]:
        """The parameters that learn, by name."""
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}


class AdaptingMethod(Method):
    """A method whose models are :class:`AdaptedT5` s: it says how a T5 is adapted, and with which settings."""

    changes_backbone = True

    @abstractmethod
    def adapt(self, t5: T5ForConditionalGeneration, config: CrossPTConfig) -> AdaptedT5:
        """A model over a copy of a frozen T5, of which what learns requires a gradient."""

    def build(
        self,
        t5: T5ForConditionalGeneration,
        config: CrossPTConfig,
        *,
        source_prompts: Mapping[str, Tensor] | None = None,
        tokenizer: Any = None,
        initialize: bool = True,
    ) -> AdaptedT5:
        """The adapted T5."""
        if not isinstance(t5, family.CLASSES):
            raise TypeError(f"{self.name}: t5 must be a T5ForConditionalGeneration, got {type(t5).__name__}")
        return self.adapt(t5.requires_grad_(False), config)

    def save(self, model: AdaptedT5, folder: Path) -> None:
        """Write ``method_model.safetensors``, what was learned, then ``method_config.json``, each atomically."""
        header = {
            "method": self.name,
            "config": model.config.to_dict(),
            "base_model": family.describe(model.t5),
        }
        write_weights(folder, header, model.learned(), WEIGHTS_NAME, METHOD_NAME)

    def restore(self, model: AdaptedT5, folder: Path) -> None:
        """Put saved weights of the same configuration into a model."""
        header, state = self._read(folder)
        if CrossPTConfig.from_dict(header["config"], str(folder / WEIGHTS_NAME)) != model.config:
            raise ValueError(f"resume: {folder} was made with other settings than this run's")
        learned = model.learned()
        check_state(folder, state, learned, WEIGHTS_NAME)
        with torch.no_grad():
            for name, parameter in learned.items():
                parameter.copy_(state[name])

    def load(self, t5: T5ForConditionalGeneration, folder: Path) -> AdaptedT5:
        """The T5 as it was adapted."""
        config, base_model = self.read(folder)
        if base_model.get("d_model") != t5.config.d_model:
            raise ValueError(
                f"from_pretrained: the weights in {folder} were made for d_model {base_model.get('d_model')} "
                f"({base_model.get('name')!r}), the T5 has {t5.config.d_model}"
            )
        Origin(str(folder), base_model, config.prefix_mode).warn_of(
            family.describe(t5), config.prefix_mode, "the weights"
        )
        model = self.build(t5, config, initialize=False)
        self.restore(model, folder)
        return model

    def is_saved(self, folder: Path) -> bool:
        """Whether the later one of the two files is there."""
        return (folder / METHOD_NAME).is_file()

    def read(self, folder: Path) -> tuple[CrossPTConfig, dict[str, Any]]:
        """The configuration of saved weights, and what they say of the T5."""
        header, _ = self._read(folder)
        return CrossPTConfig.from_dict(header["config"], str(folder / WEIGHTS_NAME)), header["base_model"]

    def _read(self, folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """The header and the tensors. Raises ValueError where a file is missing, foreign or corrupt."""
        path = folder / WEIGHTS_NAME
        header, state = read_weights(folder, WEIGHTS_NAME)
        if header != read_json(folder / METHOD_NAME):
            raise ValueError(f"from_pretrained: {folder / METHOD_NAME} does not belong to {WEIGHTS_NAME} beside it")
        if header.get("method") != self.name:
            raise ValueError(f"from_pretrained: {path} must be of method {self.name}, got {header.get('method')!r}")
        return header, state


def own_copy(t5: T5ForConditionalGeneration, learns: Callable[[str], bool]) -> T5ForConditionalGeneration:
    """A T5 whose modules are its own, so that they can be changed, while it shares the weights that stay frozen.

    Args:
        t5: a frozen T5, which is left as it is.
        learns: whether a parameter of that name is copied, to be trained.
    """
    memo: dict[int, Any] = {}
    for name, parameter in t5.named_parameters():
        memo[id(parameter)] = nn.Parameter(parameter.detach().clone()) if learns(name) else parameter
    return copy.deepcopy(t5, memo)


def modules_named(t5: nn.Module, *endings: str) -> list[Any]:
    """The modules whose name ends so, in order."""
    return [module for name, module in t5.named_modules() if name.endswith(endings)]
