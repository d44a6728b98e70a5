"""Nothing draws a bar where there is no terminal."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys
from crosspt.cli.main import main
main(sys.argv[1:])
from tqdm.auto import tqdm
list(tqdm(range(3)))
from transformers.modeling_gguf_pytorch_utils import tqdm
list(tqdm(range(3)))
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "--dry-run", "--tasks", "syn_cola", "--output", "nowhere"],
        ["evaluate", "--no-prompt", "--tasks", "syn_cola", "--test-rows", "4", "--device", "cpu", "--output"],
    ],
    ids=["train", "evaluate"],
)
def test_bars_of_other_packages_are_not_drawn_either(arguments: list[str], tmp_path: object) -> None:
    given = [*arguments, *[str(tmp_path)] * (arguments[-1] == "--output")]
    done = subprocess.run([sys.executable, "-c", PROGRAM, *given], capture_output=True, text=True, check=True)
    assert "it/s" not in done.stderr
    assert "\r" not in done.stderr
    assert "syn_cola" in done.stdout
