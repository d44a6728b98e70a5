"""Where prompts come from: the model and the prefix mode they were trained with."""

import warnings
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Origin:
    """The model and mode that prompts belong to.

    Args:
        folder: where they were saved.
        base_model: ``name``, ``model_type``, ``d_model`` and ``vocab_size`` of the language model.
        prefix_mode: ``"full"`` or ``"isolated"``.
    """

    folder: str
    base_model: dict[str, Any]
    prefix_mode: str

    def warn_of(self, base_model: dict[str, Any], prefix_mode: str, what: str) -> None:
        """Warn where prompts from here are put on another model, or used in the other mode.

        Folders that hold the same model under one name are taken as one: ``models/t5-base`` and ``t5-base``.
        """
        there, here = _identity(self.base_model), _identity(base_model)
        if there != here:
            warnings.warn(
                f"{what} in {self.folder} were trained on {_words(there)}, not on {_words(here)}", stacklevel=4
            )
        if self.prefix_mode != prefix_mode:
            warnings.warn(
                f"{what} in {self.folder} were trained with prefix_mode {self.prefix_mode!r}, not {prefix_mode!r}",
                stacklevel=4,
            )


class SourcePrompts(dict[str, Tensor]):
    """Encoded prompts (m, d) by task, and where each comes from."""

    def __init__(self) -> None:
        super().__init__()
        self.origins: dict[str, Origin] = {}


def _identity(base_model: dict[str, Any]) -> tuple[Any, ...]:
    name = base_model.get("name")
    return PurePath(name).name if name else None, base_model.get("model_type"), base_model.get("vocab_size")


def _words(identity: tuple[Any, ...]) -> str:
    name, kind, vocabulary = identity
    return f"{name or 'a model without a name'} ({kind}, {vocabulary} tokens)"
