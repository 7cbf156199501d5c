"""The accrual of single sales, worked by hand, and each also against the naive reference."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest

from etl.accrue import accrue
from etl.core.errors import Stop
from tests.accrue import naive
from tests.accrue.books import balances, book, context, read, rule, sale, version, world, write

DAY = date(2026, 3, 20)


def _both(url: str, folder: Path, facts: naive.World, day: date = DAY) -> dict[tuple[str, str], int]:
    """Return the balances after accruing, which the naive reference agrees with, and that a second run keeps."""
    book(url, folder, facts, day)
    books = read(url)
    assert books == naive.books(facts, day)
    again = accrue(context(url, folder, "run-2"), day)
    assert (again.count("postings"), again.count("entries")) == (0, 0)
    return dict(balances(books))


def test_half_of_a_small_commission_is_rounded_once_at_the_border(warehouse_url: str, tmp_path: Path) -> None:
    assert _both(warehouse_url, tmp_path, world([version("3.1005")])) == {
        ("commission_expected", "EUR/4"): 31005,
        ("commission_expected_contra", "EUR/4"): -31005,
        ("cashback_expected_cost", "EUR/4"): 15500,
        ("border", "EUR/4"): -15500,
        ("border", "EUR/2"): 155,
        ("cashback_pending", "EUR/2"): -155,
    }


@pytest.mark.parametrize(("rounding", "expected"), [("half_even", 12), ("half_up", 13)])
def test_a_half_cent_goes_where_the_rule_says(warehouse_url: str, tmp_path: Path, rounding: str, expected: int) -> None:
    facts = world([version("0.25")], rules=(rule(rounding=rounding),))
    assert _both(warehouse_url, tmp_path, facts)["cashback_pending", "EUR/2"] == -expected


def test_approval_moves_cashback_to_payable_and_takes_pending_back(warehouse_url: str, tmp_path: Path) -> None:
    approved = version("3.1005", "approved", version_no=2, effective_on=date(2026, 3, 9))
    assert _both(warehouse_url, tmp_path, world([version("3.1005"), approved])) == {
        ("commission_receivable", "EUR/4"): 31005,
        ("commission_income", "EUR/4"): -31005,
        ("cashback_cost", "EUR/4"): 15500,
        ("border", "EUR/4"): -15500,
        ("border", "EUR/2"): 155,
        ("cashback_payable", "EUR/2"): -155,
    }


def test_a_program_may_wait_for_its_money_where_its_account_does_not(warehouse_url: str, tmp_path: Path) -> None:
    other = {"sale_id": "shop_a:2", "transaction_id": "2"}
    facts = world(
        [version("3.1005", "approved"), version("4", "approved", **other)],
        sales=(sale(), sale("shop_a:2", program_id="p2")),
        programs=(naive.Program("p1", None, 30), naive.Program("p2", None, 30)),
        rules=(rule(), rule(rule_id="r2", program_id="p2")),
    )
    write(warehouse_url, facts)
    plain = context(warehouse_url, tmp_path)
    accounts = [
        replace(account, program_payable_on={"p2": "funded"} if account.name == "shop_a" else {})
        for account in plain.configuration.accounts
    ]
    here = replace(plain, configuration=replace(plain.configuration, accounts=tuple(accounts)))
    accrue(here, DAY)
    owed = {key: amount for key, amount in balances(read(warehouse_url)).items() if key[1] == "EUR/2"}
    assert owed == {
        ("border", "EUR/2"): 355,
        ("cashback_payable", "EUR/2"): -155,
        ("cashback_confirmed", "EUR/2"): -200,
    }
    assert accrue(here, DAY).count("postings") == 0


def test_pending_declined_pending_is_three_states_and_one_balance(warehouse_url: str, tmp_path: Path) -> None:
    versions = [
        version("10"),
        version("10", "declined", version_no=2, effective_on=date(2026, 3, 5)),
        version("10", version_no=3, effective_on=date(2026, 3, 8)),
    ]
    assert _both(warehouse_url, tmp_path, world(versions))["cashback_pending", "EUR/2"] == -500
    days = {key[-1] for key in read(warehouse_url)}
    assert days == {date(2026, 3, 1), date(2026, 3, 5), date(2026, 3, 8)}


def test_a_full_refund_by_a_signed_row_returns_exactly_what_was_given(warehouse_url: str, tmp_path: Path) -> None:
    refund = version("-3.1005", None, transaction_id="2", effective_on=date(2026, 4, 10))
    facts = world([version("3.1005", None), refund])
    assert _both(warehouse_url, tmp_path, facts, date(2026, 5, 1)) == {}


def test_rows_without_a_status_are_approved_when_the_validation_days_are_over(
    warehouse_url: str, tmp_path: Path
) -> None:
    facts = world([version("4", None)])
    approved_on = date(2026, 3, 1) + timedelta(days=30)
    assert _both(warehouse_url, tmp_path, facts, approved_on - timedelta(days=1))["cashback_pending", "EUR/2"] == -200
    after = _both(warehouse_url, tmp_path, facts, approved_on)
    assert after["cashback_payable", "EUR/2"] == -200
    assert ("cashback_pending", "EUR/2") not in after
    assert {key[-1] for key in read(warehouse_url) if key[1] == "cashback_payable"} == {approved_on}


def test_a_sale_whose_corrections_exceed_it_earns_nothing(warehouse_url: str, tmp_path: Path) -> None:
    facts = world([version("4", "approved"), version("-5", "approved", transaction_id="2")])
    assert _both(warehouse_url, tmp_path, facts) == {
        ("commission_receivable", "EUR/4"): -10000,
        ("commission_income", "EUR/4"): 10000,
    }


def test_the_cap_is_taken_once_over_all_rows(warehouse_url: str, tmp_path: Path) -> None:
    facts = world([version("30"), version("30", line_id="b")], rules=(rule(cap=Decimal("7.5")),))
    assert _both(warehouse_url, tmp_path, facts)["cashback_pending", "EUR/2"] == -750


def test_a_fixed_amount_is_given_while_there_is_commission(warehouse_url: str, tmp_path: Path) -> None:
    facts = world([version("3", currency="USD")], rules=(rule("2.5", basis="fixed"),))
    after = _both(warehouse_url, tmp_path, facts)
    assert after["cashback_pending", "EUR/2"] == -250
    assert after["cashback_expected_cost", "EUR/4"] == 25000


def test_a_rate_of_the_sale_follows_the_sale_amount(warehouse_url: str, tmp_path: Path) -> None:
    facts = world([version("3", sale_amount=Decimal("33.33"))], rules=(rule("0.05", basis="sale_rate"),))
    assert _both(warehouse_url, tmp_path, facts)["cashback_pending", "EUR/2"] == -167


def test_commission_above_the_contract_is_booked_but_not_shared(warehouse_url: str, tmp_path: Path) -> None:
    facts = world([version("9", sale_amount=Decimal("30"))])
    after = _both(warehouse_url, tmp_path, facts)
    assert after["commission_expected", "EUR/4"] == 90000
    assert after["cashback_pending", "EUR/2"] == -150


def test_two_lines_of_different_status_share_by_largest_remainder(warehouse_url: str, tmp_path: Path) -> None:
    facts = world([version("1", "approved", line_id="a"), version("1", "pending", line_id="b")], rules=(rule("0.005"),))
    after = _both(warehouse_url, tmp_path, facts)
    assert after["cashback_payable", "EUR/2"] == -1
    assert ("cashback_pending", "EUR/2") not in after


def test_another_currency_waits_for_the_rate_of_a_later_day_and_then_posts(warehouse_url: str, tmp_path: Path) -> None:
    waiting = world([version("10", currency="USD")], rates={("USD", date(2026, 2, 27)): Decimal("1.25")})
    result = book(warehouse_url, tmp_path, waiting)
    assert result.count("waiting") == 1
    assert balances(read(warehouse_url)) == {
        ("commission_expected", "USD/4"): 100000,
        ("commission_expected_contra", "USD/4"): -100000,
    }
    later = replace(waiting, rates={**waiting.rates, ("USD", date(2026, 3, 2)): Decimal("1.50")})
    assert _both(warehouse_url, tmp_path, later) == {
        ("commission_expected", "USD/4"): 100000,
        ("commission_expected_contra", "USD/4"): -100000,
        ("cashback_expected_cost", "USD/4"): 50000,
        ("fx_position", "USD/4"): -50000,
        ("fx_position", "EUR/2"): 400,
        ("cashback_pending", "EUR/2"): -400,
    }
    with psycopg.connect(warehouse_url) as connection:
        base = connection.execute(
            "SELECT kind, sum(base_amount) FROM mart.movement GROUP BY kind HAVING sum(base_amount) <> 0"
        ).fetchall()
    assert dict(base) == {
        "commission_expected": Decimal("8.0000"),
        "commission_expected_contra": Decimal("-8.0000"),
        "cashback_expected_cost": Decimal("4.0000"),
        "cashback_pending": Decimal("-4.0000"),
    }


@pytest.mark.parametrize(
    ("rounding", "amount", "expected"),
    [
        # 4.5537 GBP at 0.8472 for one euro is 5.375 EUR to the last digit; the factor of twelve digits says 5.37499...
        ("half_even", "303.58", 538),
        ("half_up", "303.58", 538),
        # 4.56217 GBP is 5.385 EUR.
        ("half_even", "304.1448", 538),
        ("half_up", "304.1448", 539),
    ],
)
def test_a_half_cent_after_conversion_goes_where_the_rule_says(
    warehouse_url: str, tmp_path: Path, rounding: str, amount: str, expected: int
) -> None:
    facts = world(
        [version("24.29", currency="GBP", sale_amount=Decimal(amount))],
        rules=(rule("0.015", basis="sale_rate", rounding=rounding),),
        rates={("GBP", date(2026, 3, 1)): Decimal("0.8472"), ("GBP", date(2026, 3, 2)): Decimal("0.85")},
    )
    assert _both(warehouse_url, tmp_path, facts)["cashback_pending", "EUR/2"] == -expected


def test_a_cap_counts_in_the_currency_of_the_rule(warehouse_url: str, tmp_path: Path) -> None:
    # The cap in yen has more digits than a product of two short decimals holds.
    facts = world(
        [version("9000", currency="JPY")],
        rules=(rule(cap=Decimal("12.50")),),
        rates={("JPY", date(2026, 3, 1)): Decimal("150.25"), ("JPY", date(2026, 3, 2)): Decimal("150")},
    )
    after = _both(warehouse_url, tmp_path, facts)
    assert after["cashback_pending", "EUR/2"] == -1250
    assert after["cashback_expected_cost", "JPY/4"] == 18781250


def test_a_sale_that_no_click_was_found_for_posts_commission_only(warehouse_url: str, tmp_path: Path) -> None:
    found = world([version("10")])
    lost = replace(found, sales=(sale(outcome="unmatched", member_id=None, clicked_at=None),))
    _both(warehouse_url, tmp_path, found)
    assert _both(warehouse_url, tmp_path, lost) == {
        ("commission_expected", "EUR/4"): 100000,
        ("commission_expected_contra", "EUR/4"): -100000,
    }


def test_a_sale_that_exists_no_more_is_brought_to_zero(warehouse_url: str, tmp_path: Path) -> None:
    facts = world([version("10")])
    _both(warehouse_url, tmp_path, facts)
    assert _both(warehouse_url, tmp_path, replace(facts, sales=(), versions=())) == {}


def test_an_absent_version_does_not_move_the_books(warehouse_url: str, tmp_path: Path) -> None:
    facts = world([version("10"), version("10", version_no=2, is_absent=True, effective_on=date(2026, 3, 9))])
    assert _both(warehouse_url, tmp_path, facts)["cashback_pending", "EUR/2"] == -500


def test_where_payable_waits_for_the_partner_every_approved_row_must_be_paid_for(
    warehouse_url: str, tmp_path: Path
) -> None:
    first = version("10", "approved", sale_id="shop_b:1", partner_paid=True)
    second = replace(first, line_id="b", partner_paid=False)
    facts = world([first, second], sales=(sale("shop_b:1"),))
    assert _both(warehouse_url, tmp_path, facts)["cashback_confirmed", "EUR/2"] == -1000
    paid = replace(second, version_no=2, partner_paid=True, effective_on=date(2026, 3, 9))
    after = _both(warehouse_url, tmp_path, replace(facts, versions=(first, second, paid)))
    assert after["cashback_payable", "EUR/2"] == -1000
    assert ("cashback_confirmed", "EUR/2") not in after


def test_named_sales_are_accrued_and_others_left_alone(warehouse_url: str, tmp_path: Path) -> None:
    facts = world(
        [version("10"), version("20", sale_id="shop_a:2", transaction_id="2")], sales=(sale(), sale("shop_a:2"))
    )
    write(warehouse_url, facts)
    accrue(context(warehouse_url, tmp_path), DAY, ["shop_a:2"])
    assert {key[0] for key in read(warehouse_url)} == {"shop_a:2"}


def test_an_amount_too_large_to_count_stops_and_posts_nothing(warehouse_url: str, tmp_path: Path) -> None:
    with pytest.raises(Stop, match="too large"):
        book(warehouse_url, tmp_path, world([version("99999999999999", sale_amount=Decimal(1))]))
    assert read(warehouse_url) == {}


def test_an_account_without_its_configuration_stops(warehouse_url: str, tmp_path: Path) -> None:
    with pytest.raises(Stop, match="other"):
        book(warehouse_url, tmp_path, world([version("1", sale_id="other:1")], sales=(sale("other:1"),)))
