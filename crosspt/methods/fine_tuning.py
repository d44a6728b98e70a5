"""Fine-tuning: all weights of a T5 of one's own learn, for all tasks together or, per target, for each."""

from transformers import T5ForConditionalGeneration

from crosspt.config.prompts import CrossPTConfig
from crosspt.methods.adapted import AdaptedT5, AdaptingMethod
from crosspt.methods.method import baseline
from crosspt.models.copying import own_copy


class FineTuning(AdaptingMethod):
    """Every parameter learns: as many as the T5 has."""

    name = "fine-tuning"
    source = "AkariAsai/ATTEMPT, configs/baselines/finetuning.json; without its 500 steps of warm-up, batches of 16"
    defaults = baseline(learning_rate=3e-4)
    uses = frozenset({"learning_rate"})

    def adapt(self, base_model: T5ForConditionalGeneration, config: CrossPTConfig) -> AdaptedT5:
        """The T5 over a copy of all its weights."""
        return AdaptedT5(own_copy(base_model, lambda name: True), config)
