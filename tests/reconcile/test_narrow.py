"""Of many sales only those are looked at again that something new could touch, and that is enough."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pyarrow as pa
import pytest

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


def track(context: Context, name: str, *told: Row) -> None:
    """Write a file of clicks and name it in the warehouse."""
    path = f"tracked/click/{name}.parquet"
    context.lake.put_table(pa.Table.from_pylist(list(told), schema=CLICK), path)
    with context.warehouse.transaction() as connection:
        query = "INSERT INTO ops.tracked_file VALUES ('click', 'tracker', %s, %s, %s, 'run-0')"
        connection.execute(query, (told[0]["clicked_at"].date(), path, len(told)))


@contextmanager
def away(context: Context, *paths: str) -> Iterator[None]:
    """Take these objects out of the lake: who asks for one is stopped."""
    places = [context.lake.local(path) for path in paths]
    for place in places:
        place.rename(place.with_suffix(".away"))
    yield
    for place in places:
        place.with_suffix(".away").rename(place)


def first_of(context: Context) -> None:
    """Look at twenty sales for the first time, and at the ends of all files."""
    accept(context, told("d1", "03-05"))
    run(context)
    accept(context, told("d2", "03-06", row("t20", 20, click_ref="ref-20", status="approved")))
    assert run(context).count("looked_at") == 1


@pytest.mark.parametrize(
    ("ref", "clicked", "needed", "rule"),
    [
        ("ref-3", "ref-3", "early", "click_ref"),
        ("ref-3", "REF-3", "early", "click_ref_repaired"),
        ("ref-3", "ref-3", "late", None),
        (None, "timed", "early", "click_time"),
    ],
)
def test_clicks_are_read_from_the_files_that_can_hold_what_was_found_before(
    context: Context, ref: str | None, clicked: str, needed: str, rule: str | None
) -> None:
    """One is found by its id, one by a bent one, one although it came after the sale, one by its time."""
    times = {"early": "02-10 09:00:20", "late": "03-20 09:00:20"}
    clicks = {name: click(clicked if name == needed else "other", on) for name, on in times.items()}
    for name, each in clicks.items():
        track(context, name, each)
    timed = {} if ref else {"partner_clicked_at": at("02-10 09:00"), "partner_clicked_precision_seconds": 60}
    sale = row("t3", 3, click_ref=ref, **timed)
    accept(context, told("d0", "03-04", sale))
    first_of(context)
    accept(context, told("d3", "03-07", row("t3", 3, click_ref=ref, status="approved", **timed)))
    unneeded = [f"tracked/click/{name}.parquet" for name in ("early", "late", "one") if name != needed]
    with away(context, *unneeded):
        assert run(context).count("new_versions") >= 1
    with context.warehouse.transaction() as connection:
        assert connection.execute("SELECT rule FROM ops.sale WHERE sale_id = 'awin_main:t3'").fetchone() == (rule,)
    assert is_enough(context)


def test_a_reference_that_is_new_is_looked_for_wherever_ids_do_not_say_otherwise(context: Context) -> None:
    """The click lies far outside the window of its sale, which is a break; before `m` no file has an id like it."""
    track(context, "far", click("REF-far", "01-02 09:00"))
    track(context, "between", click("ref-eve", "02-02 09:00"), click("ref-far", "01-03 09:00"))
    track(context, "other", click("a1", "02-02 09:00"), click("m1", "02-03 09:00"))
    first_of(context)
    accept(context, told("d3", "03-07", row("t3", 3, click_ref="ref-far")))
    with away(context, "tracked/click/one.parquet"):
        assert run(context).count("new_versions") == 2
    assert is_enough(context)
    with context.warehouse.transaction() as connection:
        found = connection.execute("SELECT kind FROM ops.break WHERE sale_id = 'awin_main:t3'").fetchall()
    assert found == [("outside_window",)]


def test_a_reference_that_comes_back_is_looked_for_again(context: Context) -> None:
    """While the sale named another one its click came."""
    first_of(context)
    for number, ref in ((3, "other"), (4, "ref-3")):
        if ref == "ref-3":
            track(context, "late", click("ref-3", "02-27 09:00"))
            run(context)
        accept(context, told(f"d{number}", f"03-{number + 4:02}", row("t3", 3, click_ref=ref)))
        assert run(context).count("new_versions") >= 1
        assert is_enough(context)


def test_rows_are_read_from_the_deliveries_whose_days_they_are_of(context: Context) -> None:
    february = replace(delivery("d0", "02-20", row("t0", 1, occurred_at=at("02-10 10:00"))))
    accept(context, february, window=("2026-02-01", "2026-03-01"))
    first_of(context)
    accept(context, told("d3", "03-07", row("t20", 20, click_ref="ref-20"), row("t3", 3, click_ref="new")))
    with away(context, "accepted/d0.parquet"):
        assert run(context).count("new_versions") == 2
    # A row that happened on another day by now.
    moved = row("t0", 1, occurred_at=at("03-02 10:00"))
    accept(context, replace(whole := told("d4", "03-08"), rows=[*whole.rows, moved | {"row_number": 21}]))
    assert run(context).count("new_versions") >= 1
    assert is_enough(context)


def test_a_click_that_was_tracked_on_two_days_is_found_on_either(context: Context) -> None:
    """By its id the earlier row is taken, by the time a partner tells the row of that time."""
    track(context, "early", click("again", "02-10 09:00:20"))
    track(context, "late", click("again", "02-27 09:00:20"))
    timed = {"partner_clicked_at": at("02-27 09:00"), "partner_clicked_precision_seconds": 60}
    sales = [row("t3", 3, click_ref="again"), row("t4", 4, click_ref=None, **timed)]
    accept(context, told("d0", "03-04", *sales))
    first_of(context)
    accept(context, told("d3", "03-07", *(one | {"status": "approved", "content_hash": "other"} for one in sales)))
    run(context)
    assert is_enough(context)
    with context.warehouse.transaction() as connection:
        found = connection.execute("SELECT clicked_at FROM ops.sale WHERE rule IS NOT NULL ORDER BY sale_id").fetchall()
    assert found == [(at("02-10 09:00:20"),), (at("02-27 09:00:20"),)]
