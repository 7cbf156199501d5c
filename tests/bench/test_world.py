"""The world that `pipeline` and `daily` measure: every stage does its work in it, again does nothing, and it proves."""

from __future__ import annotations

from datetime import datetime, time
from pathlib import Path

import psycopg
import pytest

from bench.answers import Answers, Days
from bench.daily import one_day
from bench.pipeline import LOAD, again, ours
from bench.world import House, changed_later, day_of, first_load, keep_waiting, waiting_of
from etl.core.embedded import EmbeddedPostgres
from etl.verify import verify

SALES = 10


def test_the_answers_are_the_same_each_time_and_each_dialect_has_rejects(tmp_path: Path) -> None:
    days = Days(0, 20, 10, corrected=(0, 10))
    one, other = (
        {
            dialect: [path.read_bytes() for path in answers.write(dialect, days, tmp_path / name, dialect)]
            for dialect in ("awin", "cj", "rakuten", "tradetracker")
        }
        for name, answers in (("one", Answers(20, 2_000, 10)), ("other", Answers(20, 2_000, 10)))
    )
    assert one == other
    for dialect, wrong in {"awin": b'"?"', "cj": b'x"', "rakuten": b"31/31/26", "tradetracker": b">lost<"}.items():
        assert wrong in b"".join(one[dialect]), dialect


def test_a_file_of_corrections_has_as_many_rows_as_one_of_new_sales(tmp_path: Path) -> None:
    """Else the check against the account's history would hold it, and a day would not go the whole way."""
    answers = Answers(100, 2_000, 1)
    (usual,) = answers.write("rakuten", Days(0, 1, 70, (0, 0)), tmp_path / "usual", "day")
    keep_waiting(tmp_path, "round-0", 101, changed_later(answers, tmp_path / "answers", 0))
    _, told = waiting_of(tmp_path, "round-0")
    (later,) = next(each.files for each in told if each.partner == "rakuten")
    counts = [path.read_bytes().count(b"\n") for path in (usual, Path(later))]
    assert counts[1] == pytest.approx(counts[0], rel=0.1)


def test_all_stages_run_again_does_nothing_and_a_change_is_booked(
    tmp_path: Path, postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(House, "server", property(lambda _: postgres))
    monkeypatch.setattr(House, "database", "bench_world")
    answers = Answers(100, SALES, 5)
    keep_waiting(tmp_path, LOAD, answers.days, first_load(answers, tmp_path / "answers"))
    keep_waiting(tmp_path, "round-0", answers.days + 1, changed_later(answers, tmp_path / "answers", 0))
    house = House(tmp_path)
    house.build(answers)
    house.refresh()
    try:
        assert ours(tmp_path) > 100 * SALES
        books = counted(house)
        assert books["posting"] > books["sale"] * 2 > 150 * SALES
        assert again(tmp_path) == 0
        assert counted(house) == books
        (tmp_path / "round").write_text("0")
        assert one_day(tmp_path) > 0
        assert counted(house)["posting"] > books["posting"]
        day = day_of(answers.days + 1)
        context = house.installation().context("verify", datetime.combine(day, time()), "test")
        assert [check for check in verify(context, day) if not check.is_ok] == []
    finally:
        for name in (house.database, house.fresh):
            postgres.drop_database(name)


def counted(house: House) -> dict[str, int]:
    tables = {"posting": "ledger.posting", "sale": "ops.sale", "version": "ops.transaction_version"}
    with psycopg.connect(house.url) as connection:
        return {
            name: int(str((connection.execute(f"SELECT count(*) FROM {table}").fetchone() or (0,))[0]))
            for name, table in tables.items()
        }
