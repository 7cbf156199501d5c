"""What is funded and what is late, worked by hand: when cashback becomes payable, and how old what is open is."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

from etl.exposure import exposure
from etl.remit import Decision, DecisionKind, ageing, decide
from tests.accrue import naive
from tests.accrue.books import balances, context, read, sale, version, world, write
from tests.remit.statements import line, load, statement
from tests.remit.worked import APPROVED, MARCH, NOW, ONE, SALES, again, breaks, money, outcomes, run


def test_what_is_told_and_not_received_pays_nothing_and_says_when_it_is_due(warehouse_url: str, tmp_path: Path) -> None:
    told = statement(ONE, received_on="", bank="", bank_amount="", bank_currency="", due_on="2026-06-10")
    run(warehouse_url, tmp_path, world([APPROVED]), *told)
    assert money(warehouse_url) == {}
    assert outcomes(warehouse_url, tmp_path) == {"shop_a:1": ("unpaid", 100000, "not_due")}
    assert outcomes(warehouse_url, tmp_path, date(2026, 9, 1)) == {"shop_a:1": ("unpaid", 100000, "61-90")}


def test_what_is_carried_forward_is_funded_when_it_comes_back(warehouse_url: str, tmp_path: Path) -> None:
    first = version("10", "approved", sale_id="shop_c:1")
    second = version("30", "approved", sale_id="shop_c:2", transaction_id="2", effective_on=date(2026, 4, 20))
    facts = world([first, second], sales=(sale("shop_c:1"), sale("shop_c:2")))
    held = statement(ONE, line("carry_forward", "-10"), bank_amount="0")
    run(warehouse_url, tmp_path, facts, *held, account="shop_c")
    assert money(warehouse_url) == {
        ("carried_forward", "EUR/4"): 100000,
        ("commission_receivable", "EUR/4"): -100000,
    }
    assert outcomes(warehouse_url, tmp_path)["shop_c:1"] == ("carried", 0, None)
    assert balances(read(warehouse_url))["cashback_confirmed", "EUR/2"] == -500 - 1500
    released = statement(
        line("commission", "30", transaction_id="2"), line("carry_forward", "10"), remittance_id="R-2", net="30",
        gross="30", bank_amount="40", received_on="2026-05-15",
    )  # fmt: skip
    load(context(warehouse_url, tmp_path, "more", NOW), released, "shop_c", name="more.csv")
    run(warehouse_url, tmp_path, facts)
    assert ("carried_forward", "EUR/4") not in money(warehouse_url)
    assert balances(read(warehouse_url))["cashback_payable", "EUR/2"] == -2000
    payable = {key: amount for key, amount in read(warehouse_url).items() if key[1] == "cashback_payable"}
    assert {key[4] for key in payable} == {date(2026, 5, 15)}
    again(warehouse_url, tmp_path)


def test_more_brought_forward_than_was_held_back_is_a_break(warehouse_url: str, tmp_path: Path) -> None:
    rows = statement(ONE, line("carry_forward", "5"), bank_amount="15")
    run(warehouse_url, tmp_path, world([APPROVED]), *rows)
    assert breaks(warehouse_url) == [("carry_forward_differs", "R-1", Decimal("5.0000"))]


def test_cashback_that_waits_for_money_is_payable_when_the_sale_is_covered_and_not_before(
    warehouse_url: str, tmp_path: Path
) -> None:
    facts = world([replace(APPROVED, sale_id="shop_c:1")], sales=(sale("shop_c:1"),))
    short = line("commission", "9.00", transaction_id="1")
    run(warehouse_url, tmp_path, facts, *statement(short, net="9", gross="9", bank_amount="9"), account="shop_c")
    assert balances(read(warehouse_url))["cashback_confirmed", "EUR/2"] == -500
    rest = statement(
        line("commission", "1.00", transaction_id="1"), net="1", gross="1", bank_amount="1", remittance_id="R-2",
        received_on="2026-05-02",
    )  # fmt: skip
    load(context(warehouse_url, tmp_path, "rest", NOW), rest, "shop_c", name="rest.csv")
    run(warehouse_url, tmp_path, facts)
    assert balances(read(warehouse_url))["cashback_payable", "EUR/2"] == -500
    assert {key[4] for key in read(warehouse_url) if key[1] == "cashback_payable"} == {date(2026, 5, 2)}
    decide(context(warehouse_url, tmp_path, "d", NOW), Decision(DecisionKind.WITHHOLD, "R-2", "a mistake"))
    run(warehouse_url, tmp_path, facts)
    assert ("cashback_payable", "EUR/2") not in balances(read(warehouse_url))
    assert balances(read(warehouse_url))["cashback_confirmed", "EUR/2"] == -500


def test_a_line_approves_the_sale_of_a_partner_that_never_says_so(warehouse_url: str, tmp_path: Path) -> None:
    silent = version("10", None, sale_id="shop_c:1")
    facts = world([silent], sales=(sale("shop_c:1"),), programs=(naive.Program("p1", None, None),))
    run(warehouse_url, tmp_path, facts)
    assert balances(read(warehouse_url))["cashback_pending", "EUR/2"] == -500
    run(warehouse_url, tmp_path, facts, *statement(ONE), account="shop_c")
    assert balances(read(warehouse_url))["cashback_payable", "EUR/2"] == -500
    assert outcomes(warehouse_url, tmp_path) == {"shop_c:1": ("paid", 0, None)}


def test_below_the_threshold_of_the_partner_nothing_is_late(warehouse_url: str, tmp_path: Path) -> None:
    write(warehouse_url, world([APPROVED]))
    here = context(warehouse_url, tmp_path, known_at=NOW)
    accounts = tuple(
        replace(account, payment_days=30, payment_threshold_minor=2000) for account in here.configuration.accounts
    )
    here = replace(here, configuration=replace(here.configuration, accounts=accounts))
    summed = ageing(here, date(2026, 12, 1)).summed.to_pylist()
    assert [(row["age"], row["sale_count"], row["amount"]) for row in summed] == [
        ("below_threshold", 1, Decimal("10.0000"))
    ]
    accounts = tuple(replace(account, payment_threshold_minor=999) for account in accounts)
    here = replace(here, configuration=replace(here.configuration, accounts=accounts))
    assert ageing(here, date(2026, 4, 1)).sales["age"].to_pylist() == ["1-30"]
    assert ageing(here, date(2026, 3, 31)).sales["age"].to_pylist() == ["not_due"]


def test_exposure_says_what_is_owed_to_members_beyond_what_was_paid(warehouse_url: str, tmp_path: Path) -> None:
    run(warehouse_url, tmp_path, world(MARCH, sales=SALES), *statement(ONE))
    (row,) = exposure(context(warehouse_url, tmp_path, "look", NOW)).to_pylist()
    assert {name: value for name, value in row.items() if value} == {
        "partner_account": "shop_a",
        "currency": "EUR",
        "expected": Decimal("6.0000"),
        "receivable": Decimal("27.5000"),
        "received": Decimal("10.0000"),
        "pending": Decimal("3.0000"),
        # Half of 37.50 each rounded once: 5.00, 10.25 and 3.50, of which 10.00 came in.
        "payable": Decimal("18.7500"),
        "uncovered": Decimal("8.7500"),
    }
