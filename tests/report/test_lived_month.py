"""The report of a month that went through every stage ties to its ledger, and leads from a payout to rows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime

from etl.core.context import Context
from etl.installation import clock
from etl.pipeline import approve_batch, batch_facts
from etl.report.figures import compute, scope_of
from tests.world.conftest import House, house_of

__all__ = ["house_of"]
MORNINGS = ["2026-09-09T06:30:00", "2026-09-25T06:30:00", "2026-11-20T06:30:00"]


def _told(context: Context, known_at: datetime) -> dict[str, list[dict[str, object]]]:
    """Return all tables of September's report as known at an instant, but those about breaks."""
    report = compute(context, scope_of(context, date(2026, 9, 1), known_at.date(), known_at))
    tables = [table for section in report.sections for table in section.tables]
    told = {table.outline.query: table.data.to_pylist() for table in tables}
    told["summary"] = [row for row in told["summary"] if "Open breaks" not in str(row["label"])]
    return {name: rows for name, rows in told.items() if not name.startswith("break_")}


def _told_after(house: House, mornings: list[str]) -> tuple[datetime, dict[str, list[dict[str, object]]]]:
    """Live some mornings; return when it was then, and what the report of all that is known said."""
    for morning in mornings:
        house.live(morning)
    opened = house.installation
    now = clock(opened.settings)
    context = opened.context("look", now, "clerk")
    report = compute(context, scope_of(context, date(2026, 9, 1), now.date()))
    tables = {table.outline.query: table for section in report.sections for table in section.tables}
    told = _told(context, now)
    # To know everything and to know what there is now are the same.
    for name, rows in told.items():
        kept = [row for row in tables[name].data.to_pylist() if "Open breaks" not in str(row.get("label"))]
        assert rows == kept, name
    assert sum(bool(rows) for rows in told.values()) >= 10
    return now, told


def test_the_report_of_a_lived_month_proves(house_of: Callable[[str, int], House]) -> None:
    house = house_of("small", 2)
    then, before = _told_after(house, MORNINGS[:2])
    house.live(MORNINGS[2])
    house.stage("payout", "house_bank", actor="robin")
    opened = house.installation
    now = clock(opened.settings)
    facts = batch_facts(opened, "house_bank", run_id="look", known_at=now)
    assert facts is not None
    approve_batch(opened, facts.batch_id, facts.sha256, person="alex", run_id="approve", known_at=now)
    house.stage("transmit", facts.batch_id)
    made = house.stage("report", "main")
    assert made.count("differences") == 0
    assert made.count("checks") > 20
    running = opened.context("look", now, "clerk")
    for month in (date(2026, 9, 1), date(2026, 11, 1)):
        report = compute(running, scope_of(running, month, now.date()))
        control = report.table("control").data.to_pylist()
        assert len(control) > 20
        assert [row for row in control if row["outcome"] != "holds"] == []
    # What is told today of that morning is what was told that morning, whatever came since.
    assert _told(running, then) == before
    rows = report.table("payout_row").data.to_pylist()
    assert rows
    assert all(row["delivery_id"] for row in rows)
    page = opened.settings.reports / "reconciliation-main-2026-11.html"
    assert "sent (not yet confirmed paid)" in page.read_text(encoding="utf-8")
