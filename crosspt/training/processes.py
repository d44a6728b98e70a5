"""The processes that torchrun or accelerate launch starts together: how they meet, and what one says to all."""

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, parse_flag_from_env
from torch import nn
from torch.nn.parallel import DistributedDataParallel

ENGINES = ("DEEPSPEED", "FSDP", "MEGATRON_LM", "PARALLELISM_CONFIG")
"""What accelerate launch may ask for that shards a model: prompts are saved and resumed whole."""
PATIENCE = timedelta(hours=2)  # of a process that waits for another, which may load a model or encode rows meanwhile


def join_processes(device: str) -> int:
    """Meet the processes that were started with this one: over gloo on CPUs, over NCCL on GPUs, one each.

    Args:
        device: ``"cpu"`` or ``"cuda"``.

    Returns:
        Their number, this one among them: 1 where it was started alone.

    Raises:
        ValueError: there are more of them on this machine than GPUs, or they were started to shard a model.
    """
    for engine in ENGINES:
        if parse_flag_from_env(f"ACCELERATE_USE_{engine}"):
            raise ValueError(
                f"accelerate launch asks for {engine}, by its flags or its configuration file; prompts take "
                "--multi_gpu, or torchrun"
            )
    here = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    if device == "cuda" and here > torch.cuda.device_count():
        raise ValueError(
            f"{here} processes on a machine need as many GPUs, got {torch.cuda.device_count()}; start fewer, or give "
            "--device cpu"
        )
    return PartialState(cpu=device == "cpu", timeout=PATIENCE).num_processes


def check_launcher(bf16: bool) -> None:
    """Raise ValueError where accelerate launch asks for another arithmetic than a run's settings, which are kept.

    Args:
        bf16: whether these ask for bfloat16.
    """
    precision, compiler = (
        os.environ.get(f"ACCELERATE_{name}", "no").lower() for name in ("MIXED_PRECISION", "DYNAMO_BACKEND")
    )
    said = "accelerate launch asks for {}, by its flags or its configuration file; {}"
    if precision != "no" and not (bf16 and precision == "bf16"):
        remedy = "give --bf16, or" if precision == "bf16" else "give"
        raise ValueError(said.format(f"mixed precision {precision}", f"{remedy} --mixed_precision no to the launcher"))
    if compiler != "no":
        raise ValueError(said.format(f"the compiler {compiler}", "give --dynamo_backend no to the launcher"))


def from_first(decide: Callable[[], Any]) -> Any:
    """What the first process decides, for all: what is read from a folder may differ between machines for a while.

    Args:
        decide: called in the first process alone; what it returns is sent as a pickle.
    """
    if PartialState().num_processes == 1:
        return decide()
    return broadcast_object_list([decide() if PartialState().is_main_process else None])[0]


def share_only_learned(model: nn.Module) -> None:
    """Have DistributedDataParallel leave alone what does not learn: every process has loaded it by itself."""
    learned = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    frozen = [
        name
        for tensors in (model.named_parameters(remove_duplicate=False), model.named_buffers(remove_duplicate=False))
        for name, _ in tensors
        if name not in learned
    ]
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(model, frozen)
