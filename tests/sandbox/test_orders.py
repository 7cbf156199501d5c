"""A table of real orders through the demo's own code: month by month, so that cancellations come late."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from etl.core.context import StageResult
from etl.core.embedded import EmbeddedPostgres
from etl.core.settings import read_settings
from etl.installation import clock, credentials_from_environment, open_installation
from etl.pipeline import Task, approve_batch, batch_facts, run_stage
from sandbox import demo, folder, up
from sandbox.house import Place, advance, environment, prepare
from sandbox.judge import judge
from sandbox.model import AWIN, RAKUTEN, TRADETRACKER, Placing
from sandbox.plan import Plan, plan_of
from sandbox.seen import seen
from sandbox.summary import count_facts, print_summary

UNITED = "United Kingdom"
ORDER_COUNT = 90
BEGIN = datetime(2009, 12, 1, 9, 0)


def table_of_orders() -> pa.Table:
    """Return orders of six weeks in the shape of the real table; one in five is cancelled, some a month later."""
    chance = random.Random(7)
    rows = []
    for number in range(ORDER_COUNT):
        customer = 12_000 + number % 24
        country = UNITED if customer % 8 else ("Germany", "France", "EIRE")[customer // 8 % 3]
        at = BEGIN + timedelta(minutes=number * 720 + chance.randrange(600))
        amount = Decimal(chance.randrange(900, 90_000)).scaleb(-2)
        rows.append((f"{489_000 + number}", customer, country, at, amount))
        if number % 5 == 0:
            share = (Decimal(1), Decimal("0.25"))[number // 5 % 2]
            after = timedelta(days=(1, 9, 30)[number // 10 % 3])
            rows.append(
                (f"C{489_000 + number}", customer, country, at + after, -(amount * share).quantize(Decimal("0.01")))
            )
    # One that cancels what nobody bought: at a partner with signed rows, and at the two whose rows change.
    for place, customer in enumerate((14_001, 14_002, 14_003)):
        rows.append((f"C48800{place}", customer, UNITED, BEGIN + timedelta(days=20), Decimal("-31.40")))
    last = BEGIN + timedelta(days=60)
    rows = [row for row in rows if row[3] < last]
    return pa.table(
        {
            "order_id": [row[0] for row in rows],
            "customer_id": pa.array([row[1] for row in rows], pa.int64()),
            "country": [row[2] for row in rows],
            "ordered_at": pa.array([row[3] for row in rows], pa.timestamp("us")),
            "amount": pa.array([row[4] for row in rows], pa.decimal128(12, 2)),
            "line_count": pa.array([1 + place % 3 for place in range(len(rows))], pa.int64()),
            "item_count": pa.array([3.0] * len(rows), pa.float64()),
            "is_cancellation": [row[0].startswith("C") for row in rows],
        }
    )


@dataclass(frozen=True)
class Life:
    """A world that has lived through all its mornings, and what was seen on the way."""

    place: Place
    plan: Plan
    interrupted_after: list[str]

    @property
    def now(self) -> datetime:
        return clock(open_installation(read_settings()).settings)

    def stage(self, stage: str, key: str, actor: str = "robin") -> StageResult:
        """Run one stage now."""
        opened = open_installation(read_settings())
        task = Task(stage, key, self.now.date())
        credentials = credentials_from_environment()
        run_id = f"test/{stage}/{actor}"
        return run_stage(opened, task, run_id=run_id, known_at=self.now, actor=actor, credentials=credentials)


@pytest.fixture(scope="module")
def life(postgres: EmbeddedPostgres) -> Iterator[Life]:
    """The table lived through month by month; the second morning was interrupted in the middle, and begun again."""
    root = Path(tempfile.mkdtemp(prefix="tallyback-orders-"))
    orders = root / "orders.parquet"
    pq.write_table(table_of_orders(), orders)
    planned = plan_of(1, "month", orders)
    plan = replace(planned, by_pipeline=planned.by_pipeline + planned.by_airflow, by_airflow=[])
    place = Place(root, f"{plan.name}_{root.name[-6:].lower()}", postgres)
    url = prepare(place, seed=1, size="month", orders=orders, rates=plan.rates)
    progress = demo.Progress(root / "mornings")
    ended: list[str] = []

    def interrupting(result: StageResult) -> None:
        ended.append(f"{result.stage} {result.key}")
        if ended[-1] == "parse tradetracker_main":
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, up.start(place.world, awin_calls_per_minute=0):
        for name, value in environment(place, url).items():
            patch.setenv(name, value)
        demo.live_through(place, replace(plan, by_pipeline=plan.by_pipeline[:1]), progress)
        advance(place, f"{plan.by_pipeline[1]:%Y-%m-%dT%H:%M:%S}")
        with pytest.raises(KeyboardInterrupt):
            demo.by_pipeline("interrupted", interrupting)
        demo.live_through(place, plan, progress)
        yield Life(place, plan, ended)
    for database in ("tallyback", "tracker", "airflow"):
        postgres.drop_database(f"{database}_{place.name}")
    shutil.rmtree(root)


def test_the_plan_is_one_morning_a_month_and_one_after_validation(life: Life) -> None:
    days = [f"{morning:%Y-%m-%d}" for morning in life.plan.by_pipeline]
    assert days == ["2010-01-02", "2010-02-02", "2010-04-18"]
    assert len(life.interrupted_after) > 3


def test_every_order_and_cancellation_is_in_the_books(life: Life) -> None:
    world = folder.load(life.place.world)
    found = seen(life.place, world, life.now)
    told = table_of_orders()["is_cancellation"].to_pylist()
    assert (found.orders, found.cancellations) == (told.count(False), told.count(True))
    assert found.is_whole
    assert found.late >= 3
    assert min(found.changed, found.rejected, found.signed) >= 2
    placed = {one.placing for one in world.cancellations}
    assert {Placing.WHOLE, Placing.PART, Placing.ALONE, Placing.WITHOUT_ORIGINAL} <= placed
    assert {sale.partner for sale in world.sales} == {AWIN, TRADETRACKER, RAKUTEN}


REDUCED_LATER = """
    SELECT partner, count(*)
    FROM (
        SELECT partner, sale_amount, status, date_trunc('month', observed_at) AS seen_in,
            lag(sale_amount) OVER known AS amount_before,
            date_trunc('month', lag(observed_at) OVER known) AS seen_before
        FROM ops.transaction_version
        WINDOW known AS (PARTITION BY partner_account, transaction_id, line_id ORDER BY version_no)
    ) AS stepped
    WHERE seen_in > seen_before AND (sale_amount < amount_before OR status = 'declined')
    GROUP BY partner
    ORDER BY partner
"""


def test_cancellations_are_seen_in_later_months_than_their_orders(life: Life) -> None:
    with psycopg.connect(life.place.postgres.url(f"tallyback_{life.place.name}")) as connection:
        rows = connection.execute(REDUCED_LATER).fetchall()
    # Rakuten's rows never change; its corrections are rows of their own, counted above.
    assert [partner for partner, _ in rows] == [AWIN, TRADETRACKER]


def test_rows_in_are_transactions_and_rejects_and_the_books_prove(life: Life) -> None:
    facts = count_facts(life.place)
    assert facts.rows == facts.transactions + facts.rejects > ORDER_COUNT
    verified = life.stage("verify", "main")
    assert verified.count("checks") > 5
    assert verified.count("differences") == 0


def test_the_books_equal_the_truth(life: Life) -> None:
    verdict = judge(life.place, life.now)
    assert verdict.sales > ORDER_COUNT
    assert verdict.wrong_by_rule.get("click_ref", 0) == 0
    # A plus at the edge of a reference that became a blank cannot be told from a blank, and is not repaired.
    assert [missed for missed in verdict.missed if missed[2] != "ref_url_encoded"] == []
    assert len(verdict.missed) <= 1
    assert verdict.problems == []
    assert verdict.never_seen == 0


def test_it_is_paid_reported_summed_up_and_then_nothing_changes(life: Life) -> None:
    assert life.stage("payout", "house_bank").count("payouts") > 3
    batch = batch_facts(open_installation(read_settings()), "house_bank", run_id="look", known_at=life.now)
    assert batch is not None
    approve_batch(
        open_installation(read_settings()), batch.batch_id, batch.sha256, person="alex", run_id="yes", known_at=life.now
    )
    life.stage("transmit", batch.batch_id)
    assert [file.suffix for file in (life.place.world / "bank" / "inbox").iterdir()] == [".xml"]
    life.stage("report", "main")
    before = count_facts(life.place)
    demo.by_pipeline("again")
    assert life.stage("payout", "house_bank").count("payouts") == 0
    assert count_facts(life.place) == before
    console = Console(record=True, width=200)
    print_summary(console, life.place, before, before)
    assert demo.tell_truth(console, life.place) == 0
    text = console.export_text()
    assert "0 new versions, 0 postings, 0 payouts" in text
    assert f"{before.rows:,} rows in = {before.transactions:,} transactions + {before.rejects:,} rejects" in text
    assert f"{table_of_orders().num_rows} orders of the table" in text
    assert "reconciliation-main-2010-04.html" in text
