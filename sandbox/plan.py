"""Which world is lived through on which mornings: the generated month, or a table of real orders month by month."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from sandbox.rates import read_text, spans
from sandbox.uci import invoices, span

MONTH = ["2026-09-09", "2026-09-17", "2026-09-25", "2026-10-02", "2026-11-20"]
"""The mornings on which the generated month is fetched: four weeks, and once when partners have validated."""

UNTIL_VALIDATED = timedelta(days=75)
"""How long after the last month of real orders they are fetched once more."""

RATES_BESIDE = "eurofxref-hist.csv.gz"
"""The ECB's history under its own name, beside a table of real orders."""

LAST_WINDOWS_BY_AIRFLOW = 3
"""How many of the last months of real orders go through the DAGs; those before, through `tallyback run`'s stages."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Which world, and the mornings it is fetched: first by the pipeline alone, then through Airflow."""

    name: str
    seed: int
    size: str
    orders: Path | None
    rates: Path | None
    by_pipeline: list[datetime]
    by_airflow: list[datetime]


def plan_of(seed: int, size: str, orders: Path | None) -> Plan:
    """Return the plan of a world: the generated month, or the whole span of a table of real orders.

    OrdersError if the file is no table of orders. Real exchange rates that lie beside it are used if they span it.
    """
    if orders is None:
        mornings = [_morning(date.fromisoformat(day)) for day in MONTH]
        return Plan(f"{size}_{seed}", seed, size, None, None, [], mornings)
    first, last = span(invoices(orders))
    digest = hashlib.sha256(orders.read_bytes()).hexdigest()[:8]
    mornings, month = [], _next_month(first)
    while month <= _next_month(last):
        mornings.append(_morning(month + timedelta(days=1)))
        month = _next_month(month)
    mornings.append(_morning(mornings[-1].date() + UNTIL_VALIDATED))
    cut = max(0, len(mornings) - LAST_WINDOWS_BY_AIRFLOW)
    rates = orders.with_name(RATES_BESIDE)
    has_rates = rates.is_file() and spans(read_text(rates), first, mornings[-1].date())
    name = f"orders_{digest}_{seed}"
    return Plan(name, seed, size, orders, rates if has_rates else None, mornings[:cut], mornings[cut:])


def _morning(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 6, 30, tzinfo=UTC)


def _next_month(day: date) -> date:
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1)
