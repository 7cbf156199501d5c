"""The database itself: a period moves only forward, and nothing is booked where it is closed, whoever asks."""

from __future__ import annotations

import threading
from datetime import date, datetime

import psycopg
import pyarrow as pa
import pytest

from etl.core.ledger import FLOW, booked_days, post
from etl.core.period import PeriodState, closed_through, last_day, locked_months, next_month
from etl.core.warehouse import Warehouse
from tests.ledger.test_post import _flow as flow

MARCH = date(2026, 3, 1)
ENTRY = "INSERT INTO ledger.journal_entry VALUES ('house', %s, %s, %s, %s, 1, %s, '2026-05-01', 'r', 'test', '', 'h')"
_COLUMNS = (
    "(document_kind, document_id, entry_no, year, number, leg, entity, debit, credit, amount, effective_for, booked_on,"
    " component)"
)
POSTING = (
    f"INSERT INTO ledger.posting {_COLUMNS}"
    " SELECT %s, 'd', 1, 2026, count(*) + 1, 1, 'house', 1, 2, 5, '2026-03-05', %s, 'goodwill' FROM ledger.posting"
)


def _set(url: str, state: str, month: str = "2026-03-01") -> None:
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO ref.period VALUES ('house', %s, %s)"
            " ON CONFLICT (entity, starts_on) DO UPDATE SET state = excluded.state",
            (month, state),
        )


def _refused(url: str, statement: str, parameters: tuple[object, ...], role: str | None = None) -> bool:
    with psycopg.connect(url) as connection:
        if role is not None:
            connection.execute(f"SET LOCAL ROLE {role}")
        try:
            connection.execute(statement, parameters)
        except psycopg.errors.RaiseException:
            return True
        connection.rollback()
        return False


@pytest.mark.parametrize("role", [None, "tallyback_pipeline"])
@pytest.mark.parametrize(
    ("state", "kind", "refused"),
    [
        ("open", "sale", False),
        ("closing", "sale", True),
        ("closing", "remittance", True),
        ("closing", "payout", True),
        ("closing", "adjustment", False),
        ("closing", "revaluation", False),
        ("closed", "sale", True),
        ("closed", "adjustment", True),
        ("closed", "revaluation", True),
    ],
)
def test_what_a_period_refuses_depends_on_its_state(
    warehouse_url: str, state: str, kind: str, refused: bool, role: str | None
) -> None:
    _set(warehouse_url, state)
    assert _refused(warehouse_url, ENTRY, (2026, 1, kind, "d", date(2026, 3, 31)), role) is refused
    assert _refused(warehouse_url, POSTING, (kind, date(2026, 3, 31)), role) is refused
    assert not _refused(warehouse_url, POSTING, (kind, date(2026, 4, 1)), role)


def test_a_month_before_a_closed_one_is_closed_too_whether_or_not_it_has_a_row(warehouse_url: str) -> None:
    _set(warehouse_url, "closed")
    assert _refused(warehouse_url, POSTING, ("sale", date(2025, 12, 31)))
    assert _refused(warehouse_url, ENTRY, (2025, 1, "sale", "d", date(2025, 12, 31)))
    with Warehouse(warehouse_url).transaction() as connection:
        table = pa.Table.from_pylist([flow("a", on="2025-12-24")], schema=FLOW)
        post(
            connection,
            "house",
            "sale",
            table,
            run_id="r",
            created_by="t",
            posted_at=datetime.fromisoformat("2026-05-01"),
        )
        booked = connection.execute("SELECT effective_for, booked_on FROM ledger.posting").fetchall()
    assert booked == [(date(2025, 12, 24), date(2026, 4, 1))]


def test_one_bad_row_among_many_refuses_them_all_by_copy_too(warehouse_url: str) -> None:
    _set(warehouse_url, "closed")
    with (
        psycopg.connect(warehouse_url) as connection,
        pytest.raises(psycopg.errors.RaiseException, match="2026-03"),
        connection.cursor().copy(f"COPY ledger.posting {_COLUMNS} FROM STDIN") as copy,
    ):
        for leg in range(1, 500):
            day = date(2026, 3, 31) if leg == 250 else date(2026, 4, 2)
            copy.write_row(("sale", "d", 1, 2026, 1, leg, "house", 1, 2, 5, day, day, "goodwill"))


@pytest.mark.parametrize(
    ("before", "after"), [("closing", "open"), ("closed", "open"), ("closed", "closing"), ("open", "closed")]
)
def test_a_period_moves_one_step_forward_and_never_back(warehouse_url: str, before: str, after: str) -> None:
    _set(warehouse_url, before)
    with pytest.raises(psycopg.errors.RaiseException, match="never back"):
        _set(warehouse_url, after)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM ref.period",
        "TRUNCATE ref.period",
        "UPDATE ref.period SET starts_on = '2026-05-01'",
        "UPDATE ref.period SET entity = 'other'",
        "DELETE FROM ledger.period_event",
        "UPDATE ledger.period_event SET moved_by = 'x'",
        "TRUNCATE ledger.period_event",
    ],
)
def test_a_period_and_what_was_said_of_it_is_never_taken_back(warehouse_url: str, statement: str) -> None:
    _set(warehouse_url, "closed")
    assert _refused(warehouse_url, statement, ())


def test_the_pipeline_can_neither_begin_nor_finish_a_close(warehouse_url: str) -> None:
    for statement in (
        "INSERT INTO ref.period VALUES ('house', '2026-03-01', 'closing')",
        "UPDATE ref.period SET state = 'closed'",
        "INSERT INTO ledger.period_event VALUES ('house', '2026-03-01', 'closing', 'me', '2026-04-01', NULL, NULL)",
    ):
        with psycopg.connect(warehouse_url) as connection:
            connection.execute("SET LOCAL ROLE tallyback_pipeline")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


def test_a_record_that_does_not_hash_to_what_it_says_is_refused(warehouse_url: str) -> None:
    insert = "INSERT INTO ledger.period_event VALUES ('house', '2026-03-01', 'closed', 'Ann', '2026-04-01', 'x', 'y')"
    with psycopg.connect(warehouse_url) as connection, pytest.raises(psycopg.errors.CheckViolation):
        connection.execute(insert)


def test_who_posts_while_the_period_is_being_closed_is_waited_for(warehouse_url: str) -> None:
    """No entry slips in between the last look at the books and the lock, even from a writer that takes no lock."""
    _set(warehouse_url, "closing")
    is_closed = threading.Event()

    def close() -> None:
        _set(warehouse_url, "closed")
        is_closed.set()

    with psycopg.connect(warehouse_url) as writer:
        writer.execute(POSTING, ("adjustment", date(2026, 3, 31)))
        closer = threading.Thread(target=close)
        closer.start()
        assert not is_closed.wait(0.3)
        writer.commit()
    closer.join(10)
    assert is_closed.is_set()
    assert _refused(warehouse_url, POSTING, ("revaluation", date(2026, 3, 31)))


def test_months_are_counted_over_the_end_of_a_year() -> None:
    assert (next_month(date(2025, 12, 1)), last_day(date(2026, 2, 1))) == (date(2026, 1, 1), date(2026, 2, 28))
    states = {MARCH: PeriodState.CLOSED, date(2026, 4, 1): PeriodState.CLOSING, date(2026, 5, 1): PeriodState.OPEN}
    sales, adjustments = (locked_months(states, kind) for kind in ("sale", "adjustment"))
    days = [date(2025, 1, 7), date(2026, 3, 9), date(2026, 4, 9), date(2026, 5, 9)]
    assert list(booked_days(days, sales, closed_through(states)).values()) == [date(2026, 5, 1)] * 3 + [days[3]]
    assert list(booked_days(days, adjustments, closed_through(states)).values()) == [date(2026, 4, 1)] * 2 + days[2:]
