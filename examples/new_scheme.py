"""A scheme that no name says: tasks of a family share a source prompt, those of another family do not see it.

``crosspt.functional`` composes prompts of any parameters; a mask says which candidates a task may mix. What is trained
here is one source for each of two families and a private prompt for each of four tasks. Another number of sources
needs no code: ``SLP3`` is a scheme. ``python examples/new_scheme.py`` takes some twenty seconds on a CPU.
"""

import torch
from datasets import Dataset
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from crosspt.functional import mixing_weights, prompted_embedding
from crosspt.models.embedded import EMBEDDED_T5
from crosspt.tasks.collation import PromptCollator, encode_rows
from crosspt.tasks.data import load_train
from crosspt.tasks.registry import get_task

FAMILIES = {"similarity": ["syn_mrpc", "syn_qqp"], "entailment": ["syn_qnli", "syn_rte"]}
TASKS = [task for tasks in FAMILIES.values() for task in tasks]


class FamilyPrompts(nn.Module):
    """Prompts in front of token embeddings; a task mixes its family's source and its private prompt.

    Args:
        table: of the tokens, which stays as it is.
        prompt_length: m.
    """

    mask: Tensor

    def __init__(self, table: nn.Embedding, prompt_length: int = 10):
        super().__init__()
        n, T, m, d = len(FAMILIES), len(TASKS), prompt_length, table.embedding_dim
        self.table = table
        self.sources = nn.Parameter(torch.rand(n, m, d) - 0.5)
        self.privates = nn.Parameter(torch.rand(T, m, d) - 0.5)
        self.logits = nn.Parameter(torch.zeros(T, n + 1))  # the last candidate is the private prompt
        self.encoder = nn.Linear(d, d)
        sees = [[task in tasks for tasks in FAMILIES.values()] + [True] for task in TASKS]
        self.register_buffer("mask", torch.tensor(sees))

    def forward(self, input_ids: Tensor, task_ids: Tensor) -> Tensor:
        """Embed tokens (B, L) of tasks (B,) behind their prompts: (B, m + L, d)."""
        mixture = (self.logits, self.sources, self.privates, self.encoder.weight, self.encoder.bias)
        return prompted_embedding(input_ids, task_ids, self.table.weight, *mixture, mask=self.mask)

    def weights(self) -> Tensor:
        """What each task mixes: (T, N), zero where the mask hides a candidate."""
        return mixing_weights(self.logits, mask=self.mask)


def main(epochs: int = 20) -> tuple[list[float], Tensor]:
    """Train; returns the mean loss of each epoch, and what each task mixes in the end."""
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED_T5)
    t5 = AutoModelForSeq2SeqLM.from_pretrained(EMBEDDED_T5, dtype=torch.float32).requires_grad_(False)
    prompts = FamilyPrompts(t5.get_input_embeddings())
    rows = []
    for task_id, task in enumerate(map(get_task, TASKS)):
        words = task.label_words()
        shots = load_train(task, shots=32)
        rows += encode_rows(task, shots, tokenizer, task_id=task_id, words=words, prefix=False, max_length=256)
    batches = DataLoader(Dataset.from_list(rows), batch_size=32, shuffle=True, collate_fn=PromptCollator(tokenizer))
    optimizer = torch.optim.Adam([p for p in prompts.parameters() if p.requires_grad], lr=0.1)
    losses = []
    for _ in range(epochs):
        total = 0.0
        for batch in batches:
            embeds = prompts(batch["input_ids"], batch["task_ids"])
            seen = torch.ones(embeds.shape[0], embeds.shape[1] - batch["input_ids"].shape[1], dtype=torch.int64)
            mask = torch.cat([seen, batch["attention_mask"]], dim=1)
            loss = t5(inputs_embeds=embeds, attention_mask=mask, labels=batch["labels"]).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        losses.append(total / len(batches))
    return losses, prompts.weights().detach()


if __name__ == "__main__":
    curve, mixed = main()
    print(f"loss {curve[0]:.3f} in the first epoch, {curve[-1]:.3f} in the last")
    print("task", *FAMILIES, "private", sep="\t")
    for name, row in zip(TASKS, mixed.tolist(), strict=True):
        print(name, *(f"{weight:.2f}" for weight in row), sep="\t")
