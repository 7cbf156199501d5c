"""Lump sums, worked by hand: what one pays that names nothing, and what waits for a person."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from etl.core.errors import Stop
from etl.remit import Decision, DecisionKind, decide, remit
from tests.accrue.books import ENTITY, context, version, world, write
from tests.remit.statements import LUMP, load, statement
from tests.remit.worked import DAY, MARCH, NOW, SALES, again, breaks, money, outcomes, paid, run


def test_a_lump_sum_pays_what_was_approved_in_its_period(warehouse_url: str, tmp_path: Path) -> None:
    rows = statement(**LUMP, net="30.5", gross="30.5", bank_amount="30.5")
    run(warehouse_url, tmp_path, world(MARCH, sales=SALES), *rows)
    assert paid(warehouse_url) == [("1", 100000, "period"), ("2", 205000, "period")]
    assert outcomes(warehouse_url, tmp_path) == {
        "shop_a:1": ("paid", 0, None),
        "shop_a:2": ("paid", 0, None),
        "shop_a:3": ("unpaid", 70000, "31-60"),
    }


def test_a_lump_sum_may_catch_up_with_what_was_left_open(warehouse_url: str, tmp_path: Path) -> None:
    april = {"period_from": "2026-04-01", "period_until": "2026-05-01"}
    rows = statement(**april, net="37.5", gross="37.5", bank_amount="37.5", received_on="2026-05-10")
    run(warehouse_url, tmp_path, world(MARCH, sales=SALES), *rows)
    assert [row[2] for row in paid(warehouse_url)] == ["until_period"] * 3


def test_the_next_lump_sum_takes_off_what_was_reduced_after_it_was_paid(warehouse_url: str, tmp_path: Path) -> None:
    reduced = version("8", "approved", version_no=2, effective_on=date(2026, 4, 9))
    april = {"period_from": "2026-04-01", "period_until": "2026-05-01", "received_on": "2026-05-10"}
    rows = [
        *statement(**LUMP, net="30.5", gross="30.5", bank_amount="30.5"),
        *statement(**april, remittance_id="R-2", net="5", gross="5", bank_amount="5"),
    ]
    run(warehouse_url, tmp_path, world((*MARCH, reduced), sales=SALES), *rows)
    assert {("1", 100000, "period"), ("1", -20000, "period"), ("3", 70000, "period")} <= set(paid(warehouse_url))
    assert outcomes(warehouse_url, tmp_path)["shop_a:1"] == ("paid", 0, None)


def test_a_lump_sum_does_not_pay_what_the_partner_processed_after_its_period(
    warehouse_url: str, tmp_path: Path
) -> None:
    # Sold and approved in March by its program's days, but processed on the third of April: paid with April's.
    late = version(
        "4", "approved", sale_id="shop_a:4", transaction_id="4", effective_on=date(2026, 3, 8),
        processed_on=date(2026, 4, 3),
    )  # fmt: skip
    april = {"period_from": "2026-04-01", "period_until": "2026-05-01", "received_on": "2026-05-10"}
    rows = [
        *statement(**LUMP, net="30.5", gross="30.5", bank_amount="30.5"),
        *statement(**april, remittance_id="R-2", net="11", gross="11", bank_amount="11"),
    ]
    run(warehouse_url, tmp_path, world((*MARCH[:3], late), sales=SALES), *rows)
    assert paid(warehouse_url) == [
        ("1", 100000, "period"),
        ("2", 205000, "period"),
        ("3", 70000, "period"),
        ("4", 40000, "period"),
    ]
    again(warehouse_url, tmp_path)


def test_a_lump_sum_that_nothing_fits_waits_until_a_person_lets_it_pay_the_oldest(
    warehouse_url: str, tmp_path: Path
) -> None:
    facts = world(MARCH, sales=SALES)
    run(warehouse_url, tmp_path, facts, *statement(**LUMP, net="12", gross="12", bank_amount="12"))
    assert money(warehouse_url)["partner_clearing", "EUR/4"] == -120000
    assert breaks(warehouse_url) == [("remittance_unallocated", "R-1", Decimal("12.0000"))]
    here = context(warehouse_url, tmp_path, "decide", NOW)
    made = decide(here, Decision(DecisionKind.OLDEST_FIRST, "R-1", "they pay in rates"))
    assert decide(here, Decision(DecisionKind.OLDEST_FIRST, "shop_a:R-1", "again")) == made
    run(warehouse_url, tmp_path, facts)
    assert paid(warehouse_url) == [("1", 100000, "oldest_first"), ("2", 20000, "oldest_first")]
    assert breaks(warehouse_url) == [("remittance_short", "2", Decimal("18.5000"))]
    decide(here, Decision(DecisionKind.UNDO, "R-1", "no, they do not", made))
    run(warehouse_url, tmp_path, facts)
    assert paid(warehouse_url) == []
    assert money(warehouse_url)["partner_clearing", "EUR/4"] == -120000
    with pytest.raises(Stop, match="no decision in force"):
        decide(here, Decision(DecisionKind.UNDO, "R-1", "twice", made))


def test_a_house_may_let_every_lump_sum_pay_the_oldest_after_what_takes_back(
    warehouse_url: str, tmp_path: Path
) -> None:
    taken = version("-3", "approved", sale_id="shop_a:4", transaction_id="4", effective_on=date(2026, 4, 2))
    facts = world((*MARCH[:3], taken), sales=SALES)
    write(warehouse_url, facts)
    here = context(warehouse_url, tmp_path, known_at=NOW, entity=replace(ENTITY, lump_sums="oldest_first"))
    load(here, statement(**LUMP, net="8", gross="8", bank_amount="8"))
    assert remit(here, DAY).count("new_allocations") == 3
    assert paid(warehouse_url) == [
        ("1", 100000, "oldest_first"),
        ("2", 10000, "oldest_first"),
        ("4", -30000, "oldest_first"),
    ]
