"""Random histories with closes at random points: closed months stay, and the books by effective_for are the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import psycopg
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from etl.accrue import accrue
from etl.close import Proof, begin, check, finish
from etl.core.closed_books import closed_month_faults
from etl.core.context import Context
from etl.core.errors import Stop
from etl.core.period import last_day, next_month
from etl.core.warehouse import Warehouse
from etl.restate import restate
from etl.revalue import revalue
from etl.verify import verify
from tests.accrue import naive
from tests.accrue.books import read, write
from tests.accrue.test_properties import FIRST, LAST, worlds
from tests.close.months import booked, desk
from tests.close.test_as_of import _empty as empty

END = date(2026, 7, 10)
# A month can only be closed when all its rates are known: one before everything, and one after each month.
ENOUGH = {
    (currency, on): Decimal(rate)
    for currency, rate in {"USD": "1.1", "JPY": "160.5", "KWD": "0.34"}.items()
    for on in (date(2026, 2, 20), date(2026, 4, 1), date(2026, 5, 1), date(2026, 6, 1), date(2026, 7, 1))
}
Snapshot = tuple[dict[tuple[object, ...], object], list[tuple[object, ...]]]


def _snapshot(url: str, month: date) -> Snapshot:
    """Return all that is booked in a month: sums by account, and every entry with its hash."""
    with psycopg.connect(url) as connection:
        entries = connection.execute(
            "SELECT year, number, hash FROM ledger.journal_entry WHERE date_trunc('month', booked_on) = %s"
            " ORDER BY year, number",
            (month,),
        ).fetchall()
    return booked(url, month), entries


def _proved_elsewhere(_context: Context, _day: date) -> Sequence[Proof]:
    return ()


def _close(url: str, folder: Path, month: date, on: date) -> bool:
    """Try to close a month; what blocks it (a rate that is not known yet) leaves it closing."""
    begin(desk(url, folder, on), month)
    try:
        revalue(desk(url, folder, on), month)
        finish(desk(url, folder, on), month, _proved_elsewhere)
    except Stop:
        return False
    return True


@given(worlds(), st.lists(st.tuples(st.integers(0, 95), st.booleans()), min_size=2, max_size=4), st.data())
@settings(
    max_examples=6,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_closed_months_stay_and_the_books_are_the_same_whatever_was_closed_between(
    warehouse_url: str, tmp_path: Path, facts: naive.World, steps: list[tuple[int, bool]], data: st.DataObject
) -> None:
    empty(warehouse_url)
    # When programs pay is configuration, which stays as it is.
    facts = replace(facts, rates={**ENOUGH, **facts.rates}, program_payable_on={})
    closed: dict[date, Snapshot] = {}
    month = FIRST

    def compare() -> None:
        assert {each: _snapshot(warehouse_url, each) for each in closed} == closed

    for offset, is_closing in sorted(steps):
        day = FIRST + timedelta(days=offset)
        versions = tuple(each for each in facts.versions if data.draw(st.booleans()))
        told = {each.transaction_id for each in versions}
        part = replace(
            facts,
            versions=versions,
            # Nothing is allocated to a transaction that nobody told of.
            payments=tuple(each for each in facts.payments if each.transaction_id in told),
            sales=tuple(
                each if data.draw(st.booleans()) else replace(each, outcome="waiting", member_id=None, clicked_at=None)
                for each in facts.sales
            ),
            rates={key: rate for key, rate in facts.rates.items() if key in ENOUGH or data.draw(st.booleans())},
        )
        write(warehouse_url, part)
        accrue(desk(warehouse_url, tmp_path, day, "pipeline"), day)
        assert read(warehouse_url) == naive.books(part, day)
        compare()
        if is_closing and day > last_day(month) and _close(warehouse_url, tmp_path, month, day):
            closed[month] = _snapshot(warehouse_url, month)
            month = next_month(month)
    write(warehouse_url, facts)
    accrue(desk(warehouse_url, tmp_path, END, "pipeline"), LAST)
    # "The same books": sums by document, account and effective_for, whatever was closed in between.
    assert read(warehouse_url) == naive.books(facts, LAST)
    assert accrue(desk(warehouse_url, tmp_path, END, "again"), LAST).count("postings") == 0
    compare()
    with Warehouse(warehouse_url).transaction() as connection:
        assert closed_month_faults(connection, "house") == (len(closed), [])
    for each in closed:
        _restated(warehouse_url, tmp_path, each)


def _restated(url: str, folder: Path, month: date) -> None:
    """What changed since is, account by account, what is for the month and was booked after it."""
    found = restate(desk(url, folder, END), month)
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT kind, currency, sum(amount) FROM mart.movement WHERE date_trunc('month', effective_for) = %s"
            " AND date_trunc('month', booked_on) > %s AND kind NOT IN ('border', 'fx_position')"
            " GROUP BY 1, 2 HAVING sum(amount) <> 0",
            (month, month),
        ).fetchall()
    changed: dict[tuple[str, str], Decimal] = {}
    for each in found.causes:
        key = (each.kind, each.currency)
        changed[key] = changed.get(key, Decimal(0)) + each.change
    assert {key: amount for key, amount in changed.items() if amount} == {row[:2]: row[2] for row in rows}


def test_histories_do_close_months(warehouse_url: str, tmp_path: Path) -> None:
    """The property above would say nothing if no month of it were ever closed."""
    for month in (FIRST, next_month(FIRST)):
        assert _close(warehouse_url, tmp_path, month, END)
    blocking = [
        each.name for each in check(desk(warehouse_url, tmp_path, END), date(2026, 5, 1), verify) if not each.is_ok
    ]
    assert blocking == []
