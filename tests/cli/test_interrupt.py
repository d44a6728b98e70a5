import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.workspace import Workspace

COMMAND = [sys.executable, "-m", "crosspt.cli.main"]
RESUME = "interrupted; the same command with --resume goes on"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["train", "--output", "run"], f"crosspt train: {RESUME}"),
        (["experiment", "figure-3"], "crosspt experiment: interrupted; the same command goes on"),
        (["doctor"], "crosspt doctor: interrupted"),
    ],
)
def test_during_the_imports(arguments: list[str], line: str, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)\n")
    search = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": search}
    done = subprocess.run(
        [sys.executable, "-c", HEAR, *COMMAND, *arguments],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", f"{line}\n")


# A process in the background may have been told to ignore the signal, and hands that on.
HEAR = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"


def test_during_training(workspace: Workspace, tmp_path: Path) -> None:
    arguments = ["train", *workspace.settings(), "--tasks", "mrpc", "--epochs", 10**6, "--output", tmp_path / "run"]
    command = [sys.executable, "-c", HEAR, *COMMAND, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not (tmp_path / "run" / "checkpoints").exists() and process.poll() is None:
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (130, "")
    assert "Traceback" not in stderr
    assert stderr.splitlines()[-1] == f"crosspt train: {RESUME}"
