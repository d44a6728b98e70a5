"""What saved prompts say about sharing between tasks, and what they cost."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from crosspt import reference
from crosspt.config.prompts import CrossPTConfig
from crosspt.evaluation.similarity import candidate_similarity, task_similarity, weighted_source_similarity
from crosspt.methods.method import Method
from crosspt.prompts.bank import PerPromptEncoder, PromptBank


def analyse(method: Method, checkpoint: Path, tasks: Sequence[str]) -> list[dict[str, Any]]:
    """Analyse each bank of a checkpoint that serves one of the tasks; plain JSON values.

    Args:
        method: of the checkpoint; one that mixes no prompts has no banks.
        checkpoint: a run's folder, or one that ``save_pretrained`` wrote.
        tasks: names of target tasks.

    Returns:
        For each bank its ``folder`` below the checkpoint and what :func:`analyse_bank` says.
    """
    analyses = []
    for folder in dict.fromkeys(method.folder_of(checkpoint, task) for task in tasks):
        bank = method.load_bank(folder)
        if bank is not None:
            analyses.append({"folder": folder.relative_to(checkpoint).as_posix(), **analyse_bank(bank)})
    return analyses


def analyse_bank(bank: PromptBank) -> dict[str, Any]:
    """Attention weights, similarities and costs of a bank; plain JSON values, None where one is undefined.

    The similarities compare encoded prompts, in float64.

    Returns:
        ``tasks``: names of the T tasks.
        ``candidates``: names of the N prompts that a task mixes: ``source 1``, ..., or the source task that an
        initialised source started from; last ``private``, which is each task's own.
        ``weights``: T x N, equation 1's alpha.
        ``similarity``: T x N, equation 2.
        ``task_similarity``: T x T, equation 4.
        ``wssp``: equation 3 in percent, the mean over the tasks; None without sources.
        ``trainable_parameters``: number of elements that learn.
        ``inference_cost``: see :func:`inference_cost`.
    """
    config = bank.config
    mixture: dict[str, Any] = {
        name: value.detach().double() if isinstance(value, Tensor) else value
        for name, value in bank.mixture()._asdict().items()
    }
    softmax = {name: mixture[name] for name in ("logits", "temperature", "mask")}
    encoded = ("sources", "privates", "weight", "bias", "encode_sources", "encode_privates")
    candidates = reference.candidates(len(config.tasks), **{name: mixture[name] for name in encoded})
    weights = reference.mixing_weights(**softmax)
    prompts = (weights[:, :, None, None] * candidates).sum(dim=1)
    similarity = candidate_similarity(prompts, candidates)
    wssp = None
    if config.num_sources:
        wssp = _defined(weighted_source_similarity(weights, similarity, config.num_sources).mean())
    return {
        "tasks": list(config.tasks),
        "candidates": candidate_names(config),
        "weights": _defined(weights),
        "similarity": _defined(similarity),
        "task_similarity": _defined(task_similarity(prompts)),
        "wssp": wssp,
        "trainable_parameters": sum(p.numel() for p in bank.parameters() if p.requires_grad),
        "inference_cost": inference_cost(bank),
    }


def candidate_names(config: CrossPTConfig) -> list[str]:
    """Names of the N prompts that a task mixes, sources first."""
    scheme = config.parsed_scheme
    if scheme.initializes_sources:
        sources = list(config.resolved_source_tasks)
    else:
        sources = [f"source {number + 1}" for number in range(config.num_sources)]
    return [*sources, *(["private"] if scheme.uses_privates else [])]


def inference_cost(bank: PromptBank) -> dict[str, int]:
    """What the prompt of one target task costs (section 6.4): it mixes all sources and the task's private prompt.

    The multiply-adds are those of composing the prompt, which is kept until a parameter changes; only the prompt's
    tokens are paid for with every input.

    Returns:
        ``mixing_multiply_adds``: N m d.
        ``encoder_multiply_adds``: m d d for a shared linear encoder, which is applied once, to the mixture. Any other
        encoder is applied to each candidate that does not bypass it, a multiply-add for every element of its matrices
        and every token.
        ``prompt_tokens``: m, by which each input grows.
    """
    config, encoder = bank.config, bank.encoder
    group: Any = bank.privates if bank.sources is None else bank.sources
    _, m, d = group.shape
    passes = config.num_sources * config.encodes_sources + config.encodes_privates
    if isinstance(encoder, nn.Linear):
        passes = 1
    one = encoder[0] if isinstance(encoder, PerPromptEncoder) else encoder
    matrices = [] if one is None else [p.numel() for p in one.parameters() if p.ndim == 2]
    return {
        "mixing_multiply_adds": config.num_candidates * m * d,
        "encoder_multiply_adds": passes * m * sum(matrices),
        "prompt_tokens": m,
    }


def _defined(values: Tensor) -> Any:
    """The numbers of a tensor as nested lists, None in place of NaN."""
    if values.ndim:
        return [_defined(value) for value in values]
    number = values.item()
    return number if math.isfinite(number) else None
