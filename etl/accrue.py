"""Accrue: bring the books of every sale to what its versions, click, rule and rates say, by posting the difference.

The target of a sale hangs on its own facts, the rates of its days and the day it is. So what was not touched since the
last accrual, by a change of facts, a rate or a day it waited for, needs no second look.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import date

import pyarrow as pa

from etl.core.ahead import read_ahead
from etl.core.context import Context, StageResult
from etl.core.facts import FactReader, reader_beside
from etl.core.ledger import lock_books, post_in_parts
from etl.core.sale_range import Some, in_parts
from etl.core.schemas import CASHBACK_RULE, CONTRACT_TERM, PROGRAM, TEXT
from etl.core.seen import NARROW_FROM, code_hash, has_versions, hash_of
from etl.core.target import Due, due, read_posted
from etl.core.touched import due_sales, forget_touched, read_touched
from etl.core.warehouse import Connection, fetch

_HEAD = pa.schema([("day", pa.date32()), ("inputs_hash", TEXT)])
_SALE_ID = pa.schema([("sale_id", TEXT)])
_RATE_DAY = pa.schema([("rate_on", pa.date32()), ("rates_hash", TEXT)])


@dataclass(frozen=True, slots=True)
class _Accrued:
    """What an accrual stands on besides the facts of sales: its day, what is the same for all, and the rates by day."""

    day: date
    inputs_hash: str
    rates: dict[date, str]


def accrue(
    context: Context,
    day: date,
    sales: Sequence[str] | None = None,
    *,
    is_whole: bool = False,
    narrow_from: int = NARROW_FROM,
) -> StageResult:
    """Post target minus posted for all sales (or the named ones) as of `day`; a second run posts nothing.

    Once there are `narrow_from` versions only sales touched since the last accrual are, unless `is_whole`. A sale that
    exists no more is brought to zero. Reads facts and books under the lock of the entity's books, and commits in one
    transaction. Stop if an amount is too large to be counted or an account's configuration is gone.
    """
    entity = context.entity.name
    with context.warehouse.transaction() as connection:
        lock_books(connection, entity)
        before = _read_accrued(connection, entity)
        now = _now(context, connection, day) if has_versions(connection, narrow_from) else None
        looked_at = _touched(connection, before, now) if sales is None and not is_whole else sales
        waiting: list[int] = []
        parts = list(in_parts(connection, looked_at, context.engine.sales_at_once))
        # Facts of the next sales are read, and their flows worked out, while those of the last are posted.
        with (
            reader_beside(context, connection, len(parts)) as reader,
            closing(read_ahead(_due(context, reader, parts, day), 1)) as found,
        ):
            posted = post_in_parts(
                connection,
                entity,
                "sale",
                _flows(found, waiting),
                run_id=context.run_id,
                created_by=context.actor,
                posted_at=context.known_at,
            )
        if sales is None:
            _remember(context, connection, before, now)
    waiting_count = sum(waiting)
    counts = (
        ("documents", posted.documents),
        ("entries", posted.entries),
        ("postings", posted.postings),
        ("waiting", waiting_count),
    )
    note = f"{posted.postings:,} postings for {posted.documents:,} sales"
    if waiting_count:
        note += f", the cashback of {waiting_count:,} waits for a rate or for one currency"
    return StageResult("accrue", entity, counts, note)


def _due(context: Context, reader: FactReader, parts: Iterable[Some], day: date) -> Iterator[Due]:
    """Yield the flows that are due of each part.

    What is in hand is bounded, however many sales there are: those whose flows are posted, and the next ones.
    """
    for some in parts:
        posted = read_posted(reader.connection, context.entity.name, some)
        yield due(context.engine, reader.of(some), posted, day)


def _flows(parts: Iterable[Due], waiting: list[int]) -> Iterator[pa.Table]:
    """Yield the flows of each part; how many of its sales wait is added to `waiting`."""
    for part in parts:
        waiting.append(part.waiting_count)
        yield part.flows


def _now(context: Context, connection: Connection, day: date) -> _Accrued:
    """Return what an accrual as of `day` stands on."""
    tables = [
        fetch(connection, f"SELECT {', '.join(schema.names)} FROM {source}", schema)
        for source, schema in (
            ("ref.program ORDER BY program_id, valid_from", PROGRAM),
            ("ref.cashback_rule_in_force ORDER BY rule_id, valid_from", CASHBACK_RULE),
            ("ref.contract_term_in_force ORDER BY term_id, valid_from", CONTRACT_TERM),
            ("ops.sale_in_opening ORDER BY sale_id", _SALE_ID),
        )
    ]
    query = (
        "SELECT rate_on, md5(string_agg(base || quote || rate::text || source, ',' ORDER BY base, quote, source))"
        " FROM ref.fx_rate GROUP BY rate_on"
    )
    return _Accrued(day, hash_of(tables, (code_hash(), context.configuration.hash)), _rates(connection, query))


def _read_accrued(connection: Connection, entity: str) -> _Accrued | None:
    head = fetch(connection, "SELECT day, inputs_hash FROM ops.accrued WHERE entity = %s", _HEAD, (entity,)).to_pylist()
    if not head:
        return None
    rates = _rates(connection, "SELECT rate_on, rates_hash FROM ops.accrued_rate")
    return _Accrued(head[0]["day"], head[0]["inputs_hash"], rates)


def _rates(connection: Connection, query: str) -> dict[date, str]:
    rates = fetch(connection, query, _RATE_DAY)
    return dict(zip(rates["rate_on"].to_pylist(), rates["rates_hash"].to_pylist(), strict=True))


def _touched(connection: Connection, before: _Accrued | None, now: _Accrued | None) -> list[str] | None:
    """Return the sales whose target may have changed since `before`; None for all."""
    if before is None or now is None or before.inputs_hash != now.inputs_hash or before.day > now.day:
        return None
    if not before.rates.keys() <= now.rates.keys():
        return None
    sales = set(read_touched(connection)["sale_id"].to_pylist())
    sales |= set(due_sales(connection, before.day, now.day).to_pylist())
    changed = [on for on, rates_hash in now.rates.items() if before.rates.get(on) != rates_hash]
    if changed:
        # A rate is that of its day and those up to the next one, and makes the days from the one before it usable.
        rated = """
            WITH known AS (
                SELECT rate_on, lag(rate_on) OVER of_quote AS before_on, lead(rate_on) OVER of_quote AS after_on
                FROM ref.fx_rate
                WINDOW of_quote AS (PARTITION BY base, quote, source ORDER BY rate_on)
            ),
            span AS (
                SELECT DISTINCT coalesce(before_on, '-infinity') AS from_on, coalesce(after_on, rate_on) AS until_on
                FROM known
                WHERE rate_on = ANY(%s)
            )
            SELECT DISTINCT s.sale_id
            FROM span AS p
            JOIN ops.sale AS s ON s.sale_on >= p.from_on AND s.sale_on < p.until_on
        """
        sales |= set(fetch(connection, rated, _SALE_ID, (changed,))["sale_id"].to_pylist())
    return sorted(sales)


def _remember(context: Context, connection: Connection, before: _Accrued | None, now: _Accrued | None) -> None:
    """Remember what the books stand on now; None is nothing, as there are too few sales for that to be worth it."""
    entity = context.entity.name
    if now is None:
        if before is not None:
            connection.execute("DELETE FROM ops.accrued WHERE entity = %s", (entity,))
        return
    forget_touched(connection)
    known = {} if before is None else before.rates
    if before is None:
        connection.execute("DELETE FROM ops.accrued_rate")
    changed = {on: rates_hash for on, rates_hash in now.rates.items() if known.get(on) != rates_hash}
    if changed:
        connection.execute(
            "INSERT INTO ops.accrued_rate SELECT * FROM unnest(%s::date[], %s::text[])"
            " ON CONFLICT (rate_on) DO UPDATE SET rates_hash = excluded.rates_hash",
            (list(changed), list(changed.values())),
        )
    if before is None or (before.day, before.inputs_hash) != (now.day, now.inputs_hash):
        connection.execute(
            "INSERT INTO ops.accrued (entity, day, inputs_hash, run_id) VALUES (%s, %s, %s, %s)"
            " ON CONFLICT (entity) DO UPDATE SET day = excluded.day, inputs_hash = excluded.inputs_hash,"
            " run_id = excluded.run_id",
            (entity, now.day, now.inputs_hash, context.run_id),
        )
