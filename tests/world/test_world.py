"""A tiny month through every stage: the books equal the truth, prove themselves, pay and stay the same."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from etl.installation import clock
from sandbox.house import Place
from sandbox.judge import judge
from tests.world.conftest import MORNINGS, House


def _counts(place: Place) -> tuple[int, ...]:
    tables = ["ops.delivery", "ops.parse", "ops.validation", "ops.reject", "ops.transaction_version", "ops.sale"]
    tables += ["ops.match", "ops.break", "ledger.posting", "ledger.journal_entry", "payout.payout", "pii.payee"]
    tables += ["ops.tracked_file", "ref.program", "ref.cashback_rule", "ref.fx_rate"]
    with psycopg.connect(place.postgres.url(f"tallyback_{place.name}")) as connection:
        found = [connection.execute(f"SELECT count(*) FROM {table}").fetchone() for table in tables]
    return tuple(int(str(row[0])) for row in found if row)


@pytest.mark.timeout(900)
def test_a_tiny_month_is_booked_proved_paid_and_then_nothing_changes(house_of: Callable[[str, int], House]) -> None:
    house = house_of("tiny", 1)
    for morning in MORNINGS:
        house.live(morning)
        house.prove()
    verdict = judge(house.place, clock(house.installation.settings))
    print("\n".join(verdict.lines))
    assert verdict.sales >= 8
    assert verdict.right == verdict.findable == verdict.found == verdict.sales
    assert verdict.problems == []
    assert verdict.excused_sales == verdict.never_seen == 0
    before = _counts(house.place)
    house.live(MORNINGS[-1])
    assert _counts(house.place) == before
