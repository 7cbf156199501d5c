"""Tracked clicks are checked once, file by file; what is strange is stored and told, but nothing of a person."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pytest
import sqlalchemy as sa

from etl.check_clicks import check_clicks
from etl.core.configuration import ClickSource, Configuration, Entity, TrackedTable
from etl.core.connector import Credentials
from etl.core.lake import FolderLake
from etl.core.schemas import CLICK
from etl.core.settings import Settings
from etl.core.warehouse import Warehouse
from etl.installation import Installation
from etl.pipeline import Task, run_stage
from tests.validate.desk import Desk, instant

STRANGE: dict[str, list[object]] = {
    "click_id": ["c1", "c1", "c2", "c3"],
    "partner": ["awin"] * 4,
    "program_id": ["p", "p", "p", ""],
    "member_id": ["m1", "m1", "erika@example.com", "m2"],
    "clicked_at": [instant("2026-09-01T12:00:00")] * 3 + [instant("2027-01-01T00:00:00")],
}
FOUND = {"click_id_once": 2, "program_given": 1, "member_is_opaque": 1, "clicked_plausible": 1}
SOURCE = ClickSource(
    "web",
    "tracker",
    360,
    TrackedTable("clicks", {name: name for name in CLICK.names}, "clicked_at"),
    None,
    None,
)


@pytest.fixture
def desk(warehouse_url: str, tmp_path: Path) -> Desk:
    """A warehouse without clicks."""
    return Desk(warehouse_url, tmp_path)


def track(desk: Desk, name: str, columns: dict[str, list[object]]) -> str:
    path = f"clicks/day=2026-09-01/{name}.parquet"
    rows = len(columns["click_id"])
    desk.context.lake.put_table(pa.table(columns, schema=CLICK), path)
    desk.change("INSERT INTO ops.tracked_file VALUES ('click', 'tracker', '2026-09-01', %s, %s, 'r')", path, rows)
    return path


def test_clicks_are_checked_file_by_file_and_nothing_of_a_person_is_stored(desk: Desk) -> None:
    good = {name: values[2:3] for name, values in STRANGE.items()} | {"member_id": ["m3"]}
    before, path, after = track(desk, "a", good), track(desk, "b", STRANGE), track(desk, "c", good)
    done = check_clicks(desk.context, "tracker")
    assert (done.count("checked_files"), done.count("checked_clicks"), done.count("findings")) == (3, 6, 5)
    assert done.note.startswith("5 findings on clicks (click_id_once 2, clicked_plausible 1, member_is_opaque 1")
    assert desk.failed(path) == FOUND
    assert desk.failed(before) == desk.failed(after) == {}
    stored = str(desk.ask("SELECT * FROM ops.reject"))
    assert "c3" in stored and "erika" not in stored
    again = check_clicks(desk.context, "tracker")
    assert (again.count("checked_files"), again.note) == (0, "")


@pytest.mark.parametrize("rows_max", [1, 3])
def test_files_checked_apart_are_judged_as_they_are_together(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, rows_max: int
) -> None:
    monkeypatch.setattr("etl.check_clicks.GROUP_ROWS_MAX", rows_max)
    paths = [track(desk, name, STRANGE) for name in "ab"]
    assert check_clicks(desk.context, "tracker").count("findings") == 10
    assert [desk.failed(path) for path in paths] == [FOUND, FOUND]


def test_the_clicks_stage_loads_checks_and_tells(desk: Desk, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'tracker.sqlite'}"
    engine = sa.create_engine(url)
    metadata = sa.MetaData()
    columns = [sa.Column(name, sa.DateTime if name == "clicked_at" else sa.Text) for name in CLICK.names]
    clicks = sa.Table("clicks", metadata, *columns)
    metadata.create_all(engine)
    row = {"click_id": "c1", "partner": "awin", "program_id": "p", "member_id": "e@example.com"}
    with engine.begin() as connection:
        connection.execute(clicks.insert().values(**row, clicked_at=datetime(2026, 9, 1, 12)))
    engine.dispose()
    installation = Installation(
        settings=Settings.model_validate({"warehouse_url": desk.url, "temporary": tmp_path / "temporary"}),
        configuration=Configuration(Entity("cashback", "EUR", "Europe/Berlin"), (), (SOURCE,), (), "0"),
        warehouse=Warehouse(desk.url),
        lake=FolderLake(tmp_path / "lake"),
        engine=desk.context.engine,
    )
    results = [
        run_stage(
            installation,
            Task("clicks", "web", datetime(2026, 9, 2).date()),
            run_id=f"run-{number}",
            known_at=datetime(2026, 9, 2, 6),
            actor="test",
            credentials=lambda _: Credentials({"url": url}),
        )
        for number in range(2)
    ]
    assert [result.count("clicks") for result in results] == [1, 0]
    assert [result.count("findings") for result in results] == [1, 0]
    assert "1 findings on clicks (member_is_opaque 1)" in results[0].note
    assert "findings" not in results[1].note
    notes = desk.ask("SELECT note FROM ops.run ORDER BY run_id")
    assert "member_is_opaque" in str(notes[0]) and "example.com" not in str(notes)
