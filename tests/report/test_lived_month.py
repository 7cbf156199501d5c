"""The report of a month that went through every stage ties to its ledger, and leads from a payout to rows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

from etl.installation import clock
from etl.pipeline import approve_batch, batch_facts
from etl.report.figures import compute, scope_of
from tests.world.conftest import House, house_of

__all__ = ["house_of"]
MORNINGS = ["2026-09-09T06:30:00", "2026-09-25T06:30:00", "2026-11-20T06:30:00"]


def test_the_report_of_a_lived_month_proves(house_of: Callable[[str, int], House]) -> None:
    house = house_of("small", 2)
    for morning in MORNINGS:
        house.live(morning)
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
    rows = report.table("payout_row").data.to_pylist()
    assert rows
    assert all(row["delivery_id"] for row in rows)
    page = opened.settings.reports / "reconciliation-main-2026-11.html"
    assert "sent (not yet confirmed paid)" in page.read_text(encoding="utf-8")
