"""Files of a method: what its model has learned, and the settings it was learned with."""

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import T5ForConditionalGeneration

from crosspt.config.files import read_json
from crosspt.config.layout import METHOD_NAME
from crosspt.config.prompts import CrossPTConfig
from crosspt.methods.method import Method
from crosspt.models.family import T5, describe
from crosspt.models.prompted import PromptedModel
from crosspt.storage import Origin, check_state, read_weights, write_weights

WEIGHTS_NAME = "method_model.safetensors"


class SavedMethod(Method):
    """A method whose models are :class:`crosspt.models.prompted.PromptedModel` s; what they learn is what is saved."""

    @abstractmethod
    def make(
        self, base_model: T5ForConditionalGeneration, config: CrossPTConfig, sources: Mapping[str, Tensor] | None
    ) -> PromptedModel:
        """A model at its start.

        Args:
            base_model: the frozen T5.
            config: the tasks and prompts.
            sources: encoded prompts (m, d) by source task; None where weights are put in afterwards.
        """

    def build(
        self,
        base_model: T5ForConditionalGeneration,
        config: CrossPTConfig,
        *,
        source_prompts: Mapping[str, Tensor] | None = None,
        tokenizer: Any = None,
        initialize: bool = True,
    ) -> Any:
        """A model that is to be trained."""
        self._need_t5(base_model)
        return self.make(base_model.requires_grad_(False), config, (source_prompts or {}) if initialize else None)

    def save(self, model: PromptedModel, folder: Path) -> None:
        """Write ``method_model.safetensors``, what was learned, then ``method_config.json``, each atomically."""
        header = {
            "method": self.name,
            "config": model.config.to_dict(),
            "base_model": describe(model.base_model),
        }
        write_weights(folder, header, model.learned(), WEIGHTS_NAME, METHOD_NAME)

    def restore(self, model: PromptedModel, folder: Path) -> None:
        """Put saved weights of the same configuration into a model."""
        header, state = self._read(folder)
        if CrossPTConfig.from_dict(header["config"], str(folder / WEIGHTS_NAME)) != model.config:
            raise ValueError(f"resume: {folder} was made with other settings than this run's")
        learned = model.learned()
        check_state(folder, state, learned, WEIGHTS_NAME)
        with torch.no_grad():
            for name, parameter in learned.items():
                parameter.copy_(state[name])

    def load(self, base_model: T5ForConditionalGeneration, folder: Path) -> PromptedModel:
        """The saved model."""
        self._need_t5(base_model)
        config, origin = self.read(folder)
        if origin.get("d_model") != base_model.config.d_model:
            raise ValueError(
                f"from_pretrained: the weights in {folder} were made for d_model {origin.get('d_model')} "
                f"({origin.get('name')!r}), the T5 has {base_model.config.d_model}"
            )
        Origin(str(folder), origin, config.prefix_mode).warn_of(describe(base_model), config.prefix_mode, "the weights")
        model: PromptedModel = self.build(base_model, config, initialize=False)
        self.restore(model, folder)
        return model

    def is_saved(self, folder: Path) -> bool:
        """Whether the later one of the two files is there."""
        return (folder / METHOD_NAME).is_file()

    def read(self, folder: Path) -> tuple[CrossPTConfig, dict[str, Any]]:
        """The configuration of saved weights, and what they say of the T5."""
        header, _ = self._read(folder)
        return CrossPTConfig.from_dict(header["config"], str(folder / WEIGHTS_NAME)), header["base_model"]

    def _need_t5(self, base_model: Any) -> None:
        if base_model.config.model_type not in T5:
            raise ValueError(f"method {self.name} needs a T5, got a {type(base_model).__name__}")

    def _read(self, folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """The header and the tensors. Raises ValueError where a file is missing, foreign or corrupt."""
        path = folder / WEIGHTS_NAME
        header, state = read_weights(folder, WEIGHTS_NAME)
        if header != read_json(folder / METHOD_NAME):
            raise ValueError(f"from_pretrained: {folder / METHOD_NAME} does not belong to {WEIGHTS_NAME} beside it")
        if header.get("method") != self.name:
            raise ValueError(f"from_pretrained: {path} must be of method {self.name}, got {header.get('method')!r}")
        return header, state
