"""Methods that learn tasks: ways to train something over a T5, of which CrossPT is one.

The rest of the program knows a method only as a :class:`crosspt.methods.method.Method`, by its name. To add one, write
its file and its line in ``METHODS``; ``CONTRIBUTING.md`` shows how.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from crosspt.config.files import did_you_mean, read_json
from crosspt.config.layout import METHOD_NAME
from crosspt.config.run import CROSSPT
from crosspt.config.values import check_types

if TYPE_CHECKING:
    from crosspt.methods.method import Method

METHODS = {
    "crosspt": "crosspt.methods.crosspt:CrossPT",
    "fine-tuning": "crosspt.methods.fine_tuning:FineTuning",
    "bitfit": "crosspt.methods.bitfit:BitFit",
    "adapter": "crosspt.methods.adapter:Adapter",
    "hyperformer": "crosspt.methods.hyperformer:Hyperformer",
    "hyperdecoder": "crosspt.methods.hyperdecoder:Hyperdecoder",
    "lora": "crosspt.methods.peft:LoRA",
    "ia3": "crosspt.methods.peft:IA3",
    "prompt-tuning": "crosspt.methods.peft:PromptTuning",
    "p-tuning": "crosspt.methods.peft:PTuning",
    "spot": "crosspt.methods.spot:Spot",
    "attempt": "crosspt.methods.attempt:Attempt",
    "mpt": "crosspt.methods.mpt:Mpt",
    "mpt-source": "crosspt.methods.mpt:MptSource",
    "mpt-scratch": "crosspt.methods.mpt:MptScratch",
    "dept": "crosspt.methods.dept:Dept",
}
"""Module and class of each method; it is imported when the method is first asked for."""


def find_method(name: str, file: Path | None = None) -> "Method":
    """A method by its name. Raises ValueError, which names the file that the name is from, where there is none."""
    if name not in METHODS:
        raise ValueError(f"{f'{file}: ' if file else ''}unknown method {name!r}{did_you_mean(name, METHODS)}")
    module, _, kind = METHODS[name].partition(":")
    method: Method = getattr(import_module(module), kind)()
    return method


def saved_method(folder: Path) -> "Method":
    """The method whose weights a folder holds, which says so in ``method_config.json``; else it is CrossPT."""
    path = folder / METHOD_NAME
    if not path.is_file():
        return find_method(CROSSPT)
    content = read_json(path)
    check_types(path, content, {"method": str})
    return find_method(content["method"], path)
