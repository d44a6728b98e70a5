"""Cross-task prompt tuning (arXiv 2509.14253) of a frozen language model.

What is named here is imported when it is first used. Once the package is imported, ``attn_implementation="crosspt"``
is registered with transformers as soon as its T5 is; see ``crosspt.models.t5.attention``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from wrapt import register_post_import_hook

if TYPE_CHECKING:
    from crosspt.config.prompts import CrossPTConfig
    from crosspt.models.model import CrossPTModel
    from crosspt.prompts.embedding import CrossPTEmbedding
    from crosspt.runs.predictor import load

__all__ = ["CrossPTConfig", "CrossPTEmbedding", "CrossPTModel", "load"]

_MODULES = {
    "CrossPTConfig": "crosspt.config.prompts",
    "CrossPTEmbedding": "crosspt.prompts.embedding",
    "CrossPTModel": "crosspt.models.model",
    "load": "crosspt.runs.predictor",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _register_attention(_: object) -> None:
    import_module("crosspt.models.t5.attention")


for _family in ("t5", "mt5", "umt5"):
    register_post_import_hook(_register_attention, f"transformers.models.{_family}.modeling_{_family}")
