"""The least that a device must do: bytes computed from shapes alone.

The floor of a pass reads each of its inputs once, of the token table only the gathered rows, of the parameters only
those that the batch's tasks use, and writes each result once. Token rows need no gradient: the table is frozen.
"""

from collections.abc import Callable
from typing import NamedTuple

from benchmarks.shapes import Shape

INDEX_BYTES = 8


class Traffic(NamedTuple):
    """Parameters that a way of prompting must touch, in elements."""

    read: int  # by forward
    reread: int  # by backward, to differentiate
    gradients: int  # written by backward
    length: int  # prompt rows in front of each batch row
    task_ids: bool = False  # whether they are read


def crosspt_traffic(shape: Shape) -> Traffic:
    """Sources, private prompts, logits and a shared linear encoder with bias."""
    prompt = shape.m * shape.d
    shared = shape.n * prompt + shape.d * shape.d + shape.d
    a_task = prompt + shape.n + 1
    read = shared + shape.used_tasks * a_task
    return Traffic(read, read, shared + shape.T * a_task, shape.m, task_ids=True)


def soft_prompt_traffic(shape: Shape) -> Traffic:
    """One prompt (m, d) for all rows; its gradient does not depend on it."""
    prompt = shape.m * shape.d
    return Traffic(prompt, 0, prompt, shape.m)


def multitask_traffic(shape: Shape, ranks: int = 1) -> Traffic:
    """A shared prompt times a task's matrix of the given rank."""
    prompt, a_task = shape.m * shape.d, ranks * (shape.m + shape.d)
    read = prompt + shape.used_tasks * a_task
    return Traffic(read, read, prompt + shape.T * a_task, shape.m, task_ids=True)


def prompt_encoder_traffic(shape: Shape) -> Traffic:
    """A prompt behind three linear layers of width d; backward needs every parameter but the last bias."""
    read = shape.m * shape.d + 3 * (shape.d * shape.d + shape.d)
    return Traffic(read, read - shape.d, read, shape.m)


def embedding_floors(traffic: Callable[[Shape], Traffic], shape: Shape) -> dict[str, int]:
    """Bytes of forward, and of backward from the prompt rows of the output's gradient, where anything needs one."""
    touched, tokens = traffic(shape), shape.B * shape.L
    rows, ids = shape.B * touched.length, shape.B * touched.task_ids
    itemsize, parameter = shape.torch_dtype.itemsize, shape.parameter_dtype.itemsize
    moved = itemsize * (min(tokens, shape.V) + rows + tokens) * shape.d + parameter * touched.read
    floors = {"forward": moved + INDEX_BYTES * (tokens + ids)}
    if touched.gradients:
        learned = parameter * (touched.reread + touched.gradients)
        floors["backward"] = itemsize * rows * shape.d + learned + INDEX_BYTES * ids
    return floors
