"""Killed anywhere, or run twice at once, landing, parsing and loading a tracker write the same rows once."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psycopg
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from connectors.clicks.sql_source import SqlSource
from connectors.partners import connector_for
from etl.clicks import load_clicks
from etl.core.configuration import ClickSource, TrackedTable
from etl.core.connector import Answer, Part, Window
from etl.core.context import Context
from etl.core.encryption import KeyRing, create_key_file
from etl.core.lake import FolderLake
from etl.land import land
from etl.parse import parse
from etl.payees import load_payees
from tests.kill.doom import child, is_killed
from tests.parse.answers import account, awin_answer, awin_row
from tests.parse.stage_context import forget, stage_context

UNTIL = datetime(2026, 9, 3)
CLICK = {name: name for name in ("click_id", "partner", "program_id", "member_id", "clicked_at")}
ORDER = {name: name for name in ("conversion_id", "occurred_at", "amount", "currency")}
PAYEE = {name: name for name in ("member_id", "name", "iban", "changed_at", "changed_by")}
SOURCE = ClickSource(
    "web", "tracker", 360, TrackedTable("clicks", CLICK, "clicked_at"), TrackedTable("orders", ORDER, "occurred_at"),
    TrackedTable("payees", PAYEE, "changed_at"),
)  # fmt: skip
# What each stage wrote, but for what encryption makes anew each time.
WRITTEN = {
    "ops.delivery": "*",
    "ops.delivery_part": "*",
    "ops.parse": "*",
    "ops.reject": "*",
    "ops.tracked_file": "*",
    "ops.click_seal": "*",
    "pii.payee": "member_id, version, iban_index, iban_masked, country, changed_at, changed_by",
}


@dataclass(frozen=True, slots=True)
class Morning:
    """What a morning's ingest reads: answers of a partner, and a tracker's database."""

    context: Context
    answers: tuple[Answer, ...]
    tracker_url: str
    keys: KeyRing

    def ingest(self) -> None:
        """Land and parse the answers, load the tracker."""
        mine, connector = account("awin"), connector_for("awin")
        land(self.context, mine, connector, self.answers)
        parse(self.context, mine, connector)
        reader = SqlSource(SOURCE, self.tracker_url)
        load_clicks(self.context, SOURCE, reader, UNTIL)
        load_payees(self.context, SOURCE, reader, self.keys, UNTIL)
        reader.close()

    def rows(self) -> dict[str, list[str]]:
        """Return all that the warehouse holds, in no order that depends on time."""
        # As the owner: no role of ours may read both the books' inputs and the payees.
        with psycopg.connect(self.context.warehouse.url) as connection:
            return {
                table: sorted(repr(row) for row in connection.execute(f"SELECT {columns} FROM {table}").fetchall())
                for table, columns in WRITTEN.items()
            }

    def objects(self) -> set[str]:
        """Return the paths of the objects in the lake, each of which must be whole."""
        root = self.context.temporary.parent / "lake"
        found = {path for path in root.rglob("*") if path.is_file() and not path.name.startswith(".part-")}
        for path in found:
            if path.suffix == ".parquet":
                pq.ParquetFile(path).read()
            if path.parts[len(root.parts)] in ("raw", "parsed"):
                assert hashlib.sha256(path.read_bytes()).hexdigest() == path.stem
        return {path.relative_to(root).as_posix() for path in found}

    def starting_anew(self, folder: Path) -> Morning:
        """Return the same morning with nothing done yet: another lake, and empty tables."""
        forget(self.context, *WRITTEN)
        lake, temporary = FolderLake(folder / "lake"), folder / "temporary"
        return replace(self, context=replace(self.context, lake=lake, temporary=temporary))


@pytest.fixture
def morning(warehouse_url: str, tmp_path: Path) -> Iterator[Morning]:
    answers = []
    for number in range(2):
        rows = [awin_row(id=number * 10 + row, commissionStatus="?" if row == 2 else "approved") for row in range(4)]
        parts = []
        for part, content in enumerate((awin_answer(*rows[:2]), awin_answer(*rows[2:]))[: 2 - number]):
            path = tmp_path / f"{number}-{part}.json"
            path.write_bytes(content)
            parts.append(Part(path, path.name, "application/json"))
        window = Window(date(2026, 3 + number, 1), date(2026, 4 + number, 1))
        answers.append(Answer(window, datetime(2026, 9, 1 + number), tuple(parts)))
    url = f"sqlite:///{tmp_path / 'tracker.sqlite'}"
    fill_tracker(url)
    context = stage_context(warehouse_url, tmp_path, account("awin"), click_sources=(SOURCE,))
    yield Morning(context, tuple(answers), url, create_key_file(tmp_path / "keys.json"))


def fill_tracker(url: str) -> None:
    """Make a tracker of two days: three clicks, an order and two payees."""
    engine = sa.create_engine(url)
    kinds: dict[str, type[Any]] = {"clicked_at": sa.DateTime, "occurred_at": sa.DateTime, "changed_at": sa.DateTime}
    tables = {
        name: sa.Table(name, sa.MetaData(), *(sa.Column(column, kinds.get(column, sa.Text)) for column in columns))
        for name, columns in (("clicks", CLICK), ("orders", ORDER), ("payees", PAYEE))
    }
    first = datetime(2026, 9, 1, 12)
    with engine.begin() as connection:
        for table in tables.values():
            table.create(connection)
        for number in range(3):
            at = first + timedelta(hours=9 * number)
            values = {
                "click_id": f"c{number}",
                "partner": "awin",
                "program_id": "p",
                "member_id": "m",
                "clicked_at": at,
            }
            connection.execute(tables["clicks"].insert().values(values))
        order = {"conversion_id": "o1", "occurred_at": first, "amount": str(Decimal("19.99")), "currency": "EUR"}
        connection.execute(tables["orders"].insert().values(order))
        for member, iban in (("m1", "DE89370400440532013000"), ("m2", "GB29NWBK60161331926819")):
            payee = {"member_id": member, "name": "Ada", "iban": iban, "changed_at": first, "changed_by": member}
            connection.execute(tables["payees"].insert().values(payee))
    engine.dispose()


def ingest_doomed(morning: Morning, kill_at: int) -> None:
    """Ingest, and die at a point: before an object gets its name, before a commit, after it. Only in a child."""
    rename, commit = os.rename, psycopg.Connection.commit
    passed = 0

    def point() -> None:
        nonlocal passed
        passed += 1
        if passed == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def doomed_rename(*arguments: Any, **named: Any) -> None:
        point()
        rename(*arguments, **named)

    def doomed_commit(connection: psycopg.Connection[Any]) -> None:
        point()
        commit(connection)
        point()

    os.rename = doomed_rename
    # The edge where a process may die.
    patch.object(psycopg.Connection, "commit", doomed_commit).start()
    morning.ingest()


def test_killed_at_any_point_and_run_again_the_same_rows_stand(morning: Morning, tmp_path: Path) -> None:
    assert not is_killed(child(morning.ingest))
    rows, objects = morning.rows(), morning.objects()
    assert {table: len(found) for table, found in rows.items()} == {
        "ops.delivery": 2, "ops.delivery_part": 3, "ops.parse": 2, "ops.reject": 1, "ops.tracked_file": 3,
        "ops.click_seal": 1, "pii.payee": 2,
    }  # fmt: skip
    assert len(objects) == 3 + 2 + 3
    kill_at, incomplete, left_over = 0, 0, 0
    is_alive = False
    while not is_alive:
        kill_at += 1
        folder = tmp_path / str(kill_at)
        again = morning.starting_anew(folder)
        is_alive = not is_killed(child(partial(ingest_doomed, again, kill_at)))
        assert again.objects() <= objects, f"killed at point {kill_at}"
        incomplete += again.rows() != rows
        left_over += len(list((folder / "lake").rglob(".part-*")))
        assert not is_killed(child(again.ingest))
        assert again.rows() == rows, f"killed at point {kill_at}"
        assert again.objects() == objects, f"killed at point {kill_at}"
    # Eight objects, five transactions with a point before and one after; all but the last few left work to do.
    assert kill_at - 1 == 8 + 2 * 5
    assert incomplete >= 16
    # Each of the eight left one, and others that were being written beside it.
    assert left_over >= 8


def test_two_at_once_write_what_one_writes(morning: Morning, tmp_path: Path) -> None:
    assert not is_killed(child(morning.ingest))
    rows, objects = morning.rows(), morning.objects()
    both = morning.starting_anew(tmp_path / "both")

    def ingest_slowly() -> None:
        # Each holds its locks for a while, so that the other comes to them.
        commit = psycopg.Connection.commit

        def slow_commit(connection: psycopg.Connection[Any]) -> None:
            time.sleep(0.1)
            commit(connection)

        patch.object(psycopg.Connection, "commit", slow_commit).start()
        both.ingest()

    for process in [child(ingest_slowly), child(ingest_slowly)]:
        assert not is_killed(process)
    assert both.rows() == rows
    assert both.objects() == objects
