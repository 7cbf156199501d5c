"""Open items in other currencies at the closing rate: worked by hand, taken back the day after, posted once."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest

from etl.close import begin, check, finish
from etl.core.errors import Stop
from etl.core.revaluation import open_items
from etl.core.warehouse import Warehouse
from etl.revalue import revalue
from etl.verify import verify
from tests.accrue.books import rule, version, world
from tests.accrue.naive import World
from tests.adjust.desk import adjusted
from tests.close.months import APRIL, MARCH, MAY, accrued, booked, desk
from tests.ledger.test_post import _flow, _post

ON = date(2026, 4, 5)
RATES = {
    ("USD", date(2026, 3, 1)): Decimal("1.25"),
    ("USD", date(2026, 3, 31)): Decimal("1.20"),
    ("USD", date(2026, 4, 1)): Decimal("1.30"),
}
RECEIVABLE = ("open_item_valuation", "commission_receivable:shop_a:USD", "EUR/4")


def _dollars(**changes: object) -> World:
    return world([version("10", "approved", currency="USD")], rates=RATES, **changes)


def _closing(url: str, folder: Path, facts: World) -> None:
    accrued(url, folder, facts, date(2026, 4, 2))
    begin(desk(url, folder, ON), MARCH)


def test_a_receivable_gains_what_the_dollar_gained_and_gives_it_back_the_day_after(
    warehouse_url: str, tmp_path: Path
) -> None:
    # 10 USD came in at 1.25, that is 8 EUR. At 1.20 they are 8.3333.
    _closing(warehouse_url, tmp_path, _dollars())
    result = revalue(desk(warehouse_url, tmp_path, ON), MARCH)
    assert (result.count("items"), result.count("postings")) == (1, 2)
    assert result.note == "commission_receivable:shop_a:USD +0.3333 EUR"
    assert booked(warehouse_url, MARCH)[RECEIVABLE] == 3333
    assert booked(warehouse_url, MARCH)["fx_unrealised", "", "EUR/4"] == -3333
    assert booked(warehouse_url, APRIL) == {RECEIVABLE: -3333, ("fx_unrealised", "", "EUR/4"): 3333}
    with psycopg.connect(warehouse_url) as connection:
        days = connection.execute(
            "SELECT effective_for, booked_on, amount, base_amount FROM ledger.posting"
            " WHERE document_kind = 'revaluation' ORDER BY entry_no"
        ).fetchall()
    ultimo = date(2026, 3, 31)
    assert days == [(ultimo, ultimo, 3333, Decimal("0.3333")), (APRIL, APRIL, 3333, Decimal("0.3333"))]
    assert revalue(desk(warehouse_url, tmp_path, ON), MARCH).count("postings") == 0


def test_what_we_owe_members_in_dollars_costs_more(warehouse_url: str, tmp_path: Path) -> None:
    # Half of 10 USD is owed: 4 EUR at 1.25, 4.1667 at 1.20.
    _closing(warehouse_url, tmp_path, _dollars(rules=(rule(currency="USD"),)))
    revalue(desk(warehouse_url, tmp_path, ON), MARCH)
    assert booked(warehouse_url, MARCH)["open_item_valuation", "cashback_payable:USD", "EUR/4"] == -1667
    assert booked(warehouse_url, MARCH)["fx_unrealised", "", "EUR/4"] == 1667 - 3333


def test_what_was_paid_of_it_goes_at_the_average(warehouse_url: str, tmp_path: Path) -> None:
    accrued(warehouse_url, tmp_path, _dollars(), date(2026, 4, 2))
    received = {"debit_kind": "bank", "debit_owner": "b", "credit_kind": "commission_receivable", "asset": "USD/4"}
    _post(
        warehouse_url,
        _flow("r1", 40_000, "2026-03-25", **received, base_amount=Decimal("3.30"), rate=Decimal("0.825")),
        kind="remittance",
    )
    with Warehouse(warehouse_url).transaction() as connection:
        bank, receivable = open_items(connection, "house", "EUR", MARCH)
    # 6 of 10 USD are left, carried at 6/10 of 8 EUR.
    assert (receivable.balance, receivable.carried, receivable.value) == (Decimal(6), Decimal("4.8"), Decimal("5.0000"))
    # Nothing says what the dollars at the bank are carried at: they are worth what they are worth.
    assert (bank.balance, bank.difference) == (Decimal(4), Decimal(0))


def test_an_adjustment_while_closing_is_revalued_too(warehouse_url: str, tmp_path: Path) -> None:
    _closing(warehouse_url, tmp_path, _dollars())
    revalue(desk(warehouse_url, tmp_path, ON), MARCH)
    # At the rate of the first, 0.8.
    adjusted(desk(warehouse_url, tmp_path, ON), "receivable", "shop_a", "5", "USD", on="2026-03-01")
    blocking = [each for each in check(desk(warehouse_url, tmp_path, ON), MARCH, verify) if not each.is_ok]
    assert [(each.name, each.found) for each in blocking] == [
        ("open items are revalued", "1: commission_receivable:shop_a:USD")
    ]
    with pytest.raises(Stop, match="close revalue 2026-03"):
        finish(desk(warehouse_url, tmp_path, ON), MARCH, verify)
    assert revalue(desk(warehouse_url, tmp_path, ON), MARCH).count("postings") == 2
    assert booked(warehouse_url, MARCH)[RECEIVABLE] == 5000
    assert booked(warehouse_url, APRIL)[RECEIVABLE] == -5000
    finish(desk(warehouse_url, tmp_path, ON), MARCH, verify)
    # April begins from what is carried, not from what March made of it.
    begin(desk(warehouse_url, tmp_path, MAY), APRIL)
    accrued(warehouse_url, tmp_path, replace(_dollars(), rates={**RATES, ("USD", MAY): Decimal("1.25")}), MAY)
    revalue(desk(warehouse_url, tmp_path, MAY), APRIL)
    # 15 USD at 1.30 are 11.5385, carried at 12: a loss of 0.4615 beside the 0.5 taken back.
    assert booked(warehouse_url, APRIL)[RECEIVABLE] == -5000 - 4615


def test_a_half_goes_to_the_even_digit(warehouse_url: str, tmp_path: Path) -> None:
    rates = {("USD", date(2026, 3, 1)): Decimal(2), ("USD", date(2026, 3, 31)): Decimal("1.6")}
    facts = replace(_dollars(), rates={**rates, ("USD", APRIL): Decimal(2)})
    accrued(warehouse_url, tmp_path, replace(facts, versions=(version("0.0004", "approved", currency="USD"),)), ON)
    with Warehouse(warehouse_url).transaction() as connection:
        (item,) = open_items(connection, "house", "EUR", MARCH)
    # 0.0004 x 0.625 is 0.00025.
    assert (item.carried, item.value) == (Decimal("0.0002"), Decimal("0.0002"))


def test_without_a_closing_rate_nothing_is_revalued_or_closed(warehouse_url: str, tmp_path: Path) -> None:
    known = {key: rate for key, rate in RATES.items() if key[1] < APRIL}
    _closing(warehouse_url, tmp_path, replace(_dollars(), rates=known))
    with pytest.raises(Stop, match="closing rates of USD"):
        revalue(desk(warehouse_url, tmp_path, ON), MARCH)
    with pytest.raises(Stop, match="USD on 2026-03-31"):
        finish(desk(warehouse_url, tmp_path, ON), MARCH, verify)


def test_only_a_closing_month_is_revalued(warehouse_url: str, tmp_path: Path) -> None:
    with pytest.raises(Stop, match="close begin 2026-03"):
        revalue(desk(warehouse_url, tmp_path, ON), MARCH)
