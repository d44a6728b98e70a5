"""The card of the embedded model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: text2text-generation
---

# t5-crosspt-mini

A T5 of {parameters:,} parameters that reads the controlled English of `crosspt/tasks/embedded` and nothing else. It
is there to try soft prompts on, on any machine and without a network.

- Architecture: T5ForConditionalGeneration, d_model {d_model}, d_kv {d_kv}, {num_heads} heads, d_ff {d_ff}, {num_layers}
  encoder and {num_decoder_layers} decoder layers, relu, tied embeddings, no dropout. Weights are stored in float16 and
  load as float32.
- Tokenizer: {vocabulary} pieces: the words of the suite, single characters for other words, {sentinels} sentinels.
- Made in {minutes:.0f} minutes on {threads} thread(s) of a shared CPU by
  `python -m crosspt.models.embedded.make.pretrain --steps {steps} --batch-size {size} --learning-rate {rate}
  --seed {seed}`.
- Training text: fresh rows of the suite's split "pretrain", none of which can occur in its other splits; in the first
  part also texts of a few slots. Questions are about any slots. Steps by kind of instruction: {kinds}.
- Head start: related words (synonyms, words of one slot, polarity or number, forms of a word) begin with similar
  embeddings, and the encoder's heads begin comparing words or looking to one side.

Text: `find a paraphrase agent quality patient sentence1: ... sentence2: ...`; the answer is the label word. What the
tasks ask is in `docs/suite.md`.

Greedy decoding, exact match, {count} test rows a task, in percent. "bare" is the same text without the prefix.

| task | text prefix | bare | majority |
|---|---|---|---|
{scores}
"""


def write_card(folder: Path, scores: dict[str, tuple[float, ...]], facts: dict[str, Any]) -> None:
    """Write the card: `scores` holds prefix, bare and majority percentages, `facts` all else in the template."""
    lines = [
        f"| {task} | {prefix:.1f} | {bare:.1f} | {majority:.1f} |" for task, (prefix, bare, majority) in scores.items()
    ]
    (folder / "README.md").write_text(CARD.format(scores="\n".join(lines), **facts))
