"""The mutant runner on a small repository of the same layout."""

import json
import textwrap

import pytest

from tests.kernels.faults import FAULTS
from tests.kernels.mutants import ROOT, main, misfits
from tests.kernels.planting import Fault, planted

FILE = "kernels/triton/adding.py"
TESTS = ("tests/test_adding.py",)
NOTICED = Fault(FILE, "add", "left + right", "left - right", TESTS)
UNNOTICED = Fault(FILE, "same", "1 * left", "2 * left", TESTS)
BROKEN = Fault(FILE, "Names.names", "return []", "names = missing", TESTS)
DEADLY = Fault(FILE, "add", "left + right", "__import__('os').abort()", TESTS)


@pytest.fixture
def repository(tmp_path):
    files = {
        "pyproject.toml": "",
        "crosspt/__init__.py": "",
        "kernels/triton/__init__.py": "",
        FILE: """
            def add(left, right):
                return left + right

            def same(left):
                return 1 * left

            def twice(left, right):
                return left + right + (left + right)

            class Names:
                def names():
                    return []

                all = names()
            """,
        "tests/__init__.py": "",
        TESTS[0]: """
            import pytest
            from crosspt.kernels.adding import add

            @pytest.mark.parametrize("word", ["a b"])
            def test_add(word):
                assert add(2, 3) == 5
            """,
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    (tmp_path / "crosspt/kernels").symlink_to("../kernels/triton")
    return tmp_path


def snapshot(repository):
    return {path: path.read_text() for path in sorted(repository.rglob("*")) if path.is_file()}


def test_faults_are_caught_or_survive_and_the_tree_stays_as_it_was(repository, capsys):
    before = snapshot(repository)
    assert main([], faults=[NOTICED, UNNOTICED, BROKEN, DEADLY], root=repository) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines.pop() == "caught 1 / planted 4"
    noticed, unnoticed, broken, deadly = sorted(lines, key=lambda line: line.split()[1])
    assert noticed.startswith(f"caught     1 {FILE}:3 in add  left + right -> left - right")
    assert "tests/test_adding.py::test_add[a b])" in noticed
    assert unnoticed.startswith(f"SURVIVED   2 {FILE}:6 in same")
    assert "its tests pass" in unnoticed
    assert broken.startswith("SURVIVED   3")
    assert "pytest ended with status 2" in broken
    assert deadly.startswith("SURVIVED   4")
    assert "killed by signal 6" in deadly
    assert snapshot(repository) == before


def test_only_the_chosen_faults_are_planted(repository, capsys):
    assert main(["--only", "1", "--json"], faults=[NOTICED, UNNOTICED], root=repository) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["schema"], document["caught"], document["planted"]) == (1, 1, 1)
    assert document["faults"][0]["number"] == 1


def test_tests_that_fail_without_a_fault_stop_the_run(repository, capsys):
    (repository / TESTS[0]).write_text("def test_wrong():\n    assert False\n")
    assert main([], faults=[NOTICED], root=repository) == 2
    assert "expected the tests to pass without a fault, got" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (
            NOTICED._replace(before="left + right", file=TESTS[0], function="test_add"),
            f"expected 'left + right' once in test_add of {TESTS[0]}, got it 0 times",
        ),
        (UNNOTICED._replace(before="2 * left"), f"expected '2 * left' once in same of {FILE}, got it 0 times"),
        (NOTICED._replace(function="twice"), f"expected 'left + right' once in twice of {FILE}, got it 2 times"),
        (NOTICED._replace(function="subtract"), f"once in subtract of {FILE}, got it 0 times"),
        (NOTICED._replace(file="kernels/none.py"), "once in add of kernels/none.py, got it 0 times"),
        (NOTICED._replace(after="( left+right )"), "expected a change in add of"),
    ],
)
def test_a_fault_that_does_not_fit_stops_the_run(repository, fault, message, capsys):
    assert main([], faults=[fault], root=repository) == 2
    assert message in capsys.readouterr().err


def test_a_fault_is_found_by_its_tree_and_planted_there_alone():
    source = """
def add(left, right):
    return left + right

def outer():
    def add(left, right):
        return 2 * (left
            + right)  # of two
    return add
"""
    fault = Fault(FILE, "outer.add", "left+right", "left - right", TESTS)
    expected = ["return left + right", "return 2 * (left - right)", "return add"]
    assert [line.strip() for line in planted(fault, source).splitlines() if "return" in line] == expected


def test_an_unknown_number_is_refused(repository, capsys):
    assert main(["--only", "2"], faults=[NOTICED], root=repository) == 2
    assert capsys.readouterr().err == "fault 2: there are 1\n"


def test_the_faults_of_the_kernels_fit_their_files():
    assert misfits(ROOT, FAULTS) == []
    assert len(FAULTS) >= 25
