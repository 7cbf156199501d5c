"""Real orders from a table: customers become members, countries programs, cancellations reversals.

A cancellation names no order. It is given to an order of the same customer of the year before it: the latest of exactly
that amount that still stands whole; else the latest with more than enough left; else the one with most left, wholly,
and what is over is counted as short. If none is left it is a reversal without original at Rakuten; at the others, whose
rows can only shrink, it is a row that is declined as soon as it is there.

A partner pays an order only when nothing of it comes back any more: it knows of a return before it books it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sandbox import chance as chances
from sandbox import life as lives
from sandbox.instants import from_zone
from sandbox.model import (
    AWIN,
    RAKUTEN,
    TRADETRACKER,
    Cancellation,
    Event,
    Life,
    Member,
    Order,
    Placing,
    Program,
    Step,
)
from sandbox.orders import Clicks, Orphan, clicked_before
from sandbox.shops import Shelf

_PARTNERS = (AWIN, TRADETRACKER, RAKUTEN)
_ZONE = ZoneInfo("Europe/London")
_RATES = ("0.05", "0.06", "0.04", "0.08", "0.075")
# Nine tenths of the orders are from one country; it becomes a program at each partner, and customers are spread.
_SPLIT_COUNTRY = "United Kingdom"
# Longer after a purchase no shop takes anything back, and no partner is asked about it any more.
_RETURNED_WITHIN = timedelta(days=365)


class OrdersError(ValueError):
    """A file that is no table of orders; the message says what is wrong and what is wanted."""


@dataclass(frozen=True, slots=True)
class _Column:
    """A column the table must have: what it is called by people, and which Arrow types are that."""

    wanted: str
    fits: Callable[[pa.DataType], bool]


def _is_text(kind: pa.DataType) -> bool:
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(plain) or pa.types.is_large_string(plain))


COLUMNS: Mapping[str, _Column] = {
    "order_id": _Column("text", _is_text),
    "customer_id": _Column("a whole number (bigint)", pa.types.is_integer),
    "country": _Column("text", _is_text),
    "ordered_at": _Column(
        "a timestamp without a zone (local time of the shop)",
        lambda kind: bool(pa.types.is_timestamp(kind)) and kind.tz is None,
    ),
    "amount": _Column(
        "decimal(12,2), as money is never a float", lambda kind: bool(pa.types.is_decimal(kind)) and kind.scale <= 2
    ),
    "line_count": _Column("a whole number", pa.types.is_integer),
    "is_cancellation": _Column("a boolean", pa.types.is_boolean),
}
"""The columns that are read; others may stand beside them."""


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
    """The orders, and what became of each cancellation."""

    orders: list[Order] = field(default_factory=list)
    orphans: list[Orphan] = field(default_factory=list)
    cancellations: list[Cancellation] = field(default_factory=list)

    def count(self, placing: Placing) -> int:
        """Return how many cancellations ended so."""
        return sum(one.placing is placing for one in self.cancellations)


def invoices(path: Path) -> list[Invoice]:
    """Return the table's rows in time order; OrdersError if it is no table of orders."""
    table = _table(path)
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
    _require_sense(path, rows)
    return rows


def _table(path: Path) -> pa.Table:
    wanted = ", ".join(f"{name}: {column.wanted}" for name, column in COLUMNS.items())
    if not path.is_file():
        raise OrdersError(f"there is no file {path}: name a Parquet file of orders ({wanted})")
    try:
        schema = pq.read_schema(path)
        if missing := [name for name in COLUMNS if name not in schema.names]:
            has = ", ".join(schema.names) or "none"
            raise OrdersError(
                f"{path} lacks the columns {', '.join(missing)} (it has: {has}); a table of orders has {wanted}"
            )
        for name, column in COLUMNS.items():
            if not column.fits(schema.field(name).type):
                found = schema.field(name).type
                raise OrdersError(f"{path}: the column {name} is {found}, and must be {column.wanted}; cast it")
        table = pq.read_table(path, columns=list(COLUMNS))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        if isinstance(error, PermissionError):
            raise
        raise OrdersError(f"{path} is no Parquet file that can be read: {error}") from error
    if table.num_rows == 0:
        raise OrdersError(f"{path} has no rows: there is nothing to run on")
    for name in COLUMNS:
        if empty := table[name].null_count:
            row = pc.index(pc.is_null(table[name]), pa.scalar(True)).as_py() + 1
            raise OrdersError(
                f"{path}: {name} is null in {empty:,} of {table.num_rows:,} rows, the first is row {row:,}; "
                "leave such rows out or fill them in"
            )
    return table


def _require_sense(path: Path, rows: Sequence[Invoice]) -> None:
    """Raise OrdersError for what would make a wrong world: an id twice, an amount of the wrong sign, only returns."""
    order_id, count = Counter(row.order_id for row in rows).most_common(1)[0]
    if count > 1:
        raise OrdersError(
            f"{path}: order_id {order_id!r} is there {count} times; one row an order, so add up its lines"
        )
    for row in rows:
        if row.amount < 0 if not row.is_cancellation else row.amount > 0:
            kind, sign = ("a cancellation", "negative") if row.is_cancellation else ("an order", "not negative")
            raise OrdersError(f"{path}: {row.order_id!r} is {kind} of {row.amount}; the amount of such a row is {sign}")
    if all(row.is_cancellation for row in rows):
        raise OrdersError(f"{path} holds cancellations only: there is no order they could be of")


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
        if row.is_cancellation and _place(row, by_customer.get(row.customer_id, []), program, result):
            continue
        clicked_at = clicked_before(chance, row.ordered_at, program.lookback_days)
        click = clicks.click(program, member_of[row.customer_id], clicked_at)
        approve = Event(row.ordered_at + chances.days(chance, 30, 32), Step.APPROVE)
        decline = Event(row.ordered_at, Step.DECLINE, reason="canceled")
        order = Order(
            order_key=f"o-{row.order_id}",
            order_ref=row.order_id,
            program_id=program.program_id,
            member_id=click.member_id,
            click_id=click.click_id,
            occurred_at=row.ordered_at,
            amount=abs(row.amount),
            line_count=min(4, max(1, row.line_count)),
            life=Life.APPROVED,
            events=(),
        )
        standing = Standing(order, order.amount, [decline if row.is_cancellation else approve])
        standings.append(standing)
        if not row.is_cancellation:
            by_customer.setdefault(row.customer_id, []).append(standing)
    result.orders = [_finished(standing) for standing in standings]
    return result


def _place(row: Invoice, earlier: Sequence[Standing], program: Program, result: Placed) -> bool:
    """Give a cancellation to an order, or make an orphan of it; return False if it must be a row of its own."""
    amount = -row.amount
    recent = [one for one in reversed(earlier) if row.ordered_at - one.order.occurred_at <= _RETURNED_WITHIN]

    def note(placing: Placing, order_key: str) -> None:
        result.cancellations.append(Cancellation(row.order_id, order_key, row.ordered_at, amount, placing))

    standing = next((one for one in recent if one.left == amount == one.order.amount), None)
    if standing is None:
        standing = next((one for one in recent if one.left > amount), None)
    if standing is None:
        standing = max(recent, key=lambda one: one.left, default=None)
    if standing is None or standing.left <= 0:
        if program.partner == RAKUTEN:
            before = row.ordered_at - timedelta(days=30)
            result.orphans.append(Orphan(program.program_id, row.order_id, before, row.ordered_at, amount))
            note(Placing.WITHOUT_ORIGINAL, f"orphan-{len(result.orphans):05d}")
            return True
        note(Placing.ALONE, f"o-{row.order_id}")
        return False
    if standing.left > amount:
        standing.left -= amount
        standing.steps.append(Event(row.ordered_at, Step.REDUCE, standing.left, "partial return"))
        note(Placing.PART, standing.order.order_key)
        return True
    note(Placing.WHOLE if standing.left == amount else Placing.SHORT, standing.order.order_key)
    standing.left = Decimal(0)
    standing.steps.append(Event(row.ordered_at, Step.DECLINE, reason="canceled"))
    return True


def _finished(standing: Standing) -> Order:
    steps = sorted(standing.steps, key=lambda event: event.at)
    kinds = [event.step for event in steps]
    if Step.DECLINE in kinds and (Step.APPROVE not in kinds or kinds.index(Step.DECLINE) < kinds.index(Step.APPROVE)):
        steps = [event for event in steps if event.step is not Step.APPROVE]
        life = Life.DECLINED
    elif Step.DECLINE in kinds:
        life = Life.REVERSED_LATE
    else:
        steps.append(Event(lives.pay_day(steps[-1].at + lives.PAY_AFTER), Step.PAY))
        life = Life.APPROVED
        if Step.REDUCE in kinds:
            life = Life.AMENDED if kinds[-1] is Step.APPROVE else Life.PARTLY_REFUNDED
    return replace(standing.order, life=life, events=tuple(steps))
