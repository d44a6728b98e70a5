"""A T5 without prompts, fine-tuned as a whole on the crosspt attention.

``import crosspt`` registers the attention with transformers; on a GPU half types run on Triton kernels in which the
relative position bias, which learns too, is a vector over distances. ``python examples/fine_tuned_t5.py`` takes some
seconds on a CPU, where the attention is PyTorch's.
"""

import torch
from datasets import Dataset
from torch.utils.data import DataLoader
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

import crosspt  # noqa: F401 (registers the attention)
from crosspt.models.embedded import EMBEDDED_T5
from crosspt.tasks.collation import PromptCollator, encode_rows
from crosspt.tasks.data import load_train
from crosspt.tasks.registry import get_task


def main(attention: str = "crosspt", epochs: int = 4) -> tuple[list[float], torch.Tensor]:
    """Fine-tune; returns the loss of each step, and how far the table of the position bias has moved."""
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED_T5)
    t5 = AutoModelForSeq2SeqLM.from_pretrained(EMBEDDED_T5, dtype=torch.float32, attn_implementation=attention)
    t5.to(device).train()
    bias = t5.encoder.block[0].layer[0].SelfAttention.relative_attention_bias.weight
    before = bias.detach().clone()

    task = get_task("syn_qnli")
    shots = load_train(task, shots=128)
    rows = encode_rows(task, shots, tokenizer, task_id=0, words=task.label_words(), prefix=False, max_length=256)
    data, collate = Dataset.from_list(rows), PromptCollator(tokenizer)
    optimizer = torch.optim.AdamW(t5.parameters(), lr=1e-3)
    losses = []
    for _ in range(epochs):
        for batch in DataLoader(data, batch_size=16, shuffle=True, collate_fn=collate):
            del batch["task_ids"]
            with torch.autocast(device, dtype=torch.bfloat16, enabled=device == "cuda"):
                loss = t5(**{name: tensor.to(device) for name, tensor in batch.items()}).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return losses, (bias.detach() - before).abs().max()


if __name__ == "__main__":
    curve, moved = main()
    print(f"loss {curve[0]:.3f} in the first step, {curve[-1]:.3f} in the last; the bias moved by {moved:.4f}")
