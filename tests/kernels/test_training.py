"""A small frozen T5 trained for 20 steps ends at the same prompts whichever backend composes them."""

from typing import Any

import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration

from crosspt.functional import prompted_embedding
from tests.kernels.cases import Case, Sizes, assert_same, make_inputs, prompted, results

STEPS = 20


def trained_prompts(backend: Any, device: str) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    config: Any = T5Config(
        vocab_size=32,
        d_model=16,
        d_kv=4,
        d_ff=32,
        num_layers=1,
        num_decoder_layers=1,
        num_heads=2,
        dropout_rate=0.0,
        pad_token_id=0,
    )
    config.decoder_start_token_id = 0
    model: Any = T5ForConditionalGeneration(config)
    model.double().to(device).requires_grad_(False).eval()
    T, n, m, d = 3, 2, 4, 16
    learned: dict[str, Any] = {
        "logits": torch.zeros(T, n + 1),
        "sources": torch.randn(n, m, d),
        "privates": torch.randn(T, m, d),
        "weight": torch.eye(d),
        "bias": torch.zeros(d),
    }
    learned = {name: tensor.double().to(device).requires_grad_() for name, tensor in learned.items()}
    optimizer = torch.optim.AdamW(learned.values(), lr=0.05)
    batches = torch.Generator().manual_seed(1)
    table = model.get_input_embeddings().weight
    first = last = 0.0
    for step in range(STEPS):
        task_ids = torch.randint(T, (4,), generator=batches)
        input_ids = torch.randint(32, (4, 5), generator=batches)
        labels = task_ids[:, None] + torch.tensor([[3, 7]])
        embedded = prompted_embedding(
            input_ids.to(device), task_ids.to(device), table, **learned, temperature=0.5, backend=backend
        )
        loss = model(inputs_embeds=embedded, labels=labels.to(device)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        first, last = (loss.item() if step == 0 else first), loss.item()
    assert last < first
    return {name: tensor.detach() for name, tensor in learned.items()}


def test_same_prompts_after_training(device: str) -> None:
    wanted = trained_prompts("torch", device)
    got = trained_prompts("triton", device)
    # T5 takes its softmax in float32 whatever the model's dtype, so float64 agrees to that only.
    assert_same(got, wanted, 1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA or ROCm device")
def test_repeated_calls_are_equal_bit_for_bit() -> None:
    x = make_inputs(Case(mask=True), Sizes(B=16, L=64, T=8, n=8, m=10, d=768), torch.bfloat16, "cuda")
    wanted = results(prompted, x, "triton")
    for _ in range(200):
        assert_same(results(prompted, x, "triton"), wanted)
