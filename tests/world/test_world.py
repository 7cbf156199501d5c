"""A whole month through every stage: the books equal the truth, prove themselves, pay once and stay the same."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import psycopg
import pytest

from etl.core.errors import Stop
from etl.installation import clock, credentials_from_environment
from etl.pipeline import approve_batch, batch_facts
from sandbox.house import Place
from sandbox.judge import judge
from tests.world.conftest import House

MORNINGS = ["2026-09-09T06:30:00", "2026-09-17T06:30:00", "2026-09-25T06:30:00", "2026-10-02T06:30:00"]
MUCH_LATER = "2026-11-20T06:30:00"


def _counts(place: Place) -> tuple[int, ...]:
    tables = ["ops.delivery", "ops.parse", "ops.validation", "ops.reject", "ops.transaction_version", "ops.sale"]
    tables += ["ops.match", "ops.break", "ledger.posting", "ledger.journal_entry", "payout.payout", "pii.payee"]
    tables += ["ops.tracked_file", "ref.program", "ref.cashback_rule", "ref.fx_rate"]
    with psycopg.connect(place.postgres.url(f"tallyback_{place.name}")) as connection:
        found = [connection.execute(f"SELECT count(*) FROM {table}").fetchone() for table in tables]
    return tuple(int(str(row[0])) for row in found if row)


def _proved(house: House) -> None:
    result = house.stage("verify", "main")
    assert result.count("checks") > 5
    assert result.count("differences") == 0


@pytest.mark.timeout(900)
def test_a_tiny_month_is_booked_proved_paid_and_then_nothing_changes(house_of: Callable[[str, int], House]) -> None:
    house = house_of("tiny", 1)
    for morning in [*MORNINGS, MUCH_LATER]:
        house.live(morning)
        _proved(house)
    verdict = judge(house.place, clock(house.installation.settings))
    print("\n".join(verdict.lines))
    assert verdict.sales >= 8
    assert verdict.right == verdict.findable == verdict.found
    assert verdict.unexcused == []
    assert verdict.excused_minor == 0
    before = _counts(house.place)
    house.live(MUCH_LATER)
    assert _counts(house.place) == before


@pytest.mark.timeout(900)
def test_a_payout_is_approved_by_another_person_and_sent_once(house_of: Callable[[str, int], House]) -> None:
    house = house_of("small", 2)
    for morning in [*MORNINGS, MUCH_LATER]:
        house.live(morning)
    with pytest.raises(Stop, match="is no person"):
        house.stage("payout", "house_bank", actor="airflow")
    selected = house.stage("payout", "house_bank", actor="robin")
    assert selected.count("payouts") > 3
    opened = house.installation
    now = clock(opened.settings)
    facts = batch_facts(opened, "house_bank", run_id="look", known_at=now)
    assert facts is not None
    approve_batch(opened, facts.batch_id, facts.sha256, person="alex", run_id="approve", known_at=now)
    house.stage("transmit", facts.batch_id)
    inbox = list((house.place.world / "bank" / "inbox").iterdir())
    assert [file.suffix for file in inbox] == [".xml"]
    house.stage("transmit", facts.batch_id)
    assert list((house.place.world / "bank" / "inbox").iterdir()) == inbox
    assert house.stage("payout", "house_bank", actor="robin").count("payouts") == 0
    _proved(house)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", [1])
def test_the_books_of_a_month_equal_the_truth(house_of: Callable[[str, int], House], seed: int) -> None:
    house = house_of("month", seed)
    for morning in [*MORNINGS, MUCH_LATER]:
        house.live(morning)
    _proved(house)
    verdict = judge(house.place, datetime.fromisoformat(MUCH_LATER))
    print(f"seed {seed}", *verdict.lines, sep="\n")
    assert verdict.wrong_by_rule.get("click_ref", 0) == 0
    assert verdict.right >= 0.999 * verdict.matched
    assert verdict.found >= 0.99 * verdict.findable, verdict.missed[:20]
    assert verdict.unexcused == []
    assert verdict.excused_minor <= verdict.commission
    assert credentials_from_environment(house.variables)("awin")["token"] not in str(house.installation)
