"""Of many sales only those are looked at again that something new could touch, and that is enough."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa

from etl.core.context import Context, StageResult
from etl.core.schemas import CLICK
from etl.core.warehouse import APPROVER
from etl.reconcile import reconcile
from tests.reconcile.naive import Delivery, Row
from tests.reconcile.test_stage import DAY, FACTS, accept, books, context, is_quiet
from tests.reconcile.worlds import at, click, delivery, row

__all__ = ["context"]


def run(context: Context) -> StageResult:
    """Narrow, however few sales there are."""
    return reconcile(context, DAY, {"awin": FACTS}, narrow_from=1)


def is_enough(context: Context) -> bool:
    """Return whether looking at everything finds nothing more."""
    before = books(context)
    with context.warehouse.transaction() as connection:
        connection.execute("DELETE FROM ops.reconciled")
    return is_quiet(run(context)) and books(context) == before


def told(name: str, on: str, *changed: Row) -> Delivery:
    """Return a complete answer of twenty sales without a click, but for those that changed."""
    numbers = {one["transaction_id"]: one for one in changed}
    rows = [numbers.get(f"t{each}", row(f"t{each}", each, click_ref=f"ref-{each}")) for each in range(1, 21)]
    return delivery(name, on, *rows)


def test_what_says_the_same_again_touches_nothing_and_what_changed_is_looked_at(context: Context) -> None:
    accept(context, told("d1", "03-05"))
    assert run(context).count("looked_at") == 20
    again = run(context)
    assert again.count("looked_at") == 0 and is_quiet(again)
    accept(context, told("d2", "03-06", row("t7", 7, click_ref="ref-7", status="approved")))
    second = run(replace(context, run_id="run-2"))
    assert (second.count("looked_at"), second.count("new_versions"), second.count("sales")) == (1, 1, 20)
    assert is_enough(context)


def test_an_answer_that_came_late_is_put_between_what_is_known(context: Context) -> None:
    """What was said on the fifth and the seventh was not so on the sixth: three versions, of one sale."""
    accept(context, told("d1", "03-05"))
    accept(context, told("d3", "03-07"))
    run(context)
    accept(context, told("d2", "03-06", row("t7", 7, click_ref="ref-7", status="declined")))
    late = run(context)
    assert (late.count("looked_at"), late.count("new_versions")) == (1, 2)
    assert is_enough(context)


def test_what_a_complete_answer_leaves_out_is_absent(context: Context) -> None:
    accept(context, told("d1", "03-05"))
    run(context)
    accept(context, replace(whole := told("d2", "03-06"), rows=whole.rows[:-1]))
    second = run(context)
    assert (second.count("looked_at"), second.count("new_versions")) == (1, 1)
    assert is_enough(context)


def test_a_click_that_came_late_is_found_by_the_sales_it_could_touch(context: Context) -> None:
    accept(context, told("d1", "03-05"))
    run(context)
    late = [click("ref-3", "02-28 09:00"), click("REF-9", "02-28 09:00")]
    context.lake.put_table(pa.Table.from_pylist(late, schema=CLICK), "tracked/click/late.parquet")
    with context.warehouse.transaction() as connection:
        connection.execute(
            "INSERT INTO ops.tracked_file VALUES"
            " ('click', 'tracker', '2026-02-28', 'tracked/click/late.parquet', 2, 'run-0')"
        )
    second = run(context)
    assert (second.count("looked_at"), second.count("changed_matches")) == (2, 2)
    assert is_enough(context)


def test_the_other_one_of_a_duplicate_is_looked_at_when_the_first_is_declined(context: Context) -> None:
    twice = [row(f"t{each}", each, click_ref=f"ref-{each}", order_ref="o1") for each in (4, 5)]
    accept(context, told("d1", "03-05", *twice))
    assert run(context).count("new_breaks") == 21
    accept(context, told("d2", "03-06", twice[0] | {"status": "declined", "content_hash": "declined"}, twice[1]))
    second = run(context)
    assert (second.count("looked_at"), second.count("gone_breaks")) == (2, 1)
    assert is_enough(context)


def test_when_a_program_changes_everything_is_looked_at(context: Context) -> None:
    accept(context, told("d1", "03-05"))
    run(context)
    with context.warehouse.transaction(APPROVER) as connection:
        connection.execute("RESET ROLE")
        connection.execute("UPDATE ref.program SET lookback_days = lookback_days + 1")
    assert run(context).count("looked_at") == 20


def test_the_clock_does_not_run_backwards(context: Context) -> None:
    """Asked about a day before the last one, all are looked at."""
    accept(context, told("d1", "03-05"))
    run(context)
    assert reconcile(context, at("06-01").date(), {"awin": FACTS}, narrow_from=1).count("looked_at") == 20
