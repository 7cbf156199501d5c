"""A day's payout that is killed at any point and run again pays once."""

import os
import signal
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from etl.core.errors import Stop
from etl.core.lake import FolderLake, StoredObject
from etl.core.payouts import Batch
from etl.core.warehouse import Connection, Warehouse
from etl.settle import Resolution, resolve
from tests.payout.office import TODAY, FolderInbox, Office


@dataclass(slots=True)
class Doom:
    """Kills this process at the n-th point it passes."""

    kill_at: int
    passed: int = 0

    def point(self) -> None:
        self.passed += 1
        if self.passed == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class DoomedWarehouse(Warehouse):
    doom: Doom = field(default_factory=lambda: Doom(0))

    @contextmanager
    def transaction(self, role: str | None = None) -> Iterator[Connection]:
        with Warehouse.transaction(self, role) as connection:
            yield connection
            self.doom.point()
        self.doom.point()


@dataclass(frozen=True)
class DoomedLake(FolderLake):
    doom: Doom = field(default_factory=lambda: Doom(0))

    def put_file(self, local: Path, prefix: str, suffix: str) -> StoredObject:
        self.doom.point()
        stored = FolderLake.put_file(self, local, prefix, suffix)
        self.doom.point()
        return stored


@dataclass(slots=True)
class DoomedInbox(FolderInbox):
    doom: Doom = field(default_factory=lambda: Doom(0))

    def _step(self, name: str) -> None:
        self.doom.point()


def run_all(office: Office) -> Batch | None:
    """Do what a day's payout does, whatever was done of it before."""
    office.select()
    batch = None
    for (batch_id,) in office.ask("SELECT batch_id FROM payout.batch WHERE entity = %s", office.entity):
        batch = office.freeze(replace(_NAMED, batch_id=str(batch_id)))
        if batch.state == "frozen":
            office.approve(batch)
        batch = office.transmit(batch)
    return batch


_NAMED = Batch("", "", "", "", "", TODAY, TODAY, datetime.fromisoformat("2026-01-01"), 0, 0, "", "")


def in_a_child_killed_at(office: Office, kill_at: int) -> bool:
    """Run a day in a child process that dies at a point; return whether it came to the end alive."""
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(60)
            doom = Doom(kill_at)
            doomed = replace(office)
            doomed.inbox = DoomedInbox(office.inbox.folder, doom=doom)
            warehouse = DoomedWarehouse(office.url, doom=doom)
            lake = DoomedLake(office.folder / "lake", doom=doom)
            doomed.context = replace(office.context, warehouse=warehouse, lake=lake)
            run_all(doomed)
            os._exit(0)
        finally:
            # Whatever was raised, the child must not go on as a second test session.
            traceback.print_exc()
            os._exit(3)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return False
    assert os.waitstatus_to_exitcode(status) == 0
    return True


def test_killed_at_any_point_and_run_again_pays_once(warehouse_url: str, tmp_path: Path) -> None:
    kill_at, unknowns = 0, 0
    is_alive = False
    while not is_alive:
        kill_at += 1
        office = Office(warehouse_url, tmp_path / str(kill_at), entity=f"entity{kill_at}")
        for member in ("m1", "m2"):
            office.payee(member)
        office.owe_all([("m1", f"{kill_at}-m1", 1250), ("m2", f"{kill_at}-m2", 300)])
        is_alive = in_a_child_killed_at(office, kill_at)
        office.inbox.collect()
        try:
            batch = run_all(office)
        except Stop as error:
            assert "tallyback payout resolve" in str(error)
            unknowns += 1
            (row,) = office.ask("SELECT batch_id FROM payout.batch WHERE entity = %s", office.entity)
            said = Resolution.SENT if office.inbox.delivered() else Resolution.NOT_SENT
            resolve(office.context, str(row[0]), said, "Ben", "asked the bank")
            batch = run_all(office)
        assert batch is not None and batch.state == "sent"
        assert len(office.inbox.delivered()) == 1, f"killed at point {kill_at}"
        assert office.balance("payout_in_flight") == 1550
        assert office.balance("payout_reserved") == office.balance("cashback_payable") == 0
    assert kill_at > 20 and 3 <= unknowns < kill_at
