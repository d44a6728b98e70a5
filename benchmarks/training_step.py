"""A training step of CrossPTModel beside the same T5 with a bare trainable prompt concatenated.

``python -m benchmarks.training_step [--json]``: random weights at T5-small size, SLPN over 8 tasks. The two take turns,
and the median of the ratios within each round is quoted: on a machine that others use, single times mean little.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from rich.progress import track
from torch import Tensor, nn
from transformers import T5Config, T5ForConditionalGeneration

from crosspt import CrossPTConfig, CrossPTModel

TASKS = [f"task{number}" for number in range(8)]
PROMPT_LENGTH = 10


def make_t5() -> T5ForConditionalGeneration:
    """A T5 of T5-small's size with random weights."""
    torch.manual_seed(0)
    config = T5Config(vocab_size=32128, d_model=512, d_kv=64, d_ff=2048, num_layers=6, num_heads=8)
    config.decoder_start_token_id = 0
    return T5ForConditionalGeneration(config).requires_grad_(False).train()


def make_batch(rows: int, tokens: int) -> dict[str, Tensor]:
    """A batch of mixed tasks without padding."""
    generator = torch.Generator().manual_seed(0)
    return {
        "input_ids": torch.randint(2, 32000, (rows, tokens), generator=generator),
        "attention_mask": torch.ones(rows, tokens, dtype=torch.int64),
        "task_ids": torch.arange(rows) % len(TASKS),
        "labels": torch.randint(2, 32000, (rows, 4), generator=generator),
    }


def crosspt_step(t5: T5ForConditionalGeneration, batch: dict[str, Tensor]) -> Callable[[], None]:
    """Forward, backward and optimizer step of the SLPN scheme."""
    model = CrossPTModel(t5, CrossPTConfig(tasks=TASKS, prompt_length=PROMPT_LENGTH)).train()
    return _step(model.embedding.bank, lambda: model(**batch).loss)


def bare_prompt_step(t5: T5ForConditionalGeneration, batch: dict[str, Tensor]) -> Callable[[], None]:
    """The same with one prompt (m, d) for all rows: no sources, no mixing, no encoder."""
    holder = nn.ParameterList([nn.Parameter(torch.rand(PROMPT_LENGTH, t5.config.d_model) - 0.5)])
    rows = len(batch["input_ids"])
    mask = torch.cat([torch.ones(rows, PROMPT_LENGTH, dtype=torch.int64), batch["attention_mask"]], dim=1)
    table = t5.get_input_embeddings()

    def loss() -> Tensor:
        embeds = torch.cat([holder[0].expand(rows, -1, -1), table(batch["input_ids"])], dim=1)
        return t5(inputs_embeds=embeds, attention_mask=mask, labels=batch["labels"]).loss

    return _step(holder, loss)


def _step(learned: nn.Module, loss: Callable[[], Tensor]) -> Callable[[], None]:
    optimizer = torch.optim.Adam(learned.parameters(), lr=0.1)

    def step() -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    return step


def seconds(call: Callable[[], None]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    """Print both medians and the median ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--rows", type=int, default=16, help="B, rows in the batch")
    parser.add_argument("--tokens", type=int, default=64, help="L, input tokens of a row")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    t5, batch = make_t5(), make_batch(options.rows, options.tokens)
    ours, bare = crosspt_step(t5, batch), bare_prompt_step(t5, batch)
    ours(), bare()
    times = [(seconds(ours), seconds(bare)) for _ in track(range(options.rounds), "rounds", transient=True)]
    result = {
        "schema": 1,
        "rounds": options.rounds,
        "crosspt_seconds": statistics.median(mine for mine, _ in times),
        "bare_prompt_seconds": statistics.median(theirs for _, theirs in times),
        "ratio": statistics.median(mine / theirs for mine, theirs in times),
    }
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        print(
            f"training step, medians of {options.rounds} rounds: CrossPT {result['crosspt_seconds']:.3f} s, "
            f"bare prompt {result['bare_prompt_seconds']:.3f} s, ratio {result['ratio']:.3f}"
        )


if __name__ == "__main__":
    main()
