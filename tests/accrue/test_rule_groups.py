"""Rates by group, one cap for the order, and bonuses as a component of their own: worked examples."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest

from etl.core.errors import Stop
from etl.reference import load_rules
from tests.accrue import naive
from tests.accrue.books import balances, book, context, read, rule, version, world, write
from tests.accrue.naive import Version

DAY = date(2026, 3, 20)
RATES = (
    rule("0.5", rule_id="all", cap=Decimal("6")),
    rule("0.8", rule_id="toys", cap=Decimal("6"), commission_group="toys"),
    rule("0.02", rule_id="books", basis="sale_rate", cap=Decimal("6"), commission_group="books"),
)
HEADER = "rule_id,program_id,basis,value,cap,currency,rounding,valid_from,valid_until,commission_group,component\n"


def _row(commission: str, line: str, group: str | None, **more: object) -> Version:
    return version(commission, line_id=line, commission_group=group, **more)


def _owed(url: str, folder: Path, facts: naive.World) -> dict[tuple[str, str], int]:
    book(url, folder, facts, DAY)
    assert read(url) == naive.books(facts, DAY)
    return dict(balances(read(url)))


def test_each_group_earns_by_its_rate_and_the_order_is_rounded_once(shared_url: str, tmp_path: Path) -> None:
    # 0.8 x 1.003 + 0.02 x 20.15 + 0.5 x 1.01 = 0.8024 + 0.403 + 0.505 = 1.7104: 1.71, not 0.80 + 0.40 + 0.51.
    rows = [
        _row("1.003", "a", "toys"),
        _row("2.015", "b", "books", sale_amount=Decimal("20.15")),
        _row("1.01", "c", "garden"),
    ]
    assert _owed(shared_url, tmp_path, world(rows, rules=RATES))["cashback_pending", "EUR/2"] == -171


def test_a_version_that_is_absent_tells_no_group(shared_url: str, tmp_path: Path) -> None:
    gone = _row("5", "a", "several", version_no=2, is_absent=True)
    facts = world([_row("5", "a", "toys"), _row("1", "b", None), gone], rules=RATES)
    # 0.8 x 6.
    assert _owed(shared_url, tmp_path, facts)["cashback_pending", "EUR/2"] == -480


def test_the_cap_is_that_of_the_order(shared_url: str, tmp_path: Path) -> None:
    rows = [_row("5", "a", "toys"), _row("5", "b", "garden")]
    # 4 and 2.50 are 6.50.
    assert _owed(shared_url, tmp_path, world(rows, rules=RATES))["cashback_pending", "EUR/2"] == -600


def test_a_refund_that_tells_no_group_takes_back_at_the_rate_it_was_given(shared_url: str, tmp_path: Path) -> None:
    bought = _row("5", "", "toys")
    part = version("-2", transaction_id="2", kind="adjustment", effective_on=date(2026, 3, 9))
    facts = world([bought, part], rules=RATES)
    # 0.8 x 3.
    assert _owed(shared_url, tmp_path, facts)["cashback_pending", "EUR/2"] == -240
    whole = version("-5", transaction_id="2", kind="adjustment", effective_on=date(2026, 3, 9))
    assert _owed(shared_url, tmp_path, world([bought, whole], rules=RATES)) == {}


def test_a_bonus_is_posted_beside_the_cashback_and_goes_back_with_it(shared_url: str, tmp_path: Path) -> None:
    rules = (rule("0.5"), rule("2.5", rule_id="spring", basis="fixed", component="bonus"))
    assert _owed(shared_url, tmp_path, world([version("10")], rules=rules)) == {
        ("commission_expected", "EUR/4"): 100000,
        ("commission_expected_contra", "EUR/4"): -100000,
        ("cashback_expected_cost", "EUR/4"): 75000,
        ("border", "EUR/4"): -75000,
        ("border", "EUR/2"): 750,
        ("cashback_pending", "EUR/2"): -750,
    }
    with psycopg.connect(shared_url) as connection:
        rows = connection.execute(
            "SELECT component, sum(amount) FROM mart.movement WHERE kind = 'cashback_pending' GROUP BY 1"
            " HAVING sum(amount) <> 0 ORDER BY 1"
        ).fetchall()
    assert rows == [("bonus", Decimal("-2.5000")), ("cashback", Decimal("-5.0000"))]
    gone = version("10", "declined", version_no=2, effective_on=date(2026, 3, 9))
    assert _owed(shared_url, tmp_path, world([version("10"), gone], rules=rules)) == {}


def test_rules_of_one_order_agree_on_its_cap_and_files_of_an_older_form_are_read(
    shared_url: str, tmp_path: Path
) -> None:
    write(shared_url, world([], rules=()))
    path = tmp_path / "cashback_rules.csv"

    def load(text: str) -> int:
        path.write_text(text, encoding="utf-8")
        return load_rules(context(shared_url, tmp_path), path).count("new")

    plain = "r1,p1,commission_share,0.5,25,EUR,half_up,2026-09-01T00:00:00Z,"
    toys = "r2,p1,commission_share,0.8,25,EUR,half_up,2026-09-01T00:00:00Z,"
    assert load(f"{HEADER.replace(',commission_group,component', '')}{plain}\n") == 1
    for other in (
        toys.replace("25", ""),
        toys.replace("half_up", "half_even"),
        toys.replace("commission_share", "fixed"),
    ):
        with pytest.raises(Stop, match="r1 and r2 hold for groups of one order and differ in"):
            load(f"{HEADER}{plain},,\n{other},toys,\n")
    bonus = "r3,p1,fixed,2.5,,EUR,half_even,2026-09-01T00:00:00Z,,,bonus\n"
    assert load(f"{HEADER}{plain},,cashback\n{toys},toys,\n{bonus}") == 2
