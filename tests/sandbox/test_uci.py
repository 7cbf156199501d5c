"""Real orders: every one appears at a partner, and every cancellation is placed or counted."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sandbox.instants import parsed
from sandbox.model import RAKUTEN, Life, World
from sandbox.truth import net_at
from sandbox.world import build_world
from tests.sandbox.places import FROM_ON, UNTIL_ON

UNITED = "United Kingdom"
# Customer, country, time, amount; a cancellation is negative.
INVOICES: list[tuple[str, int, str, str, str]] = [
    ("1001", 3, UNITED, "2010-06-01T10:00:00", "50.00"),
    ("1002", 3, UNITED, "2010-06-02T10:00:00", "80.00"),
    ("1003", 3, UNITED, "2010-06-03T10:00:00", "50.00"),
    # The later of the two that are exactly 50.00.
    ("C2001", 3, UNITED, "2010-06-04T10:00:00", "-50.00"),
    # A part: 1003 is gone, so the latest with more than 20.00 left is 1002.
    ("C2002", 3, UNITED, "2010-06-05T10:00:00", "-20.00"),
    # More than any has left: 1002 goes wholly, with its 60.00.
    ("C2003", 3, UNITED, "2010-06-06T10:00:00", "-500.00"),
    # Nobody bought anything before: customer 5 is at Rakuten, 3 and 4 at partners whose rows change.
    ("C2004", 5, UNITED, "2010-06-07T10:00:00", "-10.00"),
    ("C2005", 4, UNITED, "2010-06-07T10:00:00", "-10.00"),
    ("1004", 4, UNITED, "2010-06-08T10:00:00", "70.00"),
    ("1005", 5, UNITED, "2010-06-08T10:00:00", "0.00"),
    ("1006", 6, "Germany", "2010-01-08T10:00:00", "12.34"),
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    path = tmp_path_factory.mktemp("orders") / "orders.parquet"
    table = pa.table(
        {
            "order_id": [row[0] for row in INVOICES],
            "customer_id": pa.array([row[1] for row in INVOICES], pa.int64()),
            "country": [row[2] for row in INVOICES],
            "ordered_at": pa.array([datetime.fromisoformat(row[3]) for row in INVOICES], pa.timestamp("us")),
            "amount": pa.array([Decimal(row[4]) for row in INVOICES], pa.decimal128(12, 2)),
            "line_count": pa.array([2] * len(INVOICES), pa.int64()),
            "item_count": pa.array([3.0] * len(INVOICES), pa.float64()),
            "is_cancellation": [row[0].startswith("C") for row in INVOICES],
        }
    )
    pq.write_table(table, path)
    return build_world(1, "tiny", FROM_ON, UNTIL_ON, path)


def left(world: World, number: str) -> tuple[Decimal, bool]:
    sale = next(sale for sale in world.sales if sale.order_key == f"o-{number}")
    net = net_at([row for row in world.rows if row.sale_key == sale.sale_key], parsed("2012-01-01T00:00:00Z"))
    assert net is not None
    return net.sale, net.is_declined


def test_every_order_is_told_by_a_partner_at_its_own_time(world: World) -> None:
    sales = {sale.order_key: sale for sale in world.sales}
    orders = [row for row in INVOICES if not row[0].startswith("C")]
    assert len(orders) == 6
    for number, _, _, _, _ in orders:
        assert f"o-{number}" in sales
    # British summer time in June, none in January.
    assert sales["o-1001"].occurred_at == parsed("2010-06-01T09:00:00Z")
    assert sales["o-1006"].occurred_at == parsed("2010-01-08T10:00:00Z")


def test_a_click_is_drawn_before_each_order(world: World) -> None:
    clicks = {click.click_id: click for click in world.clicks}
    told = [sale for sale in world.sales if sale.true_click_id is not None]
    assert len(told) == 6
    assert all(clicks[str(sale.true_click_id)].clicked_at < sale.occurred_at for sale in told)


def test_cancellations_find_their_orders_by_amount_then_by_what_is_left(world: World) -> None:
    assert left(world, "1001") == (Decimal("50.00"), False)
    assert left(world, "1003") == (Decimal(0), True)
    assert left(world, "1002") == (Decimal(0), True)
    assert left(world, "1004") == (Decimal("70.00"), False)


def test_every_cancellation_is_counted_once(world: World) -> None:
    counts = asdict(world.counts)
    assert counts["cancellation_count"] == 5
    assert counts["cancellation_whole_count"] == 1
    assert counts["cancellation_partial_count"] == 1
    assert counts["cancellation_short_count"] == 1
    assert counts["cancellation_without_original_count"] == 1
    assert counts["cancellation_unplaceable_count"] == 1


def test_a_cancellation_without_an_order_is_a_signed_row_at_the_partner_that_has_such(world: World) -> None:
    orphans = [sale for sale in world.sales if sale.defects == "reversal_without_original"]
    assert [(sale.partner, sale.order_ref) for sale in orphans] == [(RAKUTEN, "C2004")]
    assert [row.states[0].sale_amount for row in world.rows if row.sale_key == orphans[0].sale_key] == [-10]


def test_everything_is_in_pounds_and_customers_of_the_largest_country_are_spread(world: World) -> None:
    assert {program.currency for program in world.programs} == {"GBP"}
    assert len([program for program in world.programs if UNITED in program.name]) == 3
    assert len(world.members) == 4


def test_a_whole_cancellation_before_validation_is_a_decline(world: World) -> None:
    lives = {sale.order_key: sale.life for sale in world.sales}
    assert lives["o-1003"] is Life.DECLINED
    assert lives["o-1001"] is Life.APPROVED
