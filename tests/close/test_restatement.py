"""What changed for March since March was closed, worked by hand: who, how much and why."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest

from etl.accrue import accrue
from etl.core.errors import Stop
from etl.core.safe_csv import csv_bytes
from etl.restate import CAUSES, Restatement, restate
from tests.accrue.books import sale, version, world, write
from tests.accrue.naive import Version, World
from tests.close.months import MARCH, close_month, desk
from tests.ledger.test_post import _flow, _post

CLOSED_ON, LATE = date(2026, 4, 3), date(2026, 4, 8)
SALES = tuple(sale(f"shop_a:{place}") for place in range(1, 8))


def _row(place: int, commission: str, status: str, on: str, number: int = 1, **changes: object) -> Version:
    return version(
        commission, status, sale_id=f"shop_a:{place}", transaction_id=str(place), version_no=number,
        effective_on=date.fromisoformat(on), **changes,
    )  # fmt: skip


def _accrue(url: str, folder: Path, facts: World, on: date, late: tuple[Version, ...] = ()) -> None:
    """Accrue the facts; the late versions were observed an hour before, all others at the first of March."""
    write(url, facts)
    with psycopg.connect(url) as connection:
        for each in late:
            connection.execute(
                "UPDATE ops.transaction_version SET observed_at = %s WHERE transaction_id = %s AND version_no = %s",
                (datetime.combine(on, time(8)), each.transaction_id, each.version_no),
            )
    accrue(desk(url, folder, on, "pipeline"), on)


def _small(url: str, folder: Path) -> Restatement:
    """One sale of each cause: 1 reversed, 2 approved, 3 new, 4 decided, 5 its click came, 6 its rate came, 7 grown."""
    first = (
        _row(1, "10", "approved", "2026-03-05"),
        _row(2, "20", "pending", "2026-03-06"),
        _row(4, "40", "approved", "2026-03-07"),
        _row(5, "50", "approved", "2026-03-08"),
        _row(6, "60", "approved", "2026-03-09", currency="USD"),
        _row(7, "70", "pending", "2026-03-10"),
    )
    unmatched = replace(SALES[4], outcome="unmatched", member_id=None, clicked_at=None)
    facts = world(first, sales=(*SALES[:2], SALES[3], unmatched, *SALES[5:]))
    _accrue(url, folder, facts, date(2026, 3, 20))
    rates = {("USD", date(2026, 3, 1)): Decimal("1.25"), ("USD", date(2026, 3, 2)): Decimal("1.25")}
    with psycopg.connect(
        url
    ) as connection:  # Only what has a rate may be closed: here the person closes past the check.
        connection.execute("INSERT INTO ref.period VALUES ('house', '2026-03-01', 'closing')")
        connection.execute("UPDATE ref.period SET state = 'closed'")
    late = (
        _row(1, "10", "declined", "2026-03-30", 2),
        _row(2, "20", "approved", "2026-03-31", 2),
        _row(3, "30", "approved", "2026-03-29"),
        _row(7, "75", "pending", "2026-03-31", 2),
    )
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO ops.decision VALUES ('d1', 'no_cashback', 'shop_a:4', NULL, NULL, 'Ann', %s, 'his own', 'e')",
            (datetime.combine(LATE, time(8)),),
        )
    decided = replace(SALES[3], earns_cashback=False)
    later = world((*first, *late), sales=(*SALES[:3], decided, *SALES[4:]), rates=rates)
    _accrue(url, folder, later, LATE, late)
    return restate(desk(url, folder, LATE), MARCH)


def test_every_change_has_its_cause_and_its_amount(warehouse_url: str, tmp_path: Path) -> None:
    found = _small(warehouse_url, tmp_path)
    changed = {(each.kind, each.currency, each.cause): (each.change, each.document_count) for each in found.causes}
    assert {each.partner_account for each in found.causes} == {"shop_a"}
    expected = {
        ("commission_receivable", "EUR", "late_reversal"): (Decimal("-10.0000"), 1),
        ("cashback_payable", "EUR", "late_reversal"): (Decimal("5.00"), 1),
        ("commission_expected", "EUR", "late_approval"): (Decimal("-20.0000"), 1),
        ("commission_receivable", "EUR", "late_approval"): (Decimal("20.0000"), 1),
        ("cashback_pending", "EUR", "late_approval"): (Decimal("10.00"), 1),
        ("cashback_payable", "EUR", "late_approval"): (Decimal("-10.00"), 1),
        ("commission_receivable", "EUR", "new_sale"): (Decimal("30.0000"), 1),
        ("cashback_payable", "EUR", "new_sale"): (Decimal("-15.00"), 1),
        ("cashback_payable", "EUR", "decision"): (Decimal("20.00"), 1),
        ("cashback_payable", "EUR", "match_or_rule"): (Decimal("-25.00"), 1),
        ("cashback_payable", "EUR", "rate"): (Decimal("-24.00"), 1),
        ("cashback_cost", "USD", "rate"): (Decimal("30.0000"), 1),
        ("commission_expected", "EUR", "late_change"): (Decimal("5.0000"), 1),
    }
    assert {key: changed[key] for key in expected} == expected
    # The dollars of the sale whose rate came are taken back and booked with it: nothing of them changed.
    assert ("commission_receivable", "USD", "rate") not in changed
    assert {cause for _, _, cause in changed} <= set(CAUSES)


def test_closed_and_change_add_up_to_what_the_books_say_of_the_month_now(warehouse_url: str, tmp_path: Path) -> None:
    found = _small(warehouse_url, tmp_path)
    with psycopg.connect(warehouse_url) as connection:
        rows = connection.execute(
            "SELECT kind, currency, sum(amount) FILTER (WHERE booked_on < '2026-04-01'), sum(amount) FROM mart.movement"
            " WHERE effective_for BETWEEN '2026-03-01' AND '2026-03-31' AND kind NOT IN ('border', 'fx_position')"
            " GROUP BY 1, 2"
        ).fetchall()
    now = {(kind, currency): (closed or 0, total) for kind, currency, closed, total in rows if (closed or 0) != total}
    assert {(each.kind, each.currency): (each.closed, each.now) for each in found.balances} == now
    summed = {each.kind: Decimal(0) for each in found.balances}
    for cause in found.causes:
        summed[cause.kind] = summed.get(cause.kind, Decimal(0)) + cause.change
    for balance in found.balances:
        assert summed[balance.kind] == sum(each.change for each in found.balances if each.kind == balance.kind)


def test_it_opens_to_documents_as_json_and_as_csv(warehouse_url: str, tmp_path: Path) -> None:
    found = _small(warehouse_url, tmp_path)
    said = json.loads(json.dumps(found.as_json()))
    reversals = [row for row in said["documents"] if row["cause"] == "late_reversal"]
    assert {(row["document_id"], row["effective_from"], row["booked_on"]) for row in reversals} == {
        ("shop_a:1", "2026-03-30", "2026-04-01")
    }
    rows = list(csv.DictReader(io.StringIO(found.as_csv().decode())))
    assert len(rows) == len(said["documents"]) > 10
    assert sum(Decimal(row["amount"]) for row in rows if row["kind"] == "cashback_payable") == sum(
        each.change for each in found.balances if each.kind == "cashback_payable"
    )


def test_other_documents_are_their_own_cause(warehouse_url: str, tmp_path: Path) -> None:
    write(warehouse_url, world(()))
    close_month(warehouse_url, tmp_path, MARCH, CLOSED_ON)
    _post(
        warehouse_url,
        _flow("g1", 250, "2026-03-31", debit_kind="goodwill_cost", credit_kind="cashback_payable", asset="EUR/2"),
        kind="adjustment",
    )
    found = restate(desk(warehouse_url, tmp_path, LATE), MARCH)
    assert {(each.kind, each.cause, each.change) for each in found.causes} == {
        ("goodwill_cost", "adjustment", Decimal("2.50")),
        ("cashback_payable", "adjustment", Decimal("-2.50")),
    }


def test_nothing_late_restates_nothing_and_an_open_month_is_refused(warehouse_url: str, tmp_path: Path) -> None:
    with pytest.raises(Stop, match="is open"):
        restate(desk(warehouse_url, tmp_path, LATE), MARCH)
    close_month(warehouse_url, tmp_path, MARCH, CLOSED_ON)
    found = restate(desk(warehouse_url, tmp_path, LATE), MARCH)
    assert (found.balances, found.causes, found.documents.num_rows) == ((), (), 0)


def test_no_text_of_a_csv_is_a_formula_and_no_number_becomes_text() -> None:
    rows = [["=1+1", Decimal("-0.00000010"), None, date(2026, 3, 1)], ["-x", -5, 'a,"b"', date(2026, 3, 2)]]
    assert csv_bytes(["a", "@b", "c", "d"], rows).decode() == (
        'a,\'@b,c,d\r\n\'=1+1,-0.00000010,,2026-03-01\r\n\'-x,-5,"a,""b""",2026-03-02\r\n'
    )
