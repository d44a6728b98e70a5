import subprocess
import sys

import pytest

from crosspt.cli.main import COMMANDS

HEAVY = ("torch", "transformers", "datasets", "matplotlib", "sklearn", "scipy", "pandas", "fastapi", "uvicorn")
REPORT = f"import sys; print(sorted({{*{HEAVY}}} & sys.modules.keys()))"

# What is loaded of families, ours and transformers', none of which is used yet.
FAMILY = r"crosspt\.models\.(causal|t5|encoder_decoder).*|transformers\.models\.(?!auto\.)\w+\.modeling_\w+"
FAMILIES = f"import re, sys; print(sorted(name for name in sys.modules if re.fullmatch(r'{FAMILY}', name)))"


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["trian"],
        *([command, "--help"] for command in COMMANDS),
        ["train", "--output", "run", "--eppochs", "3"],
        ["train", "--output", "run", "--epochs", "three"],
        ["experiment", "figure-33"],
    ],
)
def test_what_is_answered_before_anything_heavy_is_imported(arguments: list[str]) -> None:
    code = f"from crosspt.cli.main import main\ntry: main({arguments!r})\nexcept SystemExit: pass\n{REPORT}"
    assert run(code).splitlines()[-1] == "[]"


def test_importing_the_package_is_light_and_names_what_it_holds() -> None:
    assert run(f"import crosspt; assert 'CrossPTModel' in dir(crosspt); {REPORT}") == "[]\n"
    code = f"from crosspt import CrossPTModel; print(CrossPTModel.__module__)\n{FAMILIES}"
    assert run(code) == "crosspt.models.model\n[]\n"
    assert "no attribute 'CrossPT'" in run(
        "try:\n import crosspt; crosspt.CrossPT\nexcept AttributeError as e: print(e)"
    )


IMPORTS = ["import crosspt", "from transformers import AutoModelForSeq2SeqLM, T5Config, T5ForConditionalGeneration"]


@pytest.mark.parametrize(
    "imports", [IMPORTS, IMPORTS[::-1], [IMPORTS[0], "import transformers.models.mt5.modeling_mt5"]]
)
def test_the_attention_is_registered_in_either_order(imports: list[str]) -> None:
    code = (
        "config = T5Config(d_model=8, d_kv=4, d_ff=8, num_heads=2, num_layers=1, vocab_size=9)\n"
        "t5 = AutoModelForSeq2SeqLM.from_config(config, attn_implementation='crosspt')\n"
        "print(t5.config._attn_implementation)"
    )
    assert run("\n".join([*dict.fromkeys([*imports, IMPORTS[1]]), code])) == "crosspt\n"
