"""Before transformers 5.20, ``set_attn_implementation`` of a T5 does not reach the configurations of its two stacks."""

import functools
from typing import Any

from transformers.models.mt5.modeling_mt5 import MT5PreTrainedModel
from transformers.models.t5.modeling_t5 import T5PreTrainedModel
from transformers.models.umt5.modeling_umt5 import UMT5PreTrainedModel


def reach_stacks(implementations: set[str]) -> None:
    """Make the method reach the stacks when one of these implementations is set or was; nothing else changes."""
    families: tuple[Any, ...] = (T5PreTrainedModel, MT5PreTrainedModel, UMT5PreTrainedModel)
    for family in families:
        family.set_attn_implementation = _reaching(family, implementations)


def _reaching(family: Any, implementations: set[str]) -> Any:
    theirs = family.set_attn_implementation

    @functools.wraps(theirs)
    def set_attn_implementation(self: Any, *args: Any, **kwargs: Any) -> None:
        theirs(self, *args, **kwargs)
        asked = self.config._attn_implementation
        for part in self.modules():
            if isinstance(part, family) and implementations & {asked, part.config._attn_implementation}:
                theirs(part, asked)

    return set_attn_implementation
