"""Adam over the groups of prompt parameters, each with its own learning rate."""

from collections.abc import Mapping

from torch import nn
from torch.optim import Adam

from crosspt.prompts.bank import PromptBank


def make_optimizer(bank: PromptBank, learning_rates: Mapping[str, float]) -> Adam:
    """Adam with one parameter group for each of ``sources``, ``privates``, ``logits`` and ``encoder`` that learns.

    Args:
        bank: the parameters.
        learning_rates: the rate of each group.

    Raises:
        ValueError: a group has no learnable parameter, or a learnable parameter is in no group.
    """
    groups: dict[str, list[nn.Parameter]] = {}
    for name, parameter in bank.named_parameters():
        if parameter.requires_grad:
            groups.setdefault(name.split(".")[0], []).append(parameter)
    if groups.keys() != learning_rates.keys():
        raise ValueError(f"make_optimizer: rates must be given for {sorted(groups)}, got {sorted(learning_rates)}")
    return Adam([{"name": name, "params": groups[name], "lr": rate} for name, rate in learning_rates.items()])
