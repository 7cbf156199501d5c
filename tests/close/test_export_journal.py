"""The journal for the general ledger: worked by hand, balanced, and the same bytes whenever it is asked for."""

from __future__ import annotations

import csv
import hashlib
import json
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest

from etl.core.errors import Stop
from etl.export_journal import HEADER, export_journal, load_map
from tests.accrue.books import version, world
from tests.adjust.desk import adjusted
from tests.close.months import APRIL, MARCH, accrued, close_month, desk
from tests.ledger.test_post import _flow, _post

ON = date(2026, 4, 5)
FACTS = world([version("3.1005"), version("3.1005", "approved", version_no=2, effective_on=date(2026, 3, 9))])
DOLLARS = replace(
    FACTS,
    versions=(version("10", "approved", currency="USD"),),
    rates={("USD", on): Decimal("1.25") for on in (MARCH, date(2026, 3, 2), date(2026, 3, 31), APRIL)},
)
MAP = """kind,gl_account,statement
commission_expected,9000,memorandum
commission_expected_contra,9001,memorandum
cashback_expected_cost,9002,memorandum
cashback_pending,9003,memorandum
commission_receivable,1400,asset
commission_income,8400,income
cashback_cost,4700,cost
cashback_confirmed,1700,liability
cashback_payable,1700,liability
border,=1590,asset
fx_position,1591,asset
bank,1200,asset
payout_in_flight,1360,asset
"""


def _map(url: str, folder: Path, text: str = MAP) -> None:
    path = folder / "gl.csv"
    path.write_text(text)
    load_map(desk(url, folder, ON), path)


def _export(url: str, folder: Path, month: date = MARCH, **options: bool) -> tuple[bytes, dict[str, object]]:
    out = folder / "out"
    export_journal(desk(url, folder, ON), month, out, **options)
    name = f"journal-house-{month:%Y-%m}{'.draft' if options else ''}"
    return (out / f"{name}.csv").read_bytes(), json.loads((out / f"{name}.manifest.json").read_text())


def _rows(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(content.decode().splitlines()))


def _assert_balanced(content: bytes) -> None:
    sums: dict[str, list[Decimal]] = {}
    for row in _rows(content):
        document = sums.setdefault(row["document_number"], [Decimal(0), Decimal(0)])
        document[0] += Decimal(row["debit"]) - Decimal(row["credit"])
        document[1] += Decimal(row["base_debit"] or 0) - Decimal(row["base_credit"] or 0)
    assert sums
    assert all(document == [0, 0] for document in sums.values())


def test_a_day_of_sales_is_one_balanced_document(warehouse_url: str, tmp_path: Path) -> None:
    accrued(warehouse_url, tmp_path, FACTS, date(2026, 3, 20))
    close_month(warehouse_url, tmp_path, MARCH, ON)
    _map(warehouse_url, tmp_path)
    content, manifest = _export(warehouse_url, tmp_path)
    rows = _rows(content)
    assert list(rows[0]) == HEADER
    named = [
        {"document_number": "house-20260309-EUR", "line_no": str(place), "booked_on": "2026-03-09", "currency": "EUR"}
        for place in range(1, 6)
    ]
    assert [{name: row[name] for name in named[0]} for row in rows] == named
    # What was pending on the first of March is memorandum, and so is taking it back on the ninth.
    columns = ("gl_account", "debit", "credit", "base_debit", "base_credit", "kinds")
    assert [tuple(row[name] for name in columns) for row in rows] == [
        ("1400", "3.1005", "0.0000", "3.1005", "0.0000", "commission_receivable"),
        ("1700", "1.5500", "3.1000", "1.5500", "3.1000", "cashback_confirmed cashback_payable"),
        ("4700", "1.5500", "0.0000", "1.5500", "0.0000", "cashback_cost"),
        ("8400", "0.0000", "3.1005", "0.0000", "3.1005", "commission_income"),
        ("'=1590", "1.5500", "1.5500", "1.5500", "1.5500", "border"),
    ]
    assert hashlib.sha256(content).hexdigest() == manifest["sha256"]
    assert (manifest["line_count"], manifest["document_count"], manifest["state"]) == (5, 1, "closed")
    assert manifest["totals"] == {
        "EUR": {"debit": "7.7505", "credit": "7.7505", "base_debit": "7.7505", "base_credit": "7.7505"}
    }


def test_each_currency_balances_and_so_does_the_base(warehouse_url: str, tmp_path: Path) -> None:
    accrued(warehouse_url, tmp_path, DOLLARS, date(2026, 3, 20))
    # Money at the bank in dollars, whose value in euro nobody said.
    paid = _flow(
        "p1", 700, "2026-03-20", debit_kind="payout_in_flight", credit_kind="bank", asset="USD/2", base_amount=None,
        rate=None, component="payout",
    )  # fmt: skip
    _post(warehouse_url, paid, kind="revaluation")
    close_month(warehouse_url, tmp_path, MARCH, ON)
    _map(warehouse_url, tmp_path)
    content, manifest = _export(warehouse_url, tmp_path)
    _assert_balanced(content)
    assert manifest["line_count_without_base"] == 2
    rows = {(row["gl_account"], row["currency"], row["booked_on"]): row for row in _rows(content)}
    receivable = rows["1400", "USD", "2026-03-01"]
    assert (receivable["debit"], receivable["base_debit"]) == ("10.0000", "8.0000")
    assert rows["1200", "USD", "2026-03-20"]["base_credit"] == ""
    assert rows["1591", "EUR", "2026-03-01"]["debit"] == "4.0000"


def test_exported_again_it_is_the_same_bytes_whatever_came_since(warehouse_url: str, tmp_path: Path) -> None:
    accrued(warehouse_url, tmp_path, FACTS, date(2026, 3, 20))
    close_month(warehouse_url, tmp_path, MARCH, ON)
    _map(warehouse_url, tmp_path)
    first = _export(warehouse_url, tmp_path)
    late = replace(FACTS, versions=(*FACTS.versions, version("4", "approved", line_id="b")))
    accrued(warehouse_url, tmp_path, late, date(2026, 4, 8))
    _map(warehouse_url, tmp_path, MAP.replace("1400", "1401").replace("memorandum", "asset"))
    adjusted(desk(warehouse_url, tmp_path, date(2026, 4, 9)), "goodwill", "member-1", "1.00", on="2026-04-09")
    assert _export(warehouse_url, tmp_path) == first
    close_month(warehouse_url, tmp_path, APRIL, date(2026, 5, 2))
    with pytest.raises(Stop, match="no account for goodwill_cost"):
        _export(warehouse_url, tmp_path, APRIL)
    _map(warehouse_url, tmp_path, MAP.replace("1400", "1401") + "goodwill_cost,4800,cost\n")
    content, _ = _export(warehouse_url, tmp_path, APRIL)
    _assert_balanced(content)
    assert "1401" in content.decode()


def test_books_that_changed_behind_it_are_not_exported_again(warehouse_url: str, tmp_path: Path) -> None:
    accrued(warehouse_url, tmp_path, FACTS, date(2026, 3, 20))
    close_month(warehouse_url, tmp_path, MARCH, ON)
    _map(warehouse_url, tmp_path)
    _export(warehouse_url, tmp_path)
    with psycopg.connect(warehouse_url) as connection:
        connection.execute("ALTER TABLE ledger.posting DISABLE TRIGGER USER")
        connection.execute("UPDATE ledger.posting SET amount = amount + 1 WHERE component = 'commission'")
    with pytest.raises(Stop, match="was exported with sha256"):
        _export(warehouse_url, tmp_path)


def test_an_open_month_is_a_draft_or_nothing(warehouse_url: str, tmp_path: Path) -> None:
    accrued(warehouse_url, tmp_path, FACTS, date(2026, 3, 20))
    _map(warehouse_url, tmp_path)
    with pytest.raises(Stop, match="close it first"):
        _export(warehouse_url, tmp_path)
    content, manifest = _export(warehouse_url, tmp_path, is_draft=True)
    _assert_balanced(content)
    assert manifest["state"] == "open"
    assert not (tmp_path / "out" / "journal-house-2026-03.csv").exists()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("border,=1590,asset\n", ""), "no account for border"),
        (("9003,memorandum", "9003,liability"), "cashback_expected_cost and cashback_pending must both be memorandum"),
        (("bank,1200,asset", "border,1200,asset"), "border is mapped twice"),
        (("1200,asset", "1200,equity"), "must be one of asset, liability, income, cost, memorandum"),
    ],
)
def test_a_map_that_is_not_whole_is_refused(
    warehouse_url: str, tmp_path: Path, change: tuple[str, str], named: str
) -> None:
    accrued(warehouse_url, tmp_path, FACTS, date(2026, 3, 20))
    with pytest.raises(Stop, match=named):
        _map(warehouse_url, tmp_path, MAP.replace(*change))
    with pytest.raises(Stop, match=r"no account for .*cashback_payable"):
        _export(warehouse_url, tmp_path, is_draft=True)


def test_a_map_loaded_twice_changes_nothing_the_second_time(warehouse_url: str, tmp_path: Path) -> None:
    _map(warehouse_url, tmp_path)
    assert load_map(desk(warehouse_url, tmp_path, ON), tmp_path / "gl.csv").count("changed") == 0
