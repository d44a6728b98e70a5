"""Prompts under transformers' Seq2SeqTrainer, which evaluates by generation, keeps the best checkpoint and saves.

``python examples/with_trainer.py FOLDER`` writes checkpoints and the trained prompts into a folder.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    set_seed,
)

from crosspt import CrossPTConfig, CrossPTModel
from crosspt.models.embedded import EMBEDDED_T5
from crosspt.tasks.data import load_test, load_train_and_dev
from crosspt.tasks.registry import get_task

TASKS = ["syn_mrpc", "syn_rte"]


def main(folder: Path, epochs: int = 30) -> float:
    """Train and save into a folder; returns the accuracy of what was saved on test rows of both tasks, in percent."""
    set_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED_T5)
    t5 = AutoModelForSeq2SeqLM.from_pretrained(EMBEDDED_T5, dtype=torch.float32)
    model = CrossPTModel(t5, CrossPTConfig(tasks=TASKS, scheme="SLPN"))

    rows: dict[str, list[dict[str, Any]]] = {"train": [], "dev": [], "test": []}
    for task_id, task in enumerate(map(get_task, TASKS)):
        splits = dict(zip(("train", "dev"), load_train_and_dev(task, shots=32, dev_rows=32), strict=True))
        for split, examples in {**splits, "test": load_test(task, rows=50)}.items():
            for row in examples:
                inputs = tokenizer(task.format_input(row, prefix=False))
                labels = tokenizer(task.target_text(row, task.label_words())).input_ids
                rows[split].append({"input_ids": inputs.input_ids, "labels": labels, "task_ids": task_id})

    def compute_metrics(outcome: Any) -> dict[str, float]:
        # -100 fills up rows of different lengths
        texts = [
            tokenizer.batch_decode(np.where(ids < 0, tokenizer.pad_token_id, ids), skip_special_tokens=True)
            for ids in (outcome.predictions, outcome.label_ids)
        ]
        return {"accuracy": 100 * float(np.mean([answer == label for answer, label in zip(*texts, strict=True)]))}

    arguments = Seq2SeqTrainingArguments(
        output_dir=str(folder / "checkpoints"),
        num_train_epochs=epochs,
        per_device_train_batch_size=16,
        per_device_eval_batch_size=50,
        learning_rate=0.1,
        eval_strategy="steps",
        eval_steps=40,
        save_strategy="steps",
        save_steps=40,
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="accuracy",
        predict_with_generate=True,
        generation_max_length=8,
        report_to="none",
        use_cpu=True,
    )
    trainer = Seq2SeqTrainer(
        model,
        arguments,
        train_dataset=Dataset.from_list(rows["train"]),
        eval_dataset=Dataset.from_list(rows["dev"]),
        data_collator=DataCollatorForSeq2Seq(tokenizer, model=model),
        processing_class=tokenizer,
        compute_metrics=compute_metrics,
    )
    trainer.train()
    trainer.save_model(str(folder / "prompts"))  # the prompts alone

    trainer.model = CrossPTModel.from_pretrained(t5, folder / "prompts")
    return trainer.evaluate(Dataset.from_list(rows["test"]))["eval_accuracy"]  # rows that nothing was chosen on


if __name__ == "__main__":
    print(f"{main(Path(sys.argv[1])):.1f} % right")
