"""The stage over a real warehouse and lake: only differences are written, and decisions find their way in."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from etl.breaks import candidates, list_breaks
from etl.core import stored_rows
from etl.core.configuration import Configuration, Entity, PartnerAccount
from etl.core.connector import ChangeFeed, ConnectorFacts, ReversalModel, VersionClock
from etl.core.context import Context, StageResult
from etl.core.decisions import BreakFilter, DecisionKind
from etl.core.errors import Stop
from etl.core.lake import FolderLake
from etl.core.schemas import CLICK, PROGRAM, TRANSACTION, TRANSACTION_OPTIONAL
from etl.core.warehouse import APPROVER, Warehouse, copy_in
from etl.decide import Verdict, decide, undo
from etl.reconcile import reconcile
from tests.engine import ENGINE
from tests.opening.desk import CUT_OVER, opened
from tests.reconcile.naive import Delivery
from tests.reconcile.worlds import at, click, delivery, program, row

FACTS = ConnectorFacts(
    partner="awin",
    parse_version=1,
    version_clock=VersionClock.OBSERVED,
    clock_precision_seconds=1,
    reversal_model=ReversalModel.MUTATING,
    change_feed=ChangeFeed.ROLLING_REREAD,
    states_scope=True,
    longest_window_days=31,
)
DAY = date.fromisoformat("2026-06-30")
WHERE_STORED_ROWS_LIE = pytest.mark.usefixtures("where_stored_rows_lie")


@pytest.fixture(params=["in memory", "in a file"])
def where_stored_rows_lie(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare with what is stored in memory, and through a file, as where much is stored."""
    if request.param == "in a file":
        monkeypatch.setattr(stored_rows, "IN_MEMORY_BYTES", 1)


@pytest.fixture
def context(warehouse_url: str, tmp_path: Path) -> Context:
    account = PartnerAccount("awin_main", "awin", "shop", "awin", "Europe/Berlin", None, "approval")
    made = Context(
        run_id="run-1",
        known_at=at("06-30"),
        configuration=Configuration(Entity("shop", "EUR", "Europe/Berlin"), (account,), (), (), "hash"),
        warehouse=Warehouse(warehouse_url),
        lake=FolderLake(tmp_path / "lake"),
        engine=ENGINE,
        temporary=tmp_path,
        actor="Clara Clerk",
    )
    clicks = pa.Table.from_pylist([click("click-1"), click("click-2", "02-20 09:00")], schema=CLICK)
    made.lake.put_table(clicks, "tracked/click/one.parquet")
    with made.warehouse.transaction() as connection:
        copy_in(connection, "ref.program", pa.Table.from_pylist([program()], schema=PROGRAM))
        for day in ("2026-02-20", "2026-03-01"):
            connection.execute(
                "INSERT INTO ops.tracked_file VALUES ('click', %s, %s, 'tracked/click/one.parquet', 2, 'run-0')",
                (f"tracker-{day}", day),
            )
        connection.execute("INSERT INTO ops.click_seal VALUES ('tracker', '2026-06-01', '2026-06-01')")
    return made


def accept(
    context: Context,
    told: Delivery,
    *,
    state: str = "passed",
    lacks: tuple[str, ...] = (),
    window: tuple[str, str] = ("2026-03-01", "2026-04-01"),
) -> None:
    """Write a delivery that has been parsed and validated, as the stages before would."""
    rows = [{**one, "delivery_id": told.delivery_id} for one in told.rows]
    path = f"accepted/{told.delivery_id}.parquet"
    context.lake.put_table(pa.Table.from_pylist(rows, schema=TRANSACTION).drop_columns(list(lacks)), path)
    with context.warehouse.transaction() as connection:
        connection.execute(
            "INSERT INTO ops.delivery VALUES (%s, 'awin', 'awin_main', %s, %s, %s, 'x', 1, true, false, 'run-0')",
            (told.delivery_id, *window, told.observed_at),
        )
        connection.execute(
            "INSERT INTO ops.parse VALUES (%s, 1, %s, %s, 0, 0, %s, 'run-0')",
            (told.delivery_id, len(rows), len(rows), path),
        )
        connection.execute(
            "INSERT INTO ops.validation VALUES (%s, 1, %s, %s, %s, 0, %s, 'run-0')",
            (told.delivery_id, state, len(rows), len(rows), path),
        )


def run(context: Context) -> StageResult:
    return reconcile(context, DAY, {"awin": FACTS})


def books(context: Context) -> list[list[tuple[object, ...]]]:
    with context.warehouse.transaction() as connection:
        return [
            list(connection.execute(query).fetchall())
            for query in (
                "SELECT * FROM ops.transaction_version ORDER BY transaction_id, version_no",
                "SELECT * FROM ops.sale ORDER BY sale_id",
                "SELECT * FROM ops.match ORDER BY transaction_id",
                "SELECT * FROM ops.break ORDER BY transaction_id, kind",
            )
        ]


def is_quiet(result: StageResult) -> bool:
    return not any(count for name, count in result.counts if name.split("_")[0] in ("new", "changed", "gone"))


def test_what_is_amiss_with_a_sale_that_an_opening_holds_is_no_break(context: Context) -> None:
    """The sale of the third has no click; an opening ends on the second, then, corrected, on the third."""
    accept(context, delivery("d1", "03-10", row("t1", 1, click_ref=None, occurred_at=at("03-03 10:00"))))
    run(context)
    assert [one["kind"] for one in list_breaks(context, DAY).to_pylist()] == ["unmatched"]
    for revision, day, left in ((1, "2026-03-02", 1), (2, "2026-03-03", 0)):
        opened(context, CUT_OVER.format("awin_main", day), "commission_receivable:EUR=0", revision=revision)
        run(context)
        assert list_breaks(context, DAY).num_rows == left
        assert is_quiet(run(context))


@WHERE_STORED_ROWS_LIE
def test_run_twice_the_second_writes_nothing(context: Context) -> None:
    assert is_quiet(run(context))
    accept(context, delivery("d1", "03-05", row(click_ref="click-1"), row("t2", 2)))
    first = run(context)
    assert (first.count("new_versions"), first.count("new_sales"), first.count("new_breaks")) == (2, 2, 1)
    before = books(context)
    assert is_quiet(run(context))
    assert books(context) == before


@WHERE_STORED_ROWS_LIE
def test_what_comes_later_writes_only_what_it_changes(context: Context) -> None:
    accept(
        context, delivery("d1", "03-05", row(click_ref="click-1"), row("t2", 2, click_ref="click-1", order_ref="o2"))
    )
    run(context)
    accept(context, delivery("d2", "03-06", row(click_ref="click-1", status="approved"), row("t3", 2)))
    second = run(replace(context, run_id="run-2"))
    # t1 is approved, t2 has vanished, t3 is new and without a click.
    assert (second.count("new_versions"), second.count("gone_versions")) == (3, 0)
    assert {(one["transaction_id"], one["kind"]) for one in list_breaks(context, DAY).to_pylist()} >= {
        ("t2", "vanished_at_partner"),
        ("t3", "unmatched"),
    }


def test_a_held_delivery_says_nothing_until_it_is_released(context: Context) -> None:
    accept(context, delivery("d1", "03-05", row(click_ref="click-1")), state="held")
    assert is_quiet(run(context))
    with context.warehouse.transaction(APPROVER) as connection:
        connection.execute("INSERT INTO ops.hold_release VALUES ('d1', 1, 'Clara', '2026-06-01', 'looked at it')")
    assert run(context).count("new_versions") == 1


def test_a_decision_on_a_break_matches_its_sale_and_survives_a_replay(context: Context) -> None:
    accept(context, delivery("d1", "03-05", row()))
    run(context)
    (open_break,) = list_breaks(context, DAY, BreakFilter(kind="unmatched")).to_pylist()
    ranked = candidates(context, open_break["sale_id"])
    assert [one.click_id for one in ranked] == ["click-1", "click-2"]
    assert all(one.reasons for one in ranked)
    accepted = Verdict(DecisionKind.ACCEPT_CLICK, "the member wrote", "click-1")
    first = decide(context, DAY, [open_break["name"][:12]], accepted)
    again = decide(context, DAY, [open_break["name"]], accepted)
    assert (again.decision_ids, first.is_new, again.is_new) == (first.decision_ids, True, False)
    run(context)
    assert books(context)[1][0][8:11:2] == ("matched", "click-1")
    assert list_breaks(context, DAY).num_rows == 0
    (decision_id,) = first.decision_ids
    undo(context, DAY, decision_id, "wrong member")
    with pytest.raises(Stop, match="undone already"):
        undo(context, DAY, decision_id, "wrong member")
    run(context)
    assert list_breaks(context, DAY, BreakFilter(partner_account="awin_main")).num_rows == 1
    assert decide(context, DAY, [open_break["name"]], accepted).decision_ids != first.decision_ids


def test_the_order_in_which_deliveries_become_known_leaves_the_same_books(context: Context) -> None:
    told = [
        delivery("d1", "03-05", row(click_ref="click-1")),
        delivery("d2", "03-06", row(click_ref="click-1", status="declined")),
        delivery("d3", "03-07", row(click_ref="click-1")),
    ]
    for each in (told[2], told[0], told[1]):
        accept(context, each)
        run(context)
    versions, sales, matches, _ = books(context)
    assert [one[16] for one in versions] == ["pending", "declined", "pending"]
    assert (len(sales), len(matches)) == (1, 1)


def test_what_is_reported_is_compared_with_the_terms_of_the_contract(context: Context) -> None:
    rows = [
        row("t1", 1, click_ref="click-1", commission_group="toys", commission_amount=Decimal("8.0000")),
        row("t2", 2, click_ref="click-1", commission_group="books", commission_amount=Decimal("8.0000")),
        row("t3", 3, click_ref="click-1", kind="lead", commission_group="lead", commission_amount=Decimal("6.9000")),
    ]
    accept(context, delivery("d1", "03-02", *rows))
    terms = [("c1", None, "rate", "0.05"), ("c2", "toys", "rate", "0.08"), ("c3", "lead", "fixed", "7")]
    with context.warehouse.transaction() as connection:
        for term_id, group, basis, value in terms:
            connection.execute(
                "INSERT INTO ref.contract_term VALUES (%s, 'p1', %s, NULL, %s, %s, 'EUR', '2026-01-01', NULL)",
                (term_id, group, basis, value),
            )
    run(context)
    found = list_breaks(context, DAY, BreakFilter(kind="commission_differs")).sort_by("transaction_id").to_pylist()
    # The plain row is a sale of 100.
    assert [(each["transaction_id"], each["expected"], each["found"]) for each in found] == [
        ("t2", "5.0000", "8.0000"),
        ("t3", "7.0000", "6.9000"),
    ]


def test_a_file_of_an_older_day_lacks_columns_and_tells_none_of_them(context: Context) -> None:
    accept(context, delivery("d1", "03-02", row("t1", click_ref="click-1")), lacks=tuple(TRANSACTION_OPTIONAL))
    assert run(context).count("new_versions") == 1
    accept(context, delivery("d2", "03-03", row("t1", click_ref="click-1"), row("t2", commission_group="toys")))
    assert run(context).count("new_versions") == 1
