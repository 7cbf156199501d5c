"""Sales that are accrued a few at a time make the very entries that all of them at once would."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest

from etl.accrue import accrue
from etl.core.engine import Engine
from etl.core.errors import Stop
from etl.core.sale_range import SaleRange, in_parts
from etl.core.warehouse import Warehouse
from etl.verify import verify
from tests.accrue import naive
from tests.accrue.books import context, empty_the_books, read, sale, version, world, write

DAY = date(2026, 3, 20)
NUMBERS = (3, 1, 20, 5, 4, 10, 2)


def _worlds() -> Iterator[naive.World]:
    """Yield seven sales, and the same when three are approved, one a year ago, and one is no more."""
    sales = tuple(sale(f"shop_a:{number}", member_id=f"m{number % 3}") for number in NUMBERS)
    told = [version(str(number), sale_id=f"shop_a:{number}", transaction_id=str(number)) for number in NUMBERS]
    yield world(told, sales=sales)
    days = {20: date(2026, 3, 4), 5: date(2025, 12, 31), 2: date(2026, 3, 5)}
    more = [
        replace(each, version_no=2, status="approved", effective_on=days[int(each.transaction_id)])
        for each in told
        if int(each.transaction_id) in days
    ]
    facts = world(told + more, sales=sales)
    yield replace(
        facts,
        versions=tuple(each for each in facts.versions if each.sale_id != "shop_a:10"),
        sales=tuple(each for each in sales if each.sale_id != "shop_a:10"),
    )


def _entries(url: str, folder: Path, sales_at_once: int) -> list[tuple[object, ...]]:
    empty_the_books(url)
    here = replace(context(url, folder), engine=Engine(sales_at_once=sales_at_once))
    for facts in _worlds():
        write(url, facts)
        accrue(here, DAY)
        assert read(url) == naive.books(facts, DAY)
        assert accrue(here, DAY).count("postings") == 0
    assert [check.name for check in verify(here, DAY) if not check.is_ok] == []
    with psycopg.connect(url) as connection:
        query = "SELECT year, number, document_id, entry_no, hash FROM ledger.journal_entry ORDER BY year, number"
        return connection.execute(query).fetchall()


def test_entries_numbers_and_hashes_are_those_of_all_sales_at_once(warehouse_url: str, tmp_path: Path) -> None:
    whole = _entries(warehouse_url, tmp_path, len(NUMBERS) + 1)
    assert len({row[0] for row in whole}) == 2
    assert _entries(warehouse_url, tmp_path, 3) == whole


def test_named_sales_go_by_parts_too(warehouse_url: str, tmp_path: Path) -> None:
    (facts, _) = _worlds()
    write(warehouse_url, facts)
    here = replace(context(warehouse_url, tmp_path), engine=Engine(sales_at_once=2))
    assert accrue(here, DAY, [f"shop_a:{number}" for number in (5, 1, 20)]).count("documents") == 3
    assert accrue(here, DAY).count("documents") == len(NUMBERS) - 3


@pytest.mark.parametrize("count", [1, 2, 6, 7, 8])
def test_parts_cover_every_id_once(warehouse_url: str, count: int) -> None:
    (facts, _) = _worlds()
    write(warehouse_url, facts)
    with Warehouse(warehouse_url).transaction() as connection:
        parts = list(in_parts(connection, None, count))
    assert len(parts) == -(-len(NUMBERS) // count)
    bounds = [(part.from_id, part.until_id) for part in parts if isinstance(part, SaleRange)]
    assert bounds[0][0] is None
    assert bounds[-1][1] is None
    assert [until for _, until in bounds[:-1]] == [from_ for from_, _ in bounds[1:]]


def test_what_stops_a_later_part_leaves_nothing_of_the_earlier_ones(warehouse_url: str, tmp_path: Path) -> None:
    (facts, _) = _worlds()
    too_large = replace(facts.versions[-1], commission_amount=Decimal("99999999999999.9999"))
    here = replace(context(warehouse_url, tmp_path), engine=Engine(sales_at_once=2))
    write(warehouse_url, replace(facts, versions=(*facts.versions[:-1], too_large)))
    threads = threading.active_count()
    with pytest.raises(Stop, match="too large to be booked"):
        accrue(here, DAY)
    assert threading.active_count() == threads
    assert read(warehouse_url) == {}
