"""A month's statements through every stage: money pays what the partners really paid for, and the books prove."""

from __future__ import annotations

import csv
from collections.abc import Callable
from decimal import Decimal

import psycopg
import pytest

from tests.world.conftest import MORNINGS, House


def _paid(house: House) -> tuple[dict[tuple[str, str, str], Decimal], list[str]]:
    """Return what statements paid of each transaction, and of which statements something is left."""
    with psycopg.connect(house.place.postgres.url(f"tallyback_{house.place.name}")) as connection:
        rows = connection.execute(
            "SELECT partner_account, remittance_id, transaction_id, sum(amount) FROM mart.remittance_allocation"
            " GROUP BY 1, 2, 3"
        ).fetchall()
        left = connection.execute(
            "SELECT transaction_id FROM ops.break WHERE kind = 'remittance_unallocated'"
        ).fetchall()
    return {(str(row[0]), str(row[1]), str(row[2])): Decimal(str(row[3])) for row in rows}, [
        str(row[0]) for row in left
    ]


def _judge_money(house: House, until: str) -> None:
    """Hold what the statements pay in the warehouse against what the partners really paid for."""
    with (house.place.world / "truth_remittance.csv").open(encoding="utf-8") as source:
        truth = [row for row in csv.DictReader(source) if row["received_on"] <= until]
    paid, left = _paid(house)
    assert {row["partner_account"] for row in truth} == {"awin_main", "rakuten_main", "tradetracker_main"}
    assert {row["is_as_reported"] for row in truth} == {"yes", "no"}
    wrong = [
        row
        for row in truth
        if abs(paid.get((row["partner_account"], row["remittance_id"], row["transaction_id"]), Decimal(0))
               - Decimal(row["paid"])) >= Decimal("0.01")
        and row["remittance_id"] not in left
    ]  # fmt: skip
    assert wrong == []
    known = {row["remittance_id"] for row in truth}
    print(f"{len(known)} statements, {len(truth)} payments, left open: {left}")
    assert len(set(left) & known) <= len(known) // 3


@pytest.mark.timeout(900)
def test_statements_pay_what_they_are_for(house_of: Callable[[str, int], House]) -> None:
    house = house_of("small", 2)
    for morning in MORNINGS:
        house.live(morning)
    _judge_money(house, MORNINGS[-1][:10])
    house.prove()
    assert house.stage("remit", "main").count("new_allocations") == 0
