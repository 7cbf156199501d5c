"""Promises of landing, parsing and of which windows are due, on a real warehouse."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from connectors.partners import connector_for
from connectors.partners.rows import batches
from etl.core.connector import Answer, Credentials, Part, Window
from etl.core.context import Context
from etl.core.errors import Stop
from etl.core.schemas import TRANSACTION
from etl.fetch import fetch, windows_due
from etl.land import land
from etl.parse import parse
from tests.parse.answers import account, awin_answer, awin_row, rakuten_answer
from tests.parse.stage_context import count_of, forget, stage_context

AWIN = connector_for("awin")
WINDOW = Window(date(2026, 3, 1), date(2026, 4, 1))
OBSERVED = datetime.fromisoformat("2026-04-02T06:00:00")


@pytest.fixture
def context(warehouse_url: str, tmp_path: Path) -> Context:
    return stage_context(warehouse_url, tmp_path, account("awin"))


def answered(folder: Path, *contents: bytes, observed_at: datetime = OBSERVED, window: Window = WINDOW) -> Answer:
    parts = []
    for number, content in enumerate(contents):
        path = folder / f"answer-{number}.json"
        path.write_bytes(content)
        parts.append(Part(path, f"page-{number}", "application/json"))
    return Answer(window, observed_at, tuple(parts))


def test_an_answer_landed_again_writes_nothing_and_one_seen_later_is_another_delivery(
    context: Context, tmp_path: Path
) -> None:
    mine = account("awin")
    content = awin_answer(awin_row())
    assert land(context, mine, AWIN, [answered(tmp_path, content)]).count("new_deliveries") == 1
    assert land(context, mine, AWIN, [answered(tmp_path, content)]).count("new_deliveries") == 0
    later = answered(tmp_path, content, observed_at=OBSERVED + timedelta(hours=1))
    assert land(context, mine, AWIN, [later, later]).count("new_deliveries") == 1
    assert (count_of(context, "ops.delivery"), count_of(context, "ops.delivery_part")) == (2, 2)
    assert len(list((tmp_path / "lake" / "raw").rglob("*.json"))) == 1


def test_landed_bytes_are_those_that_came(context: Context, tmp_path: Path) -> None:
    content = b" [ ]\n"
    land(context, account("awin"), AWIN, [answered(tmp_path, content)])
    (landed,) = (tmp_path / "lake" / "raw").rglob("*.json")
    assert landed.read_bytes() == content


def test_rows_in_are_transactions_and_rejects_and_parsing_again_writes_nothing(
    context: Context, tmp_path: Path
) -> None:
    mine = account("awin")
    rows = [awin_row(), awin_row(id=2, commissionStatus="?"), awin_row(id=...), awin_row(id=4)]
    land(context, mine, AWIN, [answered(tmp_path, awin_answer(*rows[:2]), awin_answer(*rows[2:]))])
    done = parse(context, mine, AWIN)
    assert done.counts == (("deliveries", 1), ("rows", 4), ("transactions", 2), ("rejects", 2))
    with context.warehouse.transaction() as connection:
        (stored,) = connection.execute(
            "SELECT row_count, transaction_count, reject_count, unkeyed_reject_count, object_path FROM ops.parse"
        ).fetchall()
        rejects = connection.execute(
            "SELECT row_number, stage, transaction_id, rule, column_name, raw FROM ops.reject ORDER BY row_number"
        ).fetchall()
    assert stored[:4] == (4, 2, 2, 1)
    assert [reject[:5] for reject in rejects] == [
        (2, "parse", "2", "unknown", "status"), (3, "parse", None, "missing", "transaction_id"),
    ]  # fmt: skip
    assert all('"advertiser_id": "9001"' in str(reject[5]) for reject in rejects)
    table = pq.ParquetFile(context.lake.local(str(stored[4]))).read()
    assert table.schema.remove_metadata() == TRANSACTION
    assert table["row_number"].to_pylist() == [1, 4]
    assert parse(context, mine, AWIN).count("deliveries") == 0


def test_a_delivery_that_cannot_be_parsed_is_named_and_does_not_keep_the_others(
    context: Context, tmp_path: Path
) -> None:
    mine = account("awin")
    land(context, mine, AWIN, [answered(tmp_path, awin_answer(awin_row()))])
    bad = answered(tmp_path, b'{"error":"oops"}', observed_at=OBSERVED + timedelta(days=1))
    land(context, mine, AWIN, [bad])
    with pytest.raises(Stop, match=r"1 of 2 deliveries cannot be parsed.*oops"):
        parse(context, mine, AWIN)
    assert count_of(context, "ops.parse") == 1
    assert not list((tmp_path / "temporary").rglob("*.parquet"))


def test_an_unreadable_delivery_no_longer_stops_once_a_later_one_tells_all_of_it(
    context: Context, tmp_path: Path
) -> None:
    mine = account("awin", start_on="2026-03-01", reread_days=0)

    def told(content: bytes, days: int, window: Window = WINDOW) -> None:
        at = OBSERVED + timedelta(days=days)
        land(context, mine, AWIN, [answered(tmp_path, content, observed_at=at, window=window)])

    told(b'{"error":"oops"}', 0)
    whole, shorter = awin_answer(awin_row()), Window(WINDOW.from_on, WINDOW.until_on - timedelta(days=1))
    told(whole, -1)
    told(whole, 1, shorter)
    with pytest.raises(Stop, match="1 of 3 deliveries"):
        parse(context, mine, AWIN)
    # Its days are asked for again, though other answers for them are there.
    assert [str(window) for window in windows_due(context, mine, AWIN, WINDOW.until_on)] == [str(WINDOW)]
    told(whole, 2)
    assert "1 that cannot be read, told again" in parse(context, mine, AWIN).note
    assert count_of(context, "ops.parse") == 3
    assert windows_due(context, mine, AWIN, WINDOW.until_on) == []


def test_a_day_told_before_it_was_over_is_asked_for_again(context: Context, tmp_path: Path) -> None:
    mine = account("awin", start_on="2026-03-01", reread_days=0)
    # The last day ends at midnight in Berlin, 22:00 UTC in summer.
    for at, due in (("2026-03-31T21:59:59", True), ("2026-03-31T22:00:00", False)):
        land(context, mine, AWIN, [answered(tmp_path, b"[]", observed_at=datetime.fromisoformat(at))])
        parse(context, mine, AWIN)
        assert bool(windows_due(context, mine, AWIN, WINDOW.until_on)) is due


class _Says:
    """A connector that has one answer, dated as it is told."""

    facts = AWIN.facts

    def __init__(self, answer: Answer) -> None:
        self.answer = answer

    def fetch(self, *_: object) -> Sequence[Answer]:
        return [self.answer]

    def flatten(self, parts: Sequence[Path]) -> Iterator[pa.RecordBatch]:
        return AWIN.flatten(parts)


@pytest.mark.parametrize(
    ("at", "told"),
    [
        ("2026-11-02T06:00:01", "whose clock is wrong"),
        ("2026-11-02T06:00:00", None),
        # The window begins at midnight in Berlin, an hour before UTC's.
        ("2026-02-28T23:00:00", None),
        ("2026-02-28T22:59:59", "before its window begins"),
        ("1970-01-01T00:00:00", "before its window begins"),
    ],
)
def test_an_answer_dated_when_it_cannot_have_been_given_is_not_landed(
    at: str, told: str | None, context: Context, tmp_path: Path
) -> None:
    connector = _Says(answered(tmp_path, b"[]", observed_at=datetime.fromisoformat(at)))
    if told is None:
        assert len(fetch(context, account("awin"), connector, Credentials({}), WINDOW)) == 1
    else:
        with pytest.raises(Stop, match=told):
            fetch(context, account("awin"), connector, Credentials({}), WINDOW)


def parsed_rows(context: Context) -> list[tuple[object, ...]]:
    """Return what the warehouse says of all parses and rejects, but not which run did it."""
    with context.warehouse.transaction() as connection:
        parses = connection.execute(
            """
            SELECT delivery_id, parse_version, row_count, transaction_count, reject_count, unkeyed_reject_count,
                object_path
            FROM ops.parse ORDER BY delivery_id
            """
        ).fetchall()
        rejects = connection.execute(
            "SELECT delivery_id, row_number, rule, column_name, value, reason, raw FROM ops.reject ORDER BY 1, 2"
        ).fetchall()
    return [*parses, *rejects]


def test_it_does_not_matter_which_deliveries_are_judged_together(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = account("awin")
    # Flattened in threes, the fourth delivery is a large one that goes over several groups; the third is none at all.
    monkeypatch.setattr("connectors.partners.rows.BATCH_ROWS", 3)
    answers = []
    for number, count in enumerate((1, 5, 0, 20, 0, 2, 4)):
        statuses = ["?" if row % 4 == 3 else "approved" for row in range(count)]
        rows = [awin_row(id=f"{number}-{row}", commissionStatus=status) for row, status in enumerate(statuses)]
        folder = tmp_path / str(number)
        folder.mkdir()
        content = b'{"error":"oops"}' if number == 2 else awin_answer(*rows)
        # A later one that covers the broken one's window would tell it again.
        window = Window(WINDOW.from_on, WINDOW.until_on + timedelta(days=number == 2))
        answers.append(answered(folder, content, observed_at=OBSERVED + timedelta(hours=number), window=window))
    land(context, mine, AWIN, answers)
    said = []
    for limit, value in (("ROWS", 65_536), ("ROWS", 9), ("BYTES", 6_000), ("DELIVERIES", 3)):
        monkeypatch.setattr(f"etl.core.judgement.GROUP_{limit}", value)
        with pytest.raises(Stop, match=r"1 of 7 deliveries cannot be parsed.*oops"):
            parse(context, mine, AWIN)
        said.append(parsed_rows(context))
        forget(context, "ops.parse", "ops.reject")
    assert len(said[0]) == 6 + 1 + 5 + 1
    assert all(each == said[0] for each in said)
    assert len(list((tmp_path / "lake" / "parsed").rglob("*.parquet"))) == 6
    assert not list((tmp_path / "temporary").rglob("*.parquet"))


class _AllWrong:
    """A connector of Awin's name whose every row is broken."""

    facts: ClassVar = AWIN.facts

    def fetch(self, *_: object) -> Sequence[Answer]:
        return ()

    def flatten(self, parts: Sequence[Path]) -> Iterator[pa.RecordBatch]:
        columns = next(iter(AWIN.flatten(parts))).schema.names[1:-2]
        return batches(columns, ((None,) * len(columns) for _ in range(120_000)))


def test_a_file_of_nothing_but_rejects_is_another_dialect(context: Context, tmp_path: Path) -> None:
    mine = account("awin")
    land(context, mine, AWIN, [answered(tmp_path, awin_answer(awin_row()))])
    with pytest.raises(Stop, match="another dialect"):
        parse(context, mine, _AllWrong())
    assert count_of(context, "ops.reject") == 0


def test_a_missing_start_or_a_window_too_long_is_said(context: Context) -> None:
    with pytest.raises(Stop, match="start_on"):
        windows_due(context, account("awin"), AWIN, date(2026, 4, 1))
    with pytest.raises(Stop, match="window_days"):
        windows_due(context, account("awin", start_on="2026-03-01", window_days=32), AWIN, date(2026, 4, 1))


def test_windows_are_due_that_are_new_recent_or_hold_a_sale_not_final(context: Context, tmp_path: Path) -> None:
    mine = account("awin", start_on="2026-01-01", window_days=10, reread_days=10)
    day = date(2026, 2, 15)
    tiles = windows_due(context, mine, AWIN, day)
    assert [str(tile) for tile in tiles] == [
        "2026-01-01..2026-01-11", "2026-01-11..2026-01-21", "2026-01-21..2026-01-31", "2026-01-31..2026-02-10",
        "2026-02-10..2026-02-15",
    ]  # fmt: skip
    land(context, mine, AWIN, [answered(tmp_path, b"[]", window=tile) for tile in tiles])
    parse(context, mine, AWIN)
    recent = ["2026-01-31..2026-02-10", "2026-02-10..2026-02-15"]
    assert [str(tile) for tile in windows_due(context, mine, AWIN, day)] == recent
    # 23:30 UTC of the 10th is the 11th in Berlin, where the account counts its days.
    add_version(context, "2026-01-10T23:30:00", "pending", is_paid=False, version_no=1)
    assert [str(tile) for tile in windows_due(context, mine, AWIN, day)] == ["2026-01-11..2026-01-21", *recent]
    add_version(context, "2026-01-10T23:30:00", "approved", is_paid=False, version_no=2)
    assert [str(tile) for tile in windows_due(context, mine, AWIN, day)] == ["2026-01-11..2026-01-21", *recent]
    add_version(context, "2026-01-10T23:30:00", "approved", is_paid=True, version_no=3)
    assert [str(tile) for tile in windows_due(context, mine, AWIN, day)] == recent


def add_version(context: Context, occurred_at: str, status: str, *, is_paid: bool, version_no: int) -> None:
    with context.warehouse.transaction() as connection:
        connection.execute(
            """
            INSERT INTO ops.transaction_version (partner, partner_account, transaction_id, line_id, kind, occurred_at,
                occurred_precision_seconds, status, partner_paid, sale_amount, commission_amount, currency, delivery_id,
                row_number, content_hash, observed_at, version_no, is_absent, sale_id, effective_on)
            VALUES ('awin', 'awin_main', 't1', '', 'sale', %s, 60, %s, %s, 1, 1, 'EUR', 'd', 1, 'h', %s, %s, false,
                's', '2026-01-11')
            """,
            (occurred_at, status, is_paid, OBSERVED, version_no),
        )


def test_days_of_files_are_fetched_once_and_in_long_windows(context: Context, tmp_path: Path) -> None:
    rakuten = connector_for("rakuten")
    mine = account("rakuten", start_on="2026-01-01", networks=("3", "9"))
    day = date(2026, 2, 15)
    due = windows_due(context, mine, rakuten, day)
    assert [str(window) for window in due] == ["2026-01-01..2026-02-01", "2026-02-01..2026-02-15"]
    files = [
        answered(tmp_path, rakuten_answer("No Results Found"), window=Window(one, one + timedelta(days=1)))
        for one in (date(2026, 1, 1) + timedelta(days=number) for number in range(45))
    ]
    land(context, mine, rakuten, files)
    parse(context, mine, rakuten)
    assert [str(window) for window in windows_due(context, mine, rakuten, day)] == ["2026-02-12..2026-02-15"]


def test_equal_empty_files_of_two_networks_are_two_deliveries(context: Context, tmp_path: Path) -> None:
    path = tmp_path / "empty.csv"
    path.write_bytes(b"nothing")
    both = [
        Answer(WINDOW, OBSERVED, (Part(path, f"report_n{network}.csv", f"text/csv;network={network}"),))
        for network in (3, 9)
    ]
    assert land(context, account("rakuten"), connector_for("rakuten"), both).count("new_deliveries") == 2


def test_an_answer_without_a_part_is_a_defect(context: Context) -> None:
    with pytest.raises(Stop, match="no part"):
        land(context, account("awin"), AWIN, [Answer(WINDOW, OBSERVED, ())])
