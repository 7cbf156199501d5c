"""Commission that will never come, worked by hand: what a write-off books, and what gives it back."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from etl.core.context import Context
from etl.core.decisions import BreakFilter, DecisionKind
from etl.decide import Verdict, decide, undo
from etl.remit import remit
from etl.verify import verify
from tests.accrue import naive
from tests.accrue.books import balances, context, read, sale, version, world
from tests.remit.statements import LUMP, line, load, statement, stored
from tests.remit.worked import APPROVED, DAY, NOW, ONE, again, breaks, outcomes, run

LOST = Verdict(DecisionKind.WRITE_OFF, "the shop is bankrupt")
SHORT = statement(line("commission", "8.00", transaction_id="1"), net="8", gross="8", bank_amount="8")
REST = statement(
    line("commission", "2.00", transaction_id="1"), remittance_id="R-2", net="2", gross="2", bank_amount="2",
    received_on="2026-06-20",
)  # fmt: skip
# 23:30 UTC is the next day in Berlin, the zone of the books.
LATE = datetime.fromisoformat("2026-06-09T23:30")


def clerk(url: str, folder: Path, at: datetime = LATE) -> Context:
    return replace(context(url, folder, "clerk", at), actor="Clara")


def given_up(url: str) -> dict[tuple[str, str, date], int]:
    """Return what write-offs posted: (document, account) to amounts by day."""
    return {(key[0], key[1], key[4]): amount for key, amount in read(url, "write_off").items()}


def short(url: str, folder: Path, facts: naive.World | None = None) -> naive.World:
    """Write off the 2 of 10 that were not paid."""
    facts = facts or world([APPROVED])
    run(url, folder, facts, *SHORT)
    assert breaks(url) == [("remittance_short", "1", Decimal("2.0000"))]
    decide(clerk(url, folder), DAY, BreakFilter(kind="remittance_short"), LOST)
    run(url, folder, facts)
    return facts


def test_a_write_off_books_bad_debt_and_the_break_is_gone(warehouse_url: str, tmp_path: Path) -> None:
    short(warehouse_url, tmp_path)
    assert given_up(warehouse_url) == {
        ("shop_a:1", "bad_debt", date(2026, 6, 10)): 20000,
        ("shop_a:1", "commission_receivable", date(2026, 6, 10)): -20000,
    }
    everything = {**read(warehouse_url), **read(warehouse_url, "remittance"), **read(warehouse_url, "write_off")}
    assert ("commission_receivable", "EUR/4") not in balances(everything)
    assert breaks(warehouse_url) == []
    assert outcomes(warehouse_url, tmp_path) == {"shop_a:1": ("written_off", 0, None)}
    again(warehouse_url, tmp_path)


def test_what_is_paid_after_all_is_given_up_no_more_from_that_day(warehouse_url: str, tmp_path: Path) -> None:
    facts = short(warehouse_url, tmp_path)
    load(context(warehouse_url, tmp_path, "rest", datetime(2026, 6, 21)), REST, name="rest.csv")
    run(warehouse_url, tmp_path, facts)
    assert given_up(warehouse_url) == {
        ("shop_a:1", "bad_debt", date(2026, 6, 10)): 20000,
        ("shop_a:1", "commission_receivable", date(2026, 6, 10)): -20000,
        ("shop_a:1", "bad_debt", date(2026, 6, 20)): -20000,
        ("shop_a:1", "commission_receivable", date(2026, 6, 20)): 20000,
    }
    assert outcomes(warehouse_url, tmp_path) == {"shop_a:1": ("paid", 0, None)}
    again(warehouse_url, tmp_path)
    # More approved later is another question: not given up by what was said of the first ten.
    more = version("13", "approved", version_no=2, effective_on=date(2026, 6, 25))
    run(warehouse_url, tmp_path, world([APPROVED, more]))
    assert balances(read(warehouse_url, "write_off")) == {}
    assert breaks(warehouse_url) == [("remittance_short", "1", Decimal("3.0000"))]
    again(warehouse_url, tmp_path)


@pytest.mark.parametrize(
    ("changed", "left"),
    [
        (version("10", "declined", version_no=2, effective_on=date(2026, 6, 15)), 0),
        # It was so before the write-off, and we learnt of it after.
        (version("9", "approved", version_no=2, effective_on=date(2026, 5, 15)), 10000),
    ],
)
def test_what_is_declined_after_all_is_given_up_no_more(
    warehouse_url: str, tmp_path: Path, changed: naive.Version, left: int
) -> None:
    short(warehouse_url, tmp_path)
    run(warehouse_url, tmp_path, world([APPROVED, changed]))
    assert balances(read(warehouse_url, "write_off")).get(("bad_debt", "EUR/4"), 0) == left
    days = {day for _, kind, day in given_up(warehouse_url) if kind == "bad_debt"}
    assert days == {date(2026, 6, 10)} | ({changed.effective_on} if changed.effective_on.month == 6 else set())
    again(warehouse_url, tmp_path)


def test_a_write_off_undone_is_as_if_it_had_never_been(warehouse_url: str, tmp_path: Path) -> None:
    facts = short(warehouse_url, tmp_path)
    ((name,),) = stored(warehouse_url, "SELECT decision_id FROM ops.decision")
    undo(clerk(warehouse_url, tmp_path), DAY, str(name), "they will pay in July")
    run(warehouse_url, tmp_path, facts)
    assert given_up(warehouse_url) == {}
    assert stored(warehouse_url, "SELECT count(*) FROM ledger.posting WHERE document_kind = 'write_off'") == [(2,)]
    assert breaks(warehouse_url) == [("remittance_short", "1", Decimal("2.0000"))]


def test_unpaid_for_ninety_days_is_a_break_that_can_be_written_off(warehouse_url: str, tmp_path: Path) -> None:
    never = version("5", "approved", sale_id="shop_a:2", transaction_id="2")
    facts = world([APPROVED, never], sales=(sale(), sale("shop_a:2")))
    run(warehouse_url, tmp_path, facts, *statement(ONE))
    assert breaks(warehouse_url) == []
    here = context(warehouse_url, tmp_path, "later", NOW)
    remit(here, date(2026, 6, 10))
    assert breaks(warehouse_url) == [("remittance_unpaid", "2", Decimal("5.0000"))]
    decide(clerk(warehouse_url, tmp_path), DAY, BreakFilter(kind="remittance_unpaid"), LOST)
    remit(here, date(2026, 6, 10))
    assert breaks(warehouse_url) == []
    assert outcomes(warehouse_url, tmp_path)["shop_a:2"] == ("written_off", 0, None)
    # A lump sum that would pay the oldest passes it by: it is paid by name, or not at all.
    lump = statement(remittance_id="R-9", net="5", gross="5", bank_amount="5", received_on="2026-06-20", **LUMP)
    load(context(warehouse_url, tmp_path, "lump", datetime(2026, 6, 21)), lump, name="lump.csv")
    remit(here, date(2026, 6, 25))
    assert breaks(warehouse_url) == [("remittance_unallocated", "R-9", Decimal("5.0000"))]
    assert [check for check in verify(here, date(2026, 6, 25)) if not check.is_ok] == []


def test_a_write_off_goes_with_the_base_amount_the_commission_came_with(warehouse_url: str, tmp_path: Path) -> None:
    usd = version("10", "approved", currency="USD")
    rates = {
        ("USD", on): Decimal(rate)
        for on, rate in ((date(2026, 2, 27), "1.25"), (date(2026, 3, 2), "1.30"), (date(2026, 6, 12), "1.10"))
    }
    rows = statement(
        line("commission", "8.00", transaction_id="1"), currency="USD", net="8", gross="8", bank_amount="8",
        bank_currency="USD",
    )  # fmt: skip
    facts = world([usd], rates=rates)
    run(warehouse_url, tmp_path, facts, *rows)
    decide(clerk(warehouse_url, tmp_path), DAY, BreakFilter(kind="remittance_short"), LOST)
    run(warehouse_url, tmp_path, facts)
    query = "SELECT amount, currency, base_amount FROM mart.posting WHERE document_kind = 'write_off'"
    # 2.00 at the sale's 1.25.
    assert stored(warehouse_url, query) == [(Decimal("2.0000"), "USD", Decimal("1.6000"))]
