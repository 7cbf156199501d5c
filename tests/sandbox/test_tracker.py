"""The tracker's database shows what was committed by simulated now, once, and some of it late."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from sandbox import clock, credentials, folder, tracker
from sandbox.instants import parsed
from sandbox.model import World
from sandbox.orders import COMMIT_DELAY_MAX
from sandbox.world import build_world
from tests.sandbox.places import FROM_ON, UNTIL_ON


def read(directory: Path, statement: sa.Select[tuple[str]]) -> list[str]:
    engine = sa.create_engine(credentials.load(directory).tracker_url)
    with engine.connect() as connection:
        rows = list(connection.execute(statement).scalars())
    engine.dispose()
    return rows


@pytest.fixture
def saved(small: World, tmp_path: Path) -> Path:
    folder.save(small, tmp_path / "world")
    return tmp_path / "world"


def test_clicks_appear_when_they_are_committed_not_when_they_happen(small: World, saved: Path) -> None:
    late = next(
        click
        for click in small.clicks
        if click.committed_at - click.clicked_at > timedelta(minutes=30) and click.clicked_at.date() > FROM_ON
    )
    statement = sa.select(tracker.CLICKS.c.uid).where(tracker.CLICKS.c.uid == late.click_id)
    clock.move_to(saved, late.clicked_at + timedelta(minutes=5))
    newest = read(saved, sa.select(sa.func.max(tracker.CLICKS.c.created)))
    assert read(saved, statement) == []
    clock.move_to(saved, late.committed_at)
    assert read(saved, statement) == [late.click_id]
    # Its row is older than others a reader has seen already: only an overlap finds it.
    (latest,) = read(saved, sa.select(sa.func.max(tracker.CLICKS.c.created)))
    assert isinstance(latest, datetime)
    assert late.clicked_at < latest
    assert newest


def test_no_row_is_later_than_the_promised_delay(small: World) -> None:
    delays = [click.committed_at - click.clicked_at for click in small.clicks]
    assert max(delays) < COMMIT_DELAY_MAX
    assert 0.005 < sum(delay > timedelta(minutes=4) for delay in delays) / len(delays) < 0.02


def test_many_small_steps_and_one_large_one_give_the_same_rows(small: World, tmp_path: Path) -> None:
    end = parsed("2026-09-20T12:00:00Z")
    for name, hours in (("steps", 50), ("leap", 10_000)):
        folder.save(small, tmp_path / name)
        at = parsed("2026-09-01T00:00:00Z")
        while at < end:
            at = min(end, at + timedelta(hours=hours))
            clock.move_to(tmp_path / name, at)
    for table in (tracker.CLICKS, tracker.ORDERS, tracker.USERS):
        statement = sa.select(*table.c).order_by(*table.primary_key.columns)
        rows = []
        for name in ("steps", "leap"):
            engine = sa.create_engine(credentials.load(tmp_path / name).tracker_url)
            with engine.connect() as connection:
                rows.append(connection.execute(statement).all())
            engine.dispose()
        assert len(rows[0]) >= 60
        assert rows[0] == rows[1]


def test_setting_the_clock_again_inserts_nothing(saved: Path) -> None:
    at = parsed("2026-09-05T00:00:00Z")
    assert clock.move_to(saved, at) > 0
    assert clock.move_to(saved, at) == 0
    assert tracker.advance(saved, at) == 0


def test_the_clock_does_not_go_back(saved: Path) -> None:
    clock.move_to(saved, datetime(2026, 9, 5, tzinfo=UTC))
    with pytest.raises(ValueError, match="cannot go back"):
        clock.move_to(saved, parsed("2026-09-04T00:00:00Z"))
    assert clock.now(saved) == parsed("2026-09-05T00:00:00Z")


def test_a_member_who_changes_account_is_one_row_that_says_when_and_by_whom(small: World, saved: Path) -> None:
    change = small.member_changes[0]
    statement = sa.select(tracker.USERS.c.iban).where(tracker.USERS.c.user_ref == change.member_id)
    before = read(saved, statement)
    clock.move_to(saved, change.changed_at)
    assert before != [change.iban]
    assert read(saved, statement) == [change.iban]
    assert len(read(saved, sa.select(tracker.USERS.c.user_ref))) == len(small.members)


def test_the_tracker_may_live_in_postgresql(database_url: str, tmp_path: Path) -> None:
    world = build_world(7, "small", FROM_ON, UNTIL_ON)
    folder.save(world, tmp_path / "world", database_url)
    clock.move_to(tmp_path / "world", parsed("2026-12-01T00:00:00Z"))
    assert not (tmp_path / "world" / "tracker.sqlite").exists()
    ids = read(tmp_path / "world", sa.select(tracker.CLICKS.c.uid))
    assert sorted(ids) == sorted(click.click_id for click in world.clicks)
    assert len(read(tmp_path / "world", sa.select(tracker.ORDERS.c.id))) == len(world.conversions)
