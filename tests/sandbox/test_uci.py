"""Real orders: every one appears at a partner, and every cancellation is placed or counted."""

from __future__ import annotations

import gzip
from dataclasses import asdict
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sandbox import demo, folder, rates
from sandbox.instants import parsed
from sandbox.model import RAKUTEN, Life, Placing, World
from sandbox.plan import RATES_BESIDE, plan_of
from sandbox.truth import net_at
from sandbox.uci import COLUMNS, OrdersError, invoices
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
    # Nobody bought anything before: customer 5 is at Rakuten, 4 at a partner whose rows change.
    ("C2004", 5, UNITED, "2010-06-07T10:00:00", "-10.00"),
    ("C2005", 4, UNITED, "2010-06-07T10:00:00", "-10.00"),
    ("1004", 4, UNITED, "2010-06-08T10:00:00", "70.00"),
    ("1005", 5, UNITED, "2010-06-08T10:00:00", "0.00"),
    ("1006", 6, "Germany", "2010-01-08T10:00:00", "12.34"),
    # A year and a day later nothing is taken back; what is found instead is the only other order of the customer.
    ("1007", 7, UNITED, "2010-01-09T10:00:00", "99.00"),
    ("1008", 7, UNITED, "2010-12-01T10:00:00", "30.00"),
    ("C2006", 7, UNITED, "2011-01-10T10:00:00", "-10.00"),
]
ORDERS = [row for row in INVOICES if not row[0].startswith("C")]
CANCELLATIONS = [row for row in INVOICES if row[0].startswith("C")]


def table() -> pa.Table:
    return pa.table(
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


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    path = tmp_path_factory.mktemp("orders") / "orders.parquet"
    pq.write_table(table(), path)
    return build_world(1, "tiny", FROM_ON, UNTIL_ON, path)


def left(world: World, number: str) -> tuple[Decimal, bool]:
    sale = next(sale for sale in world.sales if sale.order_key == f"o-{number}")
    net = net_at([row for row in world.rows if row.sale_key == sale.sale_key], parsed("2012-01-01T00:00:00Z"))
    assert net is not None
    return net.sale, net.is_declined


def test_every_order_is_told_by_a_partner_at_its_own_time(world: World) -> None:
    sales = {sale.order_key: sale for sale in world.sales}
    for number, _, _, _, _ in ORDERS:
        assert f"o-{number}" in sales
    # British summer time in June, none in January.
    assert sales["o-1001"].occurred_at == parsed("2010-06-01T09:00:00Z")
    assert sales["o-1006"].occurred_at == parsed("2010-01-08T10:00:00Z")


def test_a_click_is_drawn_before_each_order(world: World) -> None:
    clicks = {click.click_id: click for click in world.clicks}
    told = [sale for sale in world.sales if sale.true_click_id is not None]
    assert len(told) == len(ORDERS) + 1
    assert all(clicks[str(sale.true_click_id)].clicked_at < sale.occurred_at for sale in told)


def test_cancellations_find_their_orders_by_amount_then_by_what_is_left(world: World) -> None:
    assert left(world, "1001") == (Decimal("50.00"), False)
    assert left(world, "1003") == (Decimal(0), True)
    assert left(world, "1002") == (Decimal(0), True)
    assert left(world, "1004") == (Decimal("70.00"), False)


def test_every_cancellation_is_counted_once(world: World) -> None:
    counts = asdict(world.counts)
    assert counts["order_count"] == len(ORDERS)
    assert counts["cancellation_count"] == len(CANCELLATIONS)
    assert counts["cancellation_partial_count"] == 2
    assert [counts[f"cancellation_{placing}_count"] for placing in Placing if placing is not Placing.PART] == [1] * 4
    placed = {one.cancellation_id: (one.order_key, one.placing) for one in world.cancellations}
    assert set(placed) == {row[0] for row in CANCELLATIONS}
    assert placed["C2006"] == ("o-1008", Placing.PART)


def test_a_cancellation_without_an_order_is_a_row_declined_at_once_where_rows_change(world: World) -> None:
    alone = next(sale for sale in world.sales if sale.order_ref == "C2005" or sale.order_key == "o-C2005")
    states = [state.status for row in world.rows if row.sale_key == alone.sale_key for state in row.states]
    assert states == ["pending", "declined"]
    assert left(world, "C2005") == (Decimal(0), True)


def test_a_partner_pays_what_does_not_come_back(world: World) -> None:
    for row in world.rows:
        paid = [state for state in row.states if state.payment_number is not None]
        assert len(paid) <= 1
        assert paid == [] or paid[0] == row.states[-1]


def test_a_cancellation_without_an_order_is_a_signed_row_at_the_partner_that_has_such(world: World) -> None:
    orphans = [sale for sale in world.sales if sale.defects == "reversal_without_original"]
    assert [(sale.partner, sale.order_ref) for sale in orphans] == [(RAKUTEN, "C2004")]
    assert [row.states[0].sale_amount for row in world.rows if row.sale_key == orphans[0].sale_key] == [-10]


def test_everything_is_in_pounds_and_customers_of_the_largest_country_are_spread(world: World) -> None:
    assert {program.currency for program in world.programs} == {"GBP"}
    assert len([program for program in world.programs if UNITED in program.name]) == 3
    assert len(world.members) == 5


def test_a_whole_cancellation_before_validation_is_a_decline(world: World) -> None:
    lives = {sale.order_key: sale.life for sale in world.sales}
    assert lives["o-1003"] is Life.DECLINED
    assert lives["o-1001"] is Life.APPROVED


def test_a_world_of_orders_is_read_back_as_it_was(world: World, tmp_path: Path) -> None:
    folder.save(world, tmp_path / "world")
    assert folder.load(tmp_path / "world").cancellations == world.cancellations


def _without(name: str) -> pa.Table:
    return table().drop_columns([name])


def _with(name: str, values: pa.Array) -> pa.Table:
    known = table()
    return known.set_column(known.column_names.index(name), name, values)


WRONG = [
    (_without("amount"), "lacks the columns amount (it has: order_id, customer_id, "),
    (
        _with("amount", pa.array([1.0] * len(INVOICES))),
        "amount is double, and must be decimal(12,2), as money is never",
    ),
    (_with("customer_id", pa.array([row[0] for row in INVOICES])), "customer_id is string, and must be a whole number"),
    (
        _with("ordered_at", pa.array([datetime(2010, 1, 1, tzinfo=UTC)] * len(INVOICES), pa.timestamp("us", "UTC"))),
        "ordered_at is timestamp[us, tz=UTC], and must be a timestamp without a zone",
    ),
    (_with("country", pa.array([None, *[UNITED] * (len(INVOICES) - 1)])), f"null in 1 of {len(INVOICES)} rows, the"),
    (_with("order_id", pa.array(["1"] * len(INVOICES))), f"order_id '1' is there {len(INVOICES)} times"),
    (_with("is_cancellation", pa.array([False] * len(INVOICES))), "'C2001' is an order of -50.00"),
    (table().filter(pa.array([row[0].startswith("C") for row in INVOICES])), "holds cancellations only"),
    (table().slice(0, 0), "has no rows"),
]


@pytest.mark.parametrize(("wrong", "message"), WRONG, ids=[message[:24] for _, message in WRONG])
def test_a_wrong_table_is_refused_by_name(tmp_path: Path, wrong: pa.Table, message: str) -> None:
    pq.write_table(wrong, tmp_path / "orders.parquet")
    with pytest.raises(OrdersError) as refused:
        invoices(tmp_path / "orders.parquet")
    assert message in str(refused.value)


def test_what_is_no_parquet_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "orders.csv"
    with pytest.raises(OrdersError, match=r"there is no file .*orders\.csv: name a Parquet file of orders"):
        invoices(path)
    path.write_text("order_id,amount\n1,2.00\n", encoding="utf-8")
    with pytest.raises(OrdersError, match="is no Parquet file that can be read"):
        invoices(path)
    assert demo.main(["run", "--orders", str(path)]) == 1
    assert "is no Parquet file" in capsys.readouterr().out.replace("\n", " ")


def test_columns_that_are_not_read_may_be_missing(tmp_path: Path) -> None:
    pq.write_table(table().select(list(COLUMNS)), tmp_path / "orders.parquet")
    assert len(invoices(tmp_path / "orders.parquet")) == len(INVOICES)


def test_the_plan_of_a_short_table_lets_airflow_see_all_of_it(tmp_path: Path) -> None:
    pq.write_table(table().slice(0, 3), tmp_path / "orders.parquet")
    plan = plan_of(1, "month", tmp_path / "orders.parquet")
    assert plan.by_pipeline == []
    assert [f"{morning:%Y-%m-%d}" for morning in plan.by_airflow] == ["2010-07-02", "2010-09-15"]
    assert plan.rates is None


@pytest.mark.parametrize(("until_on", "is_used"), [(date(2011, 1, 1), True), (date(2009, 1, 1), False)])
def test_real_rates_beside_the_table_are_used_if_they_span_it(tmp_path: Path, until_on: date, is_used: bool) -> None:
    pq.write_table(table(), tmp_path / "orders.parquet")
    text = rates.generated(1, date(2008, 1, 1), until_on)
    beside = tmp_path / RATES_BESIDE
    beside.write_bytes(gzip.compress(text.encode()))
    plan = plan_of(1, "month", tmp_path / "orders.parquet")
    assert plan.rates == (beside if is_used else None)
    if is_used:
        told = build_world(1, "tiny", FROM_ON, UNTIL_ON, tmp_path / "orders.parquet", plan.rates).rates_text
        assert len(told) < len(text)
        assert set(told.splitlines()) < set(text.splitlines())
