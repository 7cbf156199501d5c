"""A real Airflow starts in a folder, runs what an asset triggers, asks a person, and is gone with its starter."""

import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import pytest

from etl.core.embedded import EmbeddedPostgres
from etl.core.errors import Stop
from sandbox.airflow_api import AirflowClient, Question, TaskRun
from sandbox.airflow_stack import AirflowStack

CHECKOUT = Path(__file__).parents[2]
DAGS = Path(__file__).parent / "dags"
DAY = datetime(2026, 2, 1, tzinfo=UTC)

# On a machine that runs other tests beside, Airflow takes many times its usual seconds.
PATIENCE_SECONDS = 120.0
Found = TypeVar("Found")


@pytest.fixture(scope="module")
def stack(postgres: EmbeddedPostgres) -> Iterator[AirflowStack]:
    with tempfile.TemporaryDirectory(prefix="tallyback-airflow-") as folder:
        made = AirflowStack(Path(folder), postgres.create_database(f"airflow_{os.getpid()}"), DAGS, parallelism=2)
        made.start()
        yield made
        made.stop()
    postgres.drop_database(f"airflow_{os.getpid()}")


def runs(pid: int) -> bool:
    """Whether a process runs; one that ended and whose parent has not asked about it yet does not."""
    shown = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return shown.strip()[:1] not in ("", "Z")


def until(look: Callable[[], Found | None]) -> Found:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (found := look()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return found


def test_an_asset_triggers_the_second_dag_which_waits_for_a_person_and_learns_who_it_was(stack: AirflowStack) -> None:
    robin, alex = stack.client("robin"), stack.client("alex")
    until(lambda: True if robin.dag_ids() == ["toy__make", "toy__pay"] else None)
    assert robin.import_errors() == []
    seen: list[list[TaskRun]] = []
    made = robin.trigger("toy__make", logical_date=DAY, conf={"seed": 1}, note="by a test")
    made = robin.wait(made, timeout_seconds=PATIENCE_SECONDS, on_change=lambda _run, tasks: seen.append(tasks))
    assert (made.state, made.logical_date, made.note) == ("success", DAY, "by a test")
    assert len(seen) > 1
    assert robin.returned(made, "publish") == 12
    doubled = next(task for task in robin.tasks(made) if (task.task_id, task.map_index) == ("double", 1))
    assert "doubling 2" in robin.log(made, doubled)

    question: Question = until(lambda: next(iter(alex.questions("toy__pay")), None))
    assert (question.subject, question.options, question.answered_by) == ("Pay the batch?", ("Approve", "Reject"), None)
    alex.answer(question, "Approve")
    with pytest.raises(Stop, match="409"):
        robin.answer(question, "Reject")
    (paid,) = robin.runs("toy__pay", run_type="asset_triggered", queued_from=made.queued_at)
    paid = robin.wait(paid, timeout_seconds=PATIENCE_SECONDS)
    assert paid.state == "success"
    assert robin.returned(paid, "book") == "Approve by alex"
    assert [one.answered_by for one in robin.questions(pending=False)] == ["alex"]
    assert alex.questions() == []


def test_a_run_that_was_made_for_a_day_is_found_again_and_run_again(stack: AirflowStack) -> None:
    robin = stack.client("robin")
    until(lambda: True if "toy__make" in robin.dag_ids() else None)
    day = DAY.replace(day=2)
    assert robin.run_of("toy__make", day) is None
    made = robin.wait(robin.trigger("toy__make", logical_date=day), timeout_seconds=PATIENCE_SECONDS)
    with pytest.raises(Stop, match="409"):
        robin.trigger("toy__make", logical_date=day)
    assert robin.run_of("toy__make", day) == made
    again = robin.wait(robin.run_again(made), timeout_seconds=PATIENCE_SECONDS)
    assert (again.run_id, again.state) == (made.run_id, "success")
    assert {task.try_number for task in robin.tasks(again)} == {2}


def test_a_pool_is_made_once_and_then_changed(stack: AirflowStack) -> None:
    robin = stack.client("robin")
    robin.set_pool("awin", 3)
    robin.set_pool("awin", 4)
    with pytest.raises(Stop, match="403"):
        stack.client("alex").set_pool("awin", 5)


def test_secrets_of_the_stack_are_readable_by_their_owner_alone_and_not_in_a_repr(stack: AirflowStack) -> None:
    files = [stack.home / "airflow.cfg", stack.password_file]
    assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600, 0o600]
    assert stack.passwords()["alex"] not in repr(stack.client("alex"))
    with pytest.raises(Stop, match="does not let alex in"):
        AirflowClient(stack.url, "alex", "wrong").dag_ids()


def test_a_start_ends_what_an_earlier_stack_left_and_a_killed_starter_takes_its_stack_along(
    stack: AirflowStack,
) -> None:
    scheduler = next(component for component in stack.components() if component.name == "scheduler")
    left = stack.processes()
    os.kill(scheduler.pid, signal.SIGKILL)
    until(lambda: None if scheduler.alive else True)
    assert not stack.healthy
    code = (
        "import sys; from pathlib import Path; from sandbox.airflow_stack import AirflowStack\n"
        "stack = AirflowStack(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), parallelism=2)\n"
        "stack.start(); print('healthy', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(stack.home), stack.metadata_url, str(stack.dags_folder)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=CHECKOUT, stdin=pipe, stdout=pipe, text=True) as starter:
        assert starter.stdout is not None
        assert starter.stdout.readline() == "healthy\n"
        assert not [pid for pid in left if runs(pid)]
        components = stack.components()
        assert stack.healthy and len(components) == 3
        starter.kill()
    until(lambda: None if stack.processes() else True)
    assert not any(component.alive for component in components)
    assert not stack.healthy
