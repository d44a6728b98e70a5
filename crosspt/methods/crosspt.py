"""CrossPT: prompts mixed from source prompts and private ones, by a scheme."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from crosspt.config.prompts import CrossPTConfig
from crosspt.config.run import CROSSPT, RunConfig
from crosspt.config.training import GROUPS, RATES, TrainingConfig
from crosspt.methods.method import OPTIONAL, Method
from crosspt.models.family import Family, describe
from crosspt.models.model import CrossPTModel
from crosspt.prompts.bank import PromptBank
from crosspt.storage import CONFIG_NAME, Origin, check_state, load_prompts


class CrossPT(Method):
    """The paper's method with its schemes, plain prompt tuning (P) among them."""

    name = CROSSPT
    source = "CrossPT (arXiv 2509.14253), section 3.2"
    uses = frozenset({*OPTIONAL, "source_prompts"} - {"learning_rate"})

    def check(self, run: RunConfig) -> None:
        """Raise ValueError where something is given that the scheme has no use for, as for any method."""
        if not self.needs_source_prompts(run.prompts):
            for setting, value in (
                ("source prompts", run.source_prompts),
                ("source tasks", run.prompts.source_tasks),
            ):
                if value:
                    raise ValueError(f"scheme {run.prompts.scheme} starts from no {setting}, got {', '.join(value)}")
        super().check(run)
        run.training.learning_rates(run.prompts)

    def needs_source_prompts(self, config: CrossPTConfig) -> bool:
        """Whether the scheme starts from stage-1 prompts."""
        return config.parsed_scheme.needs_source_prompts

    def build(
        self,
        base_model: Any,
        config: CrossPTConfig,
        *,
        source_prompts: Mapping[str, Tensor] | None = None,
        tokenizer: Any = None,
        initialize: bool = True,
    ) -> CrossPTModel:
        """The language model behind the prompts."""
        return CrossPTModel(
            base_model, config, source_prompts=source_prompts, tokenizer=tokenizer, initialize=initialize
        )

    def suited_to(self, family: Family, config: CrossPTConfig) -> Mapping[str, Any]:
        """The family's own defaults, and every rate of the scheme where it has some."""
        if not family.defaults:
            return {}
        rates = TrainingConfig().learning_rates(config, family.defaults)
        others = {name: value for name, value in family.defaults.items() if name not in RATES}
        return {**others, **{GROUPS[group]: rate for group, rate in rates.items()}}

    def epochs(self, config: CrossPTConfig, training: TrainingConfig) -> int:
        """The paper's, by whether the scheme starts from stage-1 prompts."""
        return training.resolved_epochs(config.parsed_scheme)

    def groups(self, model: CrossPTModel, training: TrainingConfig) -> list[dict[str, Any]]:
        """One group for each of ``sources``, ``privates``, ``logits`` and ``encoder`` that learns.

        Raises:
            ValueError: a rate is given for a group that the scheme does not have.
        """
        rates = training.learning_rates(model.config, model.family.defaults)
        return parameter_groups(model.embedding.bank, rates)

    def prompts(self, model: CrossPTModel) -> Mapping[str, Tensor]:
        """The composed prompts."""
        return dict(zip(model.config.tasks, model.embedding.compose(), strict=True))

    def save(self, model: CrossPTModel, folder: Path) -> None:
        """Write the prompts."""
        model.save_pretrained(folder)

    def restore(self, model: CrossPTModel, folder: Path) -> None:
        """Put saved prompts of the same configuration into the bank."""
        bank = model.embedding.bank
        saved = load_prompts(folder)
        if saved.config != model.config:
            raise ValueError(f"resume: {folder} was made with other prompt settings than this run's")
        check_state(folder, saved.state, bank.state_dict())
        bank.load_state_dict(saved.state)

    def take_shared(self, model: CrossPTModel, folder: Path) -> None:
        """Put the sources and the encoder of saved prompts into a bank; warns where they are of another model."""
        saved, bank = load_prompts(folder), model.embedding.bank
        origin = Origin(str(folder), saved.base_model, saved.config.prefix_mode)
        origin.warn_of(describe(model.base_model), model.config.prefix_mode, "the prompts")
        bank.take_shared(self.load_bank(folder))

    def load(self, base_model: Any, folder: Path) -> CrossPTModel:
        """The language model behind saved prompts."""
        return CrossPTModel.from_pretrained(base_model, folder)

    def is_saved(self, folder: Path) -> bool:
        """Whether the prompts are there."""
        return (folder / CONFIG_NAME).is_file()  # the later one of the two files

    def read(self, folder: Path) -> tuple[CrossPTConfig, dict[str, Any]]:
        """The configuration of saved prompts, and what they say of the model."""
        saved = load_prompts(folder)
        return saved.config, saved.base_model

    def load_bank(self, folder: Path) -> PromptBank:
        """The saved prompts without a model."""
        saved = load_prompts(folder)
        bank = PromptBank(saved.config, saved.prompts[0])
        check_state(folder, saved.state, bank.state_dict())
        bank.load_state_dict(saved.state)
        return bank


def parameter_groups(bank: PromptBank, learning_rates: Mapping[str, float]) -> list[dict[str, Any]]:
    """The parameters that learn, grouped by the attribute of the bank that they are in, in the order of the rates.

    Raises:
        ValueError: a group has no learnable parameter, or a learnable parameter is in no group.
    """
    groups: dict[str, list[nn.Parameter]] = {}
    for name, parameter in bank.named_parameters():
        if parameter.requires_grad:
            groups.setdefault(name.split(".")[0], []).append(parameter)
    if groups.keys() != learning_rates.keys():
        raise ValueError(f"parameter_groups: rates must be given for {sorted(groups)}, got {sorted(learning_rates)}")
    return [{"name": name, "params": groups[name], "lr": rate} for name, rate in learning_rates.items()]
