from importlib.metadata import version

import pytest
import yaml

from crosspt.cli.main import COMMANDS
from tests.workspace import crosspt, mistake


def test_no_command() -> None:
    assert "{demo,train,evaluate,predict,serve,experiment," in mistake(crosspt())


def test_an_unknown_command() -> None:
    assert "deploy" in mistake(crosspt("deploy"))


def test_help_names_the_commands() -> None:
    outcome = crosspt("--help")
    assert outcome.status == 0
    for command in COMMANDS:
        assert f"    {command} " in outcome.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_plain(command: str) -> None:
    outcome = crosspt(command, "--help")
    assert outcome.status == 0
    assert outcome.stderr == ""
    assert outcome.stdout.startswith(f"usage: crosspt {command} ")
    for markup in ("`", ":class:", "type:", "Union", "Optional", "Literal", "<class", "null)", "()", "_length"):
        assert markup not in outcome.stdout
    assert max(map(len, outcome.stdout.splitlines())) <= 100


def test_print_config_is_a_file_for_config() -> None:
    outcome = crosspt("train", "--tasks", "mrpc", "--epochs", 3, "--temperature", "0.5", "--print_config")
    assert outcome.status == 0
    settings = yaml.safe_load(outcome.stdout)
    assert (settings["tasks"], settings["epochs"], settings["scheme"]) == ("mrpc", 3, "SLPN")


def test_version() -> None:
    outcome = crosspt("--version")
    assert (outcome.status, outcome.stdout) == (0, f"crosspt {version('crosspt')}\n")


def test_print_config_leaves_out_what_is_asked() -> None:
    outcome = crosspt("train", "--tasks", "mrpc", "--print_config=skip_default")
    assert yaml.safe_load(outcome.stdout) == {"tasks": "mrpc"}
    unset = yaml.safe_load(crosspt("train", "--print-config=skip_unset").stdout)
    assert "tasks" not in unset
    assert unset["batch_size"] == 16
    assert "must be skip_default or skip_unset, got x" in mistake(crosspt("train", "--print_config=x"))
