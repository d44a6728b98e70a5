"""Host time of a call beside that of PyTorch's own attention: ``python -m benchmarks.host_time [--json]``.

What a call takes of the host before a GPU can start, as processor time of the thread, in rounds of turns. Kernels are
compiled for a GPU that is absent, and nothing runs; tensors lie on the CPU, and their values are not looked at, as on a
GPU. PyTorch's attention would compute on the CPU: it is called on tensors of a few elements, with a matrix of biases,
bare and as transformers' T5 calls it, so that what is left is its dispatch. What a GPU's driver and allocator take, and
what PyTorch does on a GPU to choose a kernel and to align a mask, is in none of the times.
"""

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import T5Config
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.models.t5.modeling_t5 import T5Attention

from crosspt.functional import attention, prompted_embedding, validation
from crosspt.models.t5 import masks
from crosspt.models.t5.attention import attention_forward

CALLS = 20
"""Calls between two looks at the clock."""
BASELINES = ("sdpa", "sdpa of a T5")
Call = tuple[Callable[[], Tensor], list[Tensor]]


def _heads(batch: int, length: int, heads: int = 8, width: int = 64) -> Tensor:
    return torch.zeros(batch, length, heads, width).transpose(1, 2).requires_grad_()


def _calls() -> dict[str, Call]:
    """Calls by name, each with what learns."""
    few, one, several = _heads(1, 1, 1, 4), _heads(1, 1, 1, 4), _heads(1, 16, 1, 4)
    step, kept, rows, prefix = _heads(1, 1), _heads(1, 16), _heads(1, 8), _heads(2, 4)
    biases, matrix = torch.zeros(8, 19), torch.zeros(1, 1, 1, 1)
    mask, ids = torch.ones(1, 16, dtype=torch.bool), torch.zeros(1, dtype=torch.int64)
    tokens, table = torch.zeros(1, 8, dtype=torch.int64), torch.zeros(32, 64)
    sizes = (2, 4), (3, 4, 64), (2, 4, 64), (64, 64), (64,)
    mixture = [torch.zeros(size, requires_grad=True) for size in sizes]
    encoding = biases[:, :15].contiguous(), mask[:, :8]
    ours = partial(attention, backend="triton")
    prefixed = partial(ours, prefix_key=prefix, prefix_value=prefix, task_ids=ids)
    embed = partial(prompted_embedding, tokens, ids, table, *mixture, backend="triton")
    layer: Any = T5Attention(T5Config(d_model=64, num_heads=8), layer_idx=1)
    seen = masks.padding_mask(1, 8, 8, attention_mask=encoding[1])
    bare = partial(scaled_dot_product_attention, few, few, few, matrix, scale=1.0)
    theirs = partial(sdpa_attention_forward, layer, few, few, few, mask[:, None, None, :1], position_bias=matrix)
    in_t5 = partial(attention_forward, layer, rows, rows, rows, seen, position_bias=encoding[0], backend="triton")
    return {
        BASELINES[0]: (bare, [few]),
        BASELINES[1]: (lambda: theirs(scaling=1.0)[0], [few]),
        "attention of a T5, encoding": (lambda: in_t5()[0], [rows]),
        "attention, encoding": (partial(ours, rows, rows, rows, *encoding), [rows]),
        "attention, encoding, prefix": (partial(prefixed, rows, rows, rows, biases, mask[:, :8]), [rows, prefix]),
        "attention, decoding": (partial(ours, step, kept, kept, biases[:, :16].contiguous()), [step, kept]),
        "attention, decoding, PyTorch": (
            partial(attention, one, several, several, biases[:1, :16].contiguous(), backend="torch"),
            [one, several],
        ),
        "attention, decoding across": (partial(ours, step, kept, kept, None, mask), [step, kept]),
        "attention, decoding across, PyTorch": (
            partial(attention, one, several, several, None, mask, backend="torch"),
            [one, several],
        ),
        "prompted embedding": (embed, mixture),
    }


def _train(call: Callable[[], Tensor], learned: list[Tensor], gradient: Tensor) -> None:
    torch.autograd.grad(call(), learned, gradient)


def _unseen(tensor: Tensor) -> bool:
    """No values are looked at; a mock would take longer than what is measured."""
    return False


def measure(rounds: int) -> list[dict[str, Any]]:
    """One row a call and pass: microseconds, and the medians of the ratios to the baselines' of the same round.

    Raises:
        RuntimeError: under TRITON_INTERPRET=1, where nothing is compiled.
    """
    from crosspt.functional import launchers
    from crosspt.kernels.tools.absent_gpu import absent_gpu, parse_target

    if launchers.interpreted:
        raise RuntimeError("host_time: kernels must be compiled ones, got interpreted ones; unset TRITON_INTERPRET")
    on_cpu = mock.patch.object(launchers, "interpreted", True)  # kernels may be launched on CPU tensors
    as_on_gpu = mock.patch.object(validation, "values_are_visible", _unseen)
    masks_as_on_gpu = mock.patch.object(masks, "values_are_visible", _unseen)
    works: dict[tuple[str, str], Callable[[], object]] = {}
    found: dict[tuple[str, str], list[float]] = {}
    with on_cpu, as_on_gpu, masks_as_on_gpu, absent_gpu(parse_target("cuda:90")):
        for name, (call, learned) in _calls().items():
            works[name, "inference"] = call
            works[name, "training"] = partial(_train, call, learned, torch.ones_like(call()))
        for number in range(rounds + 1):
            for key, work in works.items():
                with torch.inference_mode(key[1] == "inference"):
                    start = time.thread_time_ns()
                    for _ in range(CALLS):
                        work()
                    taken = time.thread_time_ns() - start
                if number:  # before the first, kernels are compiled
                    found.setdefault(key, []).append(taken / CALLS / 1e3)
    rows = []
    for (name, what), times in found.items():
        ratios = [
            median(mine / theirs for mine, theirs in zip(times, found[baseline, what], strict=True))
            for baseline in BASELINES
        ]
        rows.append({"call": name, "pass": what, "least": min(times), "median": median(times), "ratios": ratios})
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.host_time", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = measure(options.rounds)
    if options.json:
        print(json.dumps({"schema": 2, "calls": CALLS, "rounds": options.rounds, "rows": rows}, indent=2))
        return
    print(f"{'microseconds of a call':46} least median  ratio to {', to '.join(BASELINES)}")
    for row in rows:
        ratios = " ".join(f"{ratio:6.2f}" for ratio in row["ratios"])
        print(f"{row['call'] + ', ' + row['pass']:46} {row['least']:5.1f} {row['median']:6.1f} {ratios}")


if __name__ == "__main__":
    main()
