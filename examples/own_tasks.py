"""Tasks of one's own, from files: a whole run from Python, and its answers.

``python examples/own_tasks.py FOLDER t5-base`` trains the tickets beside this file together with a task that lies in
the package, over any model that ``crosspt train --model`` takes. Without a model it is the small T5 of the package,
which knows no English: its answers mean nothing.
"""

import sys
from pathlib import Path

import torch

from crosspt.models.loading import load_model
from crosspt.models.model import CrossPTModel
from crosspt.runs.settings import make_run
from crosspt.runs.train import train
from crosspt.tasks.collation import PromptCollator, encode_inputs
from crosspt.tasks.task_file import load_task_file

TICKETS = Path(__file__).with_name("tickets") / "tickets.yaml"
NEW = [
    {"subject": "no heat", "body": "it is 9 degrees in the ward"},
    {"subject": "font", "body": "the font of the menu could be larger"},
]


def main(folder: Path, model: str = "embedded", epochs: int | None = None) -> list[str]:
    """Train into a folder and return the answers to two new tickets."""
    tickets = load_task_file(TICKETS)
    values = {"tasks": [tickets.name, "plain_mood"], "shots": 16, "scheme": "SLPN", "epochs": epochs}
    run = make_run(values, model=model, task_files={tickets.name: str(TICKETS)}, source_prompts=[])
    results = train(run, folder, resume=True)
    for row in results["results"]:
        print(row["scheme"], row["task"], row["decode"], row["metric"], row["value"])

    base_model, tokenizer = load_model(model)
    prompts = CrossPTModel.from_pretrained(base_model, folder)
    ids = encode_inputs(tickets, NEW, tokenizer, prefix=False, max_length=256, causal=prompts.family.causal)
    task_id = prompts.config.tasks.index(tickets.name)
    batch = PromptCollator(tokenizer)([{"input_ids": row, "task_ids": task_id} for row in ids])
    with torch.no_grad():
        answers = prompts.generate(**batch, max_new_tokens=8)
    if prompts.family.causal:  # which repeat the text
        answers = answers[:, batch["input_ids"].shape[1] :]
    return tokenizer.batch_decode(answers, skip_special_tokens=True)


if __name__ == "__main__":
    answered = main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "embedded")
    for ticket, answer in zip(NEW, answered, strict=True):
        print(f"{answer}: {ticket['subject']}")
