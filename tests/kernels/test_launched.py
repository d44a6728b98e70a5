"""Nothing uncompiled is ever launched: whole steps through the real compiler, for GPUs that are not there."""

import json
from collections import Counter

import pandas as pd
import pytest

from tests.kernels.compiled import COMBINED, STEPS, run
from tests.kernels.launched import LAUNCHED, WHOLE

MOST_COMPILATIONS = 165
"""Of all kernels together, for every step of ``tests.kernels.launched``; each takes a second or two, once."""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_combination_of_arguments_has_types_that_meet() -> None:
    found = run("tests.kernels.combined")
    assert found["combinations"] > 2500
    assert found == json.loads(COMBINED.read_text()), "python -m tests.kernels.compiled checks all of them"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("target", WHOLE)
def test_whatever_a_step_launches_compiles(target: str) -> None:
    found = run(STEPS, target)
    steps, keys = found["steps"], found["keys"]
    print(target, Counter(keys.values()))
    assert len(keys) <= MOST_COMPILATIONS
    table = pd.read_csv(LAUNCHED, dtype=str)
    assert keys.keys() == {*table.key[table.target == target]}, "python -m tests.kernels.compiled writes the table anew"
    assert all(steps.values())
    assert steps["embed SLPN float32"]["prompted_embedding_kernel"] >= 1
    assert steps["embed long prompts float32"]["prompted_embedding_kernel"] >= 1
    assert steps["embed long prompts bfloat16"]["compose_encode_kernel"] >= 1
    for mode, layers in (("full", 4), ("isolated", 6)):  # encoder and decoder, and the encoder again for the prefixes
        assert steps[f"train {mode} T5 bfloat16"]["attention_bias_kernel"] == layers
        assert "attention_bias_kernel" not in steps[f"train {mode} checkpointing bfloat16"]
