"""In a real Airflow: people are named, an answer binds to a file, Stop is not tried again, every run has its note."""

import base64
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import paramiko
import pytest

from etl.core.embedded import EmbeddedPostgres
from sandbox.airflow_api import AirflowClient, DagRun, Question
from sandbox.airflow_stack import AirflowStack
from tests.connectors.transport.sftp_server import PASSWORD, USER, serving_files
from tests.payout.office import KEYRING, Office

ROOT = Path(__file__).resolve().parents[2]
PAYOUT = "tallyback__payout__sepa"

Found = TypeVar("Found")

pytestmark = pytest.mark.xdist_group("airflow")


@dataclass(frozen=True, slots=True)
class House:
    """An installation with its own Airflow, and a bank that is a folder behind SFTP."""

    stack: AirflowStack
    office: Office
    inbox: Path

    @property
    def robin(self) -> AirflowClient:
        return self.stack.client("robin")

    @property
    def alex(self) -> AirflowClient:
        return self.stack.client("alex")

    def question(self, task_id: str) -> Question:
        """Return the question of a task once it waits, in whatever run."""

        def asked() -> Question | None:
            for each in self.robin.runs(PAYOUT, state="running"):
                for task in self.robin.tasks(each):
                    assert task.state != "failed", self.robin.log(each, task)
            found = [one for one in self.robin.questions(PAYOUT) if one.task_id == task_id]
            return found[0] if found else None

        return until(asked)

    def ended(self, run: DagRun, answers: dict[str, tuple[AirflowClient, str]]) -> DagRun:
        """Return the run once it has ended, its questions answered; one that Airflow asks again is answered again."""

        def finished() -> DagRun | None:
            for question in self.robin.questions(PAYOUT):
                if question.run_id == run.run_id and question.task_id in answers:
                    person, option = answers[question.task_id]
                    person.answer(question, option)
            current = self.robin.run(run.dag_id, run.run_id)
            return current if current.finished else None

        return until(finished)

    def states(self, run: DagRun) -> dict[str, str | None]:
        return {task.task_id: task.state for task in self.robin.tasks(run)}


def until(look: Callable[[], Found | None]) -> Found:
    deadline = time.monotonic() + 150
    while (found := look()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.3)
    return found


@pytest.fixture(scope="module")
def house(postgres: EmbeddedPostgres, migrated_template: str) -> Iterator[House]:
    """A house that owes two members, whose payout is begun once by the scheduler, as nobody."""
    warehouse_url = postgres.create_database("dags_warehouse", template=migrated_template)
    metadata_url = postgres.create_database("dags_airflow")
    keys = [paramiko.RSAKey.generate(2048), paramiko.RSAKey.generate(2048)]
    with tempfile.TemporaryDirectory(prefix="tallyback-dags-") as name:
        folder = Path(name)
        shutil.copytree(ROOT / "config", folder / "config")
        (folder / "remote" / "inbox").mkdir(parents=True)
        key_file = folder / "keys"
        secret = base64.urlsafe_b64encode(KEYRING.keys["k1"]).decode()
        key_file.write_text(json.dumps({"current": "k1", "index": "k1", "keys": {"k1": secret}}))
        key_file.chmod(0o600)
        with serving_files(folder / "remote", *keys) as server:
            bank = {
                "conn_type": "sftp",
                "host": "127.0.0.1",
                "port": server.port,
                "login": USER,
                "password": PASSWORD,
                "extra": {"host_key": f"{keys[0].get_name()} {keys[0].get_base64()}"},
            }
            environment = {
                "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "dags" / "plugins"),
                "AIRFLOW_CONN_BANK": json.dumps(bank),
                "PYTHONPATH": str(ROOT),
                "TALLYBACK_CONFIGURATION": str(folder / "config"),
                "TALLYBACK_KEY_FILE": str(key_file),
                "TALLYBACK_LAKE": str(folder / "lake"),
                "TALLYBACK_TEMPORARY": str(folder / "temporary"),
                "TALLYBACK_RETRY_SECONDS": "1",
                "TALLYBACK_SCHEDULES": "off",
                "TALLYBACK_SCHEDULE_PAYOUT": "@once",
                "TALLYBACK_WAREHOUSE_URL": warehouse_url,
            }
            office = Office(warehouse_url, folder, "main")
            for member in ("m1", "m2"):
                office.payee(member)
                office.owe(member, f"s-{member}", 1250)
            stack = AirflowStack(folder / "airflow", metadata_url, ROOT / "dags", environment, parallelism=2)
            stack.start()
            try:
                yield House(stack, office, folder / "remote" / "inbox")
            finally:
                stack.stop()
    postgres.drop_database("dags_airflow")
    postgres.drop_database("dags_warehouse")


def test_a_run_of_the_scheduler_asks_who_releases_and_the_approval_names_the_other_person(house: House) -> None:
    assert house.robin.import_errors() == []
    released = house.question("ask_release")
    assert house.office.ask("SELECT count(*) FROM payout.batch") == [(0,)], "nothing is reserved for nobody"
    house.robin.answer(released, "Approve")
    asked = house.question("approve")
    ((batch_id, sha256),) = house.office.ask("SELECT batch_id, sha256 FROM payout.batch")
    assert asked.subject == "Pay 2 members EUR 25.00?"
    assert asked.body is not None
    assert {str(batch_id), str(sha256), "robin"} <= set(asked.body.replace("`", " ").split())
    run = house.ended(house.robin.run(PAYOUT, asked.run_id), {"approve": (house.alex, "Approve")})
    assert (run.state, run.run_type) == ("success", "scheduled")
    assert house.office.ask("SELECT released_by, state FROM payout.batch") == [("robin", "sent")]
    assert house.office.ask("SELECT sha256, approved_by FROM payout.approval") == [(sha256, "alex")]
    assert len(list(house.inbox.glob("*"))) == 1
    assert run.note is not None
    assert "approved by alex" in run.note and "robin: Approve" in run.note


def test_a_run_without_a_batch_asks_nobody(house: House) -> None:
    run = house.robin.wait(house.robin.trigger(PAYOUT, note="by a test"), timeout_seconds=90)
    assert run.state == "success"
    assert run.note == "by a test\n\nnothing to pay"
    assert house.states(run) == {
        "ask_release": "skipped",
        "payout": "success",
        "approve": "skipped",
        "record_approval": "skipped",
        "transmit": "skipped",
    }


def test_who_released_a_batch_cannot_approve_it_and_what_was_refused_is_not_sent(house: House) -> None:
    house.office.owe("m1", "s-late", 990)
    run = house.robin.trigger(PAYOUT)
    run = house.ended(run, {"approve": (house.robin, "Approve")})
    assert run.state == "failed"
    assert run.note is not None
    assert run.note.startswith("FAILED record_approval: robin")
    tried = {task.task_id: task.try_number for task in house.robin.tasks(run)}
    assert tried["record_approval"] == 1, "Stop is not tried again"
    second = house.robin.trigger(PAYOUT)
    second = house.ended(second, {"approve": (house.alex, "Reject")})
    assert (house.states(second)["record_approval"], house.states(second)["transmit"]) == ("skipped", "skipped")
    assert second.note is not None
    assert "alex: Reject" in second.note
    assert len(house.office.ask("SELECT FROM payout.approval")) == 1
    assert len(list(house.inbox.glob("*"))) == 1


def test_a_stage_that_stops_is_not_tried_again_and_the_note_says_what_to_do(house: House) -> None:
    run = house.robin.wait(house.robin.trigger("tallyback__reference"), timeout_seconds=90)
    assert run.state == "failed"
    assert run.note == "FAILED reference: TALLYBACK_REFERENCE is not set: name the file or folder there"
    (task,) = house.robin.tasks(run)
    assert task.try_number == 1
