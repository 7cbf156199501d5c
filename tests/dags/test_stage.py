"""How Airflow's world becomes a stage's: days, windows, credentials, outcomes, people."""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
import tallyback_approval
import tallyback_stage
from airflow.sdk.exceptions import AirflowFailException

import etl.pipeline
from etl.core.connector import Window
from etl.core.context import StageResult
from etl.core.engine import Engine
from etl.core.errors import Retry, Stop
from etl.core.spark import SparkEngine
from etl.core.warehouse import Warehouse
from etl.pipeline import Task

ROOT = Path(__file__).resolve().parents[2]
EVENING = datetime(2026, 9, 10, 22, 30, tzinfo=UTC)
KNOWN_AT = datetime(2026, 11, 23, 8, 0)  # instants below the drivers are naive UTC
ZONE = "Europe/Berlin"


@dataclass(slots=True)
class Run:
    """A run as Airflow shows it to a task."""

    conf: dict[str, Any] = field(default_factory=dict)
    triggering_user_name: str | None = None
    data_interval_end: datetime | None = EVENING
    dag_id: str = "tallyback__verify"
    run_id: str = "manual__1"


@dataclass(slots=True)
class Instance:
    """A task instance: what others left for it, and what it leaves."""

    told: dict[tuple[str, str], Any] = field(default_factory=dict)
    left: dict[str, Any] = field(default_factory=dict)
    task_id: str = "verify"
    dag_id: str = "tallyback__verify"
    run_id: str = "manual__1"

    def xcom_push(self, key: str, value: Any) -> None:
        self.left[key] = value

    def xcom_pull(self, *, task_ids: str, key: str = "return_value") -> Any:
        return self.told.get((task_ids, key))


Stage = Callable[..., StageResult]
Airflow = Callable[..., Instance]


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch, warehouse_url: str, tmp_path: Path) -> Airflow:
    """Airflow around a task, on a real warehouse; `stage` stands in for the stage `verify`."""
    settings = {
        "WAREHOUSE_URL": warehouse_url,
        "CONFIGURATION": str(ROOT / "config"),
        "TEMPORARY": str(tmp_path),
        "LAKE": str(tmp_path / "lake"),
    }
    for name, value in settings.items():
        monkeypatch.setenv(f"TALLYBACK_{name}", value)

    def around(
        stage: Stage | None = None, run: Run | None = None, told: dict[tuple[str, str], Any] | None = None
    ) -> Instance:
        instance = Instance(told or {})
        context = {"dag_run": run or Run(), "ti": instance}
        for module in (tallyback_stage, tallyback_approval):
            monkeypatch.setattr(module, "get_current_context", lambda: context)
        if stage is not None:
            monkeypatch.setitem(etl.pipeline._STAGES, "verify", stage)
            monkeypatch.setitem(etl.pipeline._STAGES, "fetch", stage)
        return instance

    return around


def test_the_day_is_the_end_of_the_runs_interval_in_the_books_zone() -> None:
    assert tallyback_stage.day_of({}, EVENING, KNOWN_AT, ZONE) == date(2026, 9, 11)


def test_a_run_without_an_interval_is_for_today_and_none_is_for_a_day_to_come() -> None:
    midnight_in_berlin = datetime(2026, 11, 22, 23, 30)  # naive UTC
    assert tallyback_stage.day_of({}, None, midnight_in_berlin, ZONE) == date(2026, 11, 23)
    assert tallyback_stage.day_of({}, EVENING + timedelta(days=900), KNOWN_AT, ZONE) == date(2026, 11, 23)


def test_a_day_that_was_asked_for_is_taken_and_nonsense_stops() -> None:
    assert tallyback_stage.day_of({"day": "2026-02-01"}, EVENING, KNOWN_AT, ZONE) == date(2026, 2, 1)
    with pytest.raises(Stop, match="day is 'yesterday'"):
        tallyback_stage.day_of({"day": "yesterday"}, EVENING, KNOWN_AT, ZONE)


def test_a_window_has_two_ends_and_some_days_between() -> None:
    assert tallyback_stage.window_of({}) is None
    whole = {"from_on": "2026-09-01", "until_on": "2026-09-08"}
    assert tallyback_stage.window_of(whole) == Window(date(2026, 9, 1), date(2026, 9, 8))
    with pytest.raises(Stop, match="two ends"):
        tallyback_stage.window_of({"from_on": "2026-09-01"})
    with pytest.raises(Stop, match="is empty"):
        tallyback_stage.window_of({"from_on": "2026-09-01", "until_on": "2026-09-01"})


def test_a_task_runs_its_stage_on_the_engine_that_the_configuration_chooses(
    airflow: Airflow, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[Any] = []

    def stage(_: Any, context: Any, task: Task, *__: Any) -> StageResult:
        seen.append(context.engine)
        return StageResult("verify", task.key, (), "")

    airflow(stage)
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "entity.yaml").symlink_to(ROOT / "config" / "entity.yaml")
    monkeypatch.setenv("TALLYBACK_CONFIGURATION", str(tmp_path / "config"))
    tallyback_stage.run_here("verify", None)
    (tmp_path / "config" / "engine.yaml").write_text("engine: spark\nmaster: spark://cluster:7077\npartitions: 8\n")
    tallyback_stage.run_here("verify", None)
    assert isinstance(seen[0], Engine)
    assert isinstance(seen[1], SparkEngine)
    assert (seen[1].settings.master, seen[1].settings.partitions) == ("spark://cluster:7077", 8)


def test_a_stage_is_told_key_day_run_and_clock_and_its_counts_and_note_go_on(airflow: Airflow) -> None:
    seen: list[Any] = []

    def stage(installation: Any, context: Any, task: Task, credentials: Any) -> StageResult:
        seen.append((task, context.run_id, context.actor))
        return StageResult("verify", task.key, (("checks", 3),), "every check holds")

    airflow(stage)
    assert tallyback_stage.run_here("verify", None) == {"counts": {"checks": 3}, "note": "every check holds"}
    task = Task("verify", "main", date(2026, 9, 11))
    assert seen == [(task, "tallyback__verify/manual__1/verify", "airflow")]


def test_only_a_fetch_gets_the_window_that_was_asked_for(airflow: Airflow) -> None:
    seen: list[Window | None] = []

    def stage(installation: Any, context: Any, task: Task, credentials: Any) -> StageResult:
        seen.append(task.window)
        return StageResult(task.stage, task.key, (("answers", 1),), "")

    airflow(stage, Run({"from_on": "2026-09-01", "until_on": "2026-09-08", "day": None}))
    tallyback_stage.run_here("fetch", "awin_main")
    tallyback_stage.run_here("verify", None)
    assert seen == [Window(date(2026, 9, 1), date(2026, 9, 8)), None]


def test_retry_is_tried_again_when_the_other_side_said_and_its_reason_is_left(airflow: Airflow) -> None:
    def stage(*_: Any) -> StageResult:
        raise Retry("HTTP 503 from the partner", after_seconds=42)

    instance = airflow(stage)
    with pytest.raises(tallyback_stage.StageRetry, match="HTTP 503") as caught:
        tallyback_stage.run_here("verify", None)
    assert not isinstance(caught.value, AirflowFailException)
    assert instance.left == {"problem": "HTTP 503 from the partner"}
    decision = tallyback_stage.AfterSeconds().evaluate(caught.value, 1, 3)
    assert (decision.action.value, decision.retry_delay) == ("retry", timedelta(seconds=42))
    plain = tallyback_stage.AfterSeconds().evaluate(tallyback_stage.StageRetry("no"), 1, 3)
    assert plain.action.value == "default"


def test_nobody_waits_longer_than_an_hour_for_the_other_side() -> None:
    later = tallyback_stage.StageRetry("later", 999_999)
    # As Airflow's own runner of tasks calls it.
    decision = tallyback_stage.AfterSeconds().evaluate(exception=later, try_number=1, max_tries=3, context={})
    assert decision.retry_delay == timedelta(hours=1)


def test_stop_is_not_tried_again_and_its_reason_is_left(airflow: Airflow) -> None:
    def stage(*_: Any) -> StageResult:
        raise Stop("the host key changed: " + "x" * 1000)

    instance = airflow(stage)
    with pytest.raises(AirflowFailException, match="the host key changed"):
        tallyback_stage.run_here("verify", None)
    assert len(instance.left["problem"]) == tallyback_stage.PROBLEM_LENGTH


def test_missing_settings_are_named_and_stop(airflow: Airflow, monkeypatch: pytest.MonkeyPatch) -> None:
    airflow()
    monkeypatch.delenv("TALLYBACK_WAREHOUSE_URL")
    with pytest.raises(AirflowFailException, match="TALLYBACK_WAREHOUSE_URL; set them where"):
        tallyback_stage.run_here("verify", None)


@pytest.mark.parametrize(
    ("stage", "counts", "silent"),
    [
        ("fetch", {"windows": 1, "answers": 0}, True),
        ("fetch", {"windows": 0, "answers": 0}, False),
        ("fetch", {"answers": 2}, False),
        ("parse", {"deliveries": 1, "rows": 0}, True),
        ("parse", {"deliveries": 0, "rows": 0}, False),
        ("accrue", {"postings": 0}, False),
    ],
)
def test_silence_of_a_partner_is_known_from_having_nothing_to_do(
    stage: str, counts: dict[str, int], silent: bool
) -> None:
    assert tallyback_stage.is_silent(stage, counts) is silent


def test_no_data_is_a_warning_and_begins_the_note(airflow: Airflow, caplog: pytest.LogCaptureFixture) -> None:
    airflow(lambda *_: StageResult("fetch", "awin_main", (("windows", 1), ("answers", 0)), "2026-09-10..2026-09-11"))
    with caplog.at_level(logging.WARNING, "tallyback"):
        said = tallyback_stage.run_here("fetch", "awin_main")
    assert said["note"] == "NO DATA: 2026-09-10..2026-09-11"
    assert [record.levelname for record in caplog.records if "no data came" in record.message] == ["WARNING"]


def test_a_connection_of_airflow_becomes_names_and_values(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {
        "conn_type": "sftp",
        "host": "sftp.example",
        "port": 2222,
        "login": "finance",
        "password": "hush",
        "extra": {"host_key": ["ssh-ed25519 AAAA", "ssh-rsa BBBB"], "port": 2200},
    }
    monkeypatch.setenv("AIRFLOW_CONN_BANK", json.dumps(told))
    monkeypatch.setenv("TALLYBACK_CONNECTION_AWIN", '{"token": "hush-hush"}')
    read = tallyback_stage.credentials_from_airflow()
    assert read("bank").values == {
        "host": "sftp.example",
        "port": "2200",
        "username": "finance",
        "password": "hush",
        "host_key": "ssh-ed25519 AAAA,ssh-rsa BBBB",
    }
    assert read("awin")["token"] == "hush-hush", "what Airflow does not have is looked for in the environment"
    assert "hush" not in repr(read("bank"))


def test_a_failure_is_told_through_the_notifier_that_is_set_and_else_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    context = {"ti": Instance(), "exception": Stop("the host key changed")}
    tallyback_stage.notify(context)
    assert "the host key changed" in caplog.text
    monkeypatch.setenv("TALLYBACK_NOTIFIER", f"{Told.__module__}.Told")
    monkeypatch.setenv("TALLYBACK_NOTIFIER_ARGUMENTS", '{"channel": "finance"}')
    tallyback_stage.notify(context)
    assert [("finance", context)] == Told.heard


class Told:
    """A notifier as Airflow has them: made with arguments, called with a context."""

    # Shared by all of them: the notifier is made anew by name.
    heard: ClassVar[list[Any]] = []

    def __init__(self, channel: str) -> None:
        self.channel = channel

    def __call__(self, context: Any) -> None:
        self.heard.append((self.channel, context))


def test_a_person_who_triggered_counts_before_what_the_run_was_told_and_the_scheduler_is_nobody() -> None:
    assert tallyback_approval.person_of(Run({"released_by": "mallory"}, "robin")) == "robin"
    assert tallyback_approval.person_of(Run({"released_by": "robin"})) == "robin"
    assert tallyback_approval.person_of(Run()) is None


@pytest.mark.parametrize(
    "answer",
    [
        None,
        {"chosen_options": ["Reject"], "responded_by_user": {"id": "1", "name": "alex"}},
        {"chosen_options": ["Approve"], "responded_by_user": None},
    ],
)
def test_without_a_person_who_said_approve_nothing_is_approved_whatever_airflow_shows(
    airflow: Airflow, answer: dict[str, Any] | None
) -> None:
    batch = {"batch_id": "b1", "sha256": "aa", "state": "frozen"}
    told = {
        ("payout", "return_value"): {"batch": batch},
        ("approve", "asked"): {"batch_id": "b1", "sha256": "aa"},
        ("approve", "return_value"): answer,
    }
    airflow(told=told)
    with pytest.raises(AirflowFailException, match="no person answered approve"):
        tallyback_approval.record_approval()


def test_an_answer_given_before_the_file_changed_does_not_count_for_the_new_one(
    airflow: Airflow, warehouse_url: str
) -> None:
    _batch(warehouse_url, "b1", sha256="b" * 64)
    told = {
        ("payout", "return_value"): {"batch": {"batch_id": "b1", "sha256": "b" * 64, "state": "frozen"}},
        ("approve", "asked"): {"batch_id": "b1", "sha256": "a" * 64},
        ("approve", "return_value"): {"chosen_options": ["Approve"], "responded_by_user": {"id": "1", "name": "alex"}},
    }
    airflow(told=told)
    with pytest.raises(AirflowFailException, match="b1"):
        tallyback_approval.record_approval()
    with Warehouse(warehouse_url).transaction() as connection:
        assert connection.execute("SELECT count(*) FROM payout.approval").fetchone() == (0,)


def _batch(url: str, batch_id: str, *, sha256: str) -> None:
    with Warehouse(url).transaction() as connection:
        connection.execute(
            "INSERT INTO payout.batch (batch_id, entity, rail, bank, currency, selected_for, execute_on, created_at,"
            " payout_count, total_minor, state, released_by, sha256) VALUES (%s, 'main', 'sepa', 'house_bank', 'EUR',"
            " '2026-11-23', '2026-11-24', '2026-11-23', 1, 100, 'frozen', 'robin', %s)",
            (batch_id, sha256),
        )
