"""Real orders from a table: customers become members, countries programs, cancellations reversals.

A cancellation names no order. It is given to an earlier order of the same customer: the latest of exactly that amount
that still stands whole; else the latest with more than enough left; else the one with most left, wholly, and what is
over is counted as short. If none is left it is a reversal without original at Rakuten, and counted at the others,
whose rows can only shrink what they have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow.parquet as pq

from sandbox import chance as chances
from sandbox import life as lives
from sandbox.instants import from_zone
from sandbox.model import AWIN, RAKUTEN, TRADETRACKER, Event, Life, Member, Order, Program, Step
from sandbox.orders import Clicks, Orphan, clicked_before
from sandbox.shops import Shelf

_PARTNERS = (AWIN, TRADETRACKER, RAKUTEN)
_ZONE = ZoneInfo("Europe/London")
_COLUMNS = ["order_id", "customer_id", "country", "ordered_at", "amount", "line_count", "is_cancellation"]
_RATES = ("0.05", "0.06", "0.04", "0.08", "0.075")
# Nine tenths of the orders are from one country; it becomes a program at each partner, and customers are spread.
_SPLIT_COUNTRY = "United Kingdom"


@dataclass(frozen=True, slots=True)
class Invoice:
    """One row of the table, its time in UTC."""

    order_id: str
    customer_id: int
    country: str
    ordered_at: datetime
    amount: Decimal
    line_count: int
    is_cancellation: bool


@dataclass(slots=True)
class Standing:
    """An order while cancellations are being placed: what is left of it and what happened to it."""

    order: Order
    left: Decimal
    steps: list[Event] = field(default_factory=list)


@dataclass(slots=True)
class Placed:
    """The orders with their cancellations, and how many found a place."""

    orders: list[Order] = field(default_factory=list)
    orphans: list[Orphan] = field(default_factory=list)
    whole_count: int = 0
    partial_count: int = 0
    short_count: int = 0
    unplaceable_count: int = 0


def invoices(path: Path) -> list[Invoice]:
    """Return the table's rows in time order."""
    table = pq.read_table(path, columns=_COLUMNS)
    rows = [
        Invoice(
            str(row["order_id"]),
            int(row["customer_id"]),
            str(row["country"]),
            from_zone(row["ordered_at"], _ZONE),
            Decimal(row["amount"]),
            int(row["line_count"]),
            bool(row["is_cancellation"]),
        )
        for row in table.to_pylist()
    ]
    rows.sort(key=lambda row: (row.ordered_at, row.order_id))
    return rows


def span(rows: Sequence[Invoice]) -> tuple[date, date]:
    """Return the first day of the first order's month and the day after the last order."""
    return rows[0].ordered_at.date().replace(day=1), rows[-1].ordered_at.date() + timedelta(days=1)


def shelves(rows: Sequence[Invoice]) -> tuple[tuple[str, ...], tuple[Shelf, ...]]:
    """Return a shelf per country, its country beside it; one country has a shelf at each partner."""
    countries = sorted({row.country for row in rows})
    names: list[str] = []
    made: list[Shelf] = []
    for number, country in enumerate(countries):
        partners = _PARTNERS if country == _SPLIT_COUNTRY else (_PARTNERS[number % 3],)
        for partner in partners:
            names.append(country)
            made.append(Shelf(f"Gift shop {country}", partner, "GBP", _RATES[number % len(_RATES)], 30))
    return tuple(names), tuple(made)


def customer_count(rows: Sequence[Invoice]) -> int:
    """Return how many members the table needs."""
    return len({row.customer_id for row in rows})


def placed(
    seed: int,
    rows: Sequence[Invoice],
    members: Sequence[Member],
    countries: Sequence[str],
    programs: Sequence[Program],
    clicks: Clicks,
) -> Placed:
    """Return every order with a click drawn before it and the cancellations that fell to it."""
    chance = chances.stream(seed, "uci")
    by_country: dict[str, list[Program]] = {}
    for country, program in zip(countries, programs, strict=True):
        by_country.setdefault(country, []).append(program)
    customers = sorted({row.customer_id for row in rows})
    member_of = {customer: members[place].member_id for place, customer in enumerate(customers)}
    by_customer: dict[int, list[Standing]] = {}
    standings: list[Standing] = []
    result = Placed()
    for row in rows:
        choices = by_country[row.country]
        program = choices[row.customer_id % len(choices)]
        if row.is_cancellation:
            _place(row, by_customer.get(row.customer_id, []), program, result)
            continue
        clicked_at = clicked_before(chance, row.ordered_at, program.lookback_days)
        click = clicks.click(program, member_of[row.customer_id], clicked_at)
        approve = Event(row.ordered_at + chances.days(chance, 30, 32), Step.APPROVE)
        order = Order(
            order_key=f"o-{row.order_id}",
            order_ref=row.order_id,
            program_id=program.program_id,
            member_id=click.member_id,
            click_id=click.click_id,
            occurred_at=row.ordered_at,
            amount=row.amount,
            line_count=min(4, max(1, row.line_count)),
            life=Life.APPROVED,
            events=(),
        )
        standing = Standing(order, row.amount, [approve])
        standings.append(standing)
        by_customer.setdefault(row.customer_id, []).append(standing)
    result.orders = [_finished(standing) for standing in standings]
    return result


def _place(row: Invoice, earlier: Sequence[Standing], program: Program, result: Placed) -> None:
    amount = -row.amount
    standing = next((one for one in reversed(earlier) if one.left == amount == one.order.amount), None)
    if standing is None:
        standing = next((one for one in reversed(earlier) if one.left > amount), None)
    if standing is None:
        standing = max(reversed(earlier), key=lambda one: one.left, default=None)
        if standing is None or standing.left <= 0:
            if program.partner == RAKUTEN:
                before = row.ordered_at - timedelta(days=30)
                result.orphans.append(Orphan(program.program_id, row.order_id, before, row.ordered_at, amount))
            else:
                result.unplaceable_count += 1
            return
    if standing.left > amount:
        standing.left -= amount
        standing.steps.append(Event(row.ordered_at, Step.REDUCE, standing.left, "partial return"))
        result.partial_count += 1
        return
    result.whole_count += standing.left == amount
    result.short_count += standing.left < amount
    standing.left = Decimal(0)
    standing.steps.append(Event(row.ordered_at, Step.DECLINE, reason="canceled"))


def _finished(standing: Standing) -> Order:
    steps = sorted(standing.steps, key=lambda event: event.at)
    kinds = [event.step for event in steps]
    if Step.DECLINE in kinds and kinds.index(Step.DECLINE) < kinds.index(Step.APPROVE):
        steps = [event for event in steps if event.step is not Step.APPROVE]
        life = Life.DECLINED
    elif Step.DECLINE in kinds:
        life = Life.REVERSED_LATE
    elif Step.REDUCE in kinds:
        life = Life.AMENDED if kinds[-1] is Step.APPROVE else Life.PARTLY_REFUNDED
    else:
        life = Life.APPROVED
    return replace(standing.order, life=life, events=tuple(lives.with_payment(steps)))
