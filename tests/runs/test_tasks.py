from crosspt.runs.tasks import run_tasks
from tests.config.test_run import make_run


def test_positions() -> None:
    assert [task.name for task in run_tasks(make_run("SILP", ["qnli", "rte"])).values()] == ["mrpc", "rte", "qnli"]
    assert list(run_tasks(make_run("SILP", ["qnli", "rte"]))) == [0, 1, 2]
    assert [task.name for task in run_tasks(make_run("SLPN")).values()] == ["mrpc", "rte"]
