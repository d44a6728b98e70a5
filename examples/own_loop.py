"""Prompts in a training loop of one's own: two tasks, 32 rows each, a frozen T5.

``python examples/own_loop.py`` takes some ten seconds on a CPU. The T5 and the tasks lie in the package.
"""

from typing import Any

import torch
from datasets import Dataset
from torch.utils.data import DataLoader
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from crosspt import CrossPTConfig, CrossPTModel
from crosspt.models.embedded import EMBEDDED_T5
from crosspt.tasks.collation import PromptCollator, encode_rows
from crosspt.tasks.data import load_test, load_train
from crosspt.tasks.registry import get_task

TASKS = ["syn_mrpc", "syn_rte"]
RATES = {"sources": 0.15, "privates": 0.07, "logits": 0.1, "encoder": 0.15}  # the paper's


def main(epochs: int = 30) -> dict[str, float]:
    """Train, and return the accuracy of each task on 100 test rows."""
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED_T5)
    t5 = AutoModelForSeq2SeqLM.from_pretrained(EMBEDDED_T5, dtype=torch.float32)
    model = CrossPTModel(t5, CrossPTConfig(tasks=TASKS, scheme="SLPN"))
    model.print_trainable_parameters()

    rows = []
    for task_id, name in enumerate(TASKS):
        task = get_task(name)
        words = task.label_words()
        shots = load_train(task, shots=32)
        rows += encode_rows(task, shots, tokenizer, task_id=task_id, words=words, prefix=False, max_length=256)
    data, collate = Dataset.from_list(rows), PromptCollator(tokenizer)
    batches = DataLoader(data, batch_size=16, shuffle=True, collate_fn=collate)  # tasks are mixed

    bank = model.embedding.bank
    named = dict(bank.named_parameters())  # sources, privates, logits, encoder.weight, encoder.bias
    groups = {group: [named[name] for name in named if name.startswith(group)] for group in RATES}
    optimizer = torch.optim.Adam([{"params": groups[group], "lr": rate} for group, rate in RATES.items()])
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=epochs * len(batches))
    model.train()
    for epoch in range(epochs):
        total = 0.0
        for batch in batches:  # input_ids, attention_mask, labels, task_ids
            loss = model(**batch).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        if epoch % 10 == 9:
            print(f"epoch {epoch + 1}: loss {total / len(batches):.3f}")
    return {name: accuracy(model, tokenizer, name) for name in TASKS}


def accuracy(model: CrossPTModel, tokenizer: Any, name: str) -> float:
    """The share of test rows whose generated answer is the label, in percent."""
    task, task_id = get_task(name), model.config.tasks.index(name)
    words = task.label_words()
    test = load_test(task, rows=100)
    rows = encode_rows(task, test, tokenizer, task_id=task_id, words=words, prefix=False, max_length=256)
    truth = [task.target_text(row, words) for row in test]
    answers: list[str] = []
    with model.eval().keep_prompts():  # no weight changes: prompts are composed once
        for batch in DataLoader(Dataset.from_list(rows), batch_size=50, collate_fn=PromptCollator(tokenizer)):
            del batch["labels"]
            answers += tokenizer.batch_decode(model.generate(**batch, max_new_tokens=8), skip_special_tokens=True)
    return 100 * sum(answer == label for answer, label in zip(answers, truth, strict=True)) / len(truth)


if __name__ == "__main__":
    for task_name, percent in main().items():
        print(f"{task_name}: {percent:.1f} % right")
