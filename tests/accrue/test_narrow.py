"""Of many sales only those are accrued again that were touched since, by a fact, a rate or a day."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa

from etl.accrue import accrue
from etl.core.context import StageResult
from etl.core.touched import touch, touch_all
from tests.accrue import naive
from tests.accrue.books import context, read, sale, version, world, write

DAY = date(2026, 3, 20)


def book(url: str, folder: Path, facts: naive.World, day: date = DAY, *touched: str) -> StageResult:
    """Write the facts, say which sales were touched, and accrue those that need it, however few there are."""
    write(url, facts)
    here = context(url, folder)
    if touched:
        with here.warehouse.transaction() as connection:
            touch(connection, [pa.chunked_array([list(touched)], pa.string())])
    return accrue(here, day, narrow_from=1)


def is_whole(url: str, folder: Path, facts: naive.World, day: date = DAY) -> bool:
    """Return whether the books are those by hand, and looking at all sales posts nothing more."""
    here = context(url, folder)
    with here.warehouse.transaction() as connection:
        touch_all(connection)
    return read(url) == naive.books(facts, day) and accrue(here, day, narrow_from=1).count("postings") == 0


def test_what_was_touched_is_posted_and_nothing_else(warehouse_url: str, tmp_path: Path) -> None:
    """The second sale changed and nobody said so: that shows that it is not looked at."""
    sales = (sale(), sale("shop_a:2"))
    of_second = version("5", sale_id="shop_a:2", transaction_id="2")
    facts = world([version("3"), of_second], sales=sales)
    assert book(warehouse_url, tmp_path, facts).count("documents") == 2
    approved = [replace(each, status="approved") for each in facts.versions]
    later = replace(facts, versions=tuple(approved))
    assert book(warehouse_url, tmp_path, later, DAY, "shop_a:1").count("documents") == 1
    assert book(warehouse_url, tmp_path, later).count("documents") == 0
    assert book(warehouse_url, tmp_path, later, DAY, "shop_a:2").count("documents") == 1
    assert is_whole(warehouse_url, tmp_path, later)


def test_a_rate_touches_the_days_it_is_for_and_those_it_makes_usable(warehouse_url: str, tmp_path: Path) -> None:
    rates = {("USD", date(2026, 2, 27)): Decimal("1.25")}
    facts = world([version("10", currency="USD")], rates=rates)
    assert book(warehouse_url, tmp_path, facts).count("waiting") == 1
    usable = replace(facts, rates={**rates, ("USD", date(2026, 3, 2)): Decimal("1.50")})
    assert book(warehouse_url, tmp_path, usable).count("documents") == 1
    # One of the Saturday before the sale is nearer than that of the Friday; one of a later day says nothing of it.
    nearer = replace(usable, rates={**usable.rates, ("USD", date(2026, 2, 28)): Decimal("1.40")})
    assert book(warehouse_url, tmp_path, nearer).count("documents") == 1
    after = replace(nearer, rates={**nearer.rates, ("USD", date(2026, 3, 3)): Decimal("1.60")})
    assert book(warehouse_url, tmp_path, after).count("documents") == 0
    assert is_whole(warehouse_url, tmp_path, after)


def test_the_day_a_sale_waited_for_touches_it(warehouse_url: str, tmp_path: Path) -> None:
    facts = world([version("4", None)])
    approved_on = date(2026, 3, 1) + timedelta(days=30)
    book(warehouse_url, tmp_path, facts)
    assert book(warehouse_url, tmp_path, facts, approved_on - timedelta(days=1)).count("documents") == 0
    assert book(warehouse_url, tmp_path, facts, approved_on).count("documents") == 1
    assert is_whole(warehouse_url, tmp_path, facts, approved_on)
    # Asked about a day before the last, all are looked at.
    assert book(warehouse_url, tmp_path, facts, approved_on - timedelta(days=1)).count("documents") == 1


def test_a_rule_that_changed_touches_all(warehouse_url: str, tmp_path: Path) -> None:
    facts = world([version("3")])
    book(warehouse_url, tmp_path, facts)
    dearer = replace(facts, rules=(replace(facts.rules[0], value=Decimal("0.7")),))
    assert book(warehouse_url, tmp_path, dearer).count("documents") == 1
