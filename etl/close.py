"""Close: begin and finish the closing of a period, by a named person; what blocks it is told with what to do next."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from etl.core.approval import require_person
from etl.core.closed_books import read_chain, read_inputs, read_month, record_text
from etl.core.context import Context, StageResult
from etl.core.errors import Retry, Stop
from etl.core.exchange import Rates
from etl.core.ledger import lock_books
from etl.core.payouts import books_day
from etl.core.period import PeriodState, closed_through, last_day, next_month, period_states, require_month
from etl.core.revaluation import open_items, revaluation_flows, unpriced
from etl.core.schemas import FX_RATE, TEXT
from etl.core.warehouse import APPROVER, Connection, fetch

NAMED_MAX = 5
"""Of what blocks a close so many are named in the sentence; the count says how many there are."""

_NAME = pa.schema([("name", TEXT)])
_PERIOD = pa.schema(
    [
        ("starts_on", pa.date32()),
        ("state", TEXT),
        ("begun_by", TEXT),
        ("begun_at", pa.timestamp("us")),
        ("closed_by", TEXT),
        ("closed_at", pa.timestamp("us")),
        ("record_hash", TEXT),
    ]
)
_CURRENCY_DAY = pa.schema([("sale_on", pa.date32()), ("currency", TEXT), ("rule_currency", TEXT)])


class Proof(Protocol):
    """One check of `etl.verify`, which is handed in: stages do not know each other."""

    @property
    def name(self) -> str: ...
    @property
    def actual(self) -> int | str: ...
    @property
    def is_ok(self) -> bool: ...


Prove = Callable[[Context, date], Sequence[Proof]]


@dataclass(frozen=True, slots=True)
class CloseCheck:
    """One question asked before a period is closed: the answer, and what to do where it blocks (or only warns)."""

    name: str
    is_ok: bool
    found: str
    next_step: str
    blocks: bool = True


@dataclass(frozen=True, slots=True)
class ClosingRecord:
    """What is kept of a closed period: who, when, and one text with its hash."""

    starts_on: date
    closed_by: str
    closed_at: datetime
    hash: str
    record: str


def begin(context: Context, starts_on: date) -> StageResult:
    """Move an open period to closing: from now on only adjustments and revaluation are booked in it.

    Stop if the actor is no person, if the month is not over, or if it is closed. A period that is closing stays so.
    """
    person, entity = require_person(context.actor), context.entity.name
    with context.warehouse.transaction(APPROVER) as connection:
        lock_books(connection, entity)
        state = _state(connection, entity, require_month(starts_on))
        if state is PeriodState.CLOSED:
            raise Stop(f"{starts_on:%Y-%m} is closed, and a closed period is never opened again")
        if books_day(context) <= last_day(starts_on):
            raise Stop(f"{starts_on:%Y-%m} is not over: begin after {last_day(starts_on)}")
        if state is PeriodState.CLOSING:
            return StageResult("close", f"{entity}/{starts_on:%Y-%m}", (), "is closing already")
        connection.execute(
            "INSERT INTO ref.period VALUES (%s, %s, 'closing')"
            " ON CONFLICT (entity, starts_on) DO UPDATE SET state = excluded.state",
            (entity, starts_on),
        )
        _record_event(connection, context, starts_on, PeriodState.CLOSING, person, None)
    note = f"closing, begun by {person}: only adjustments and revaluation are booked in it now"
    return StageResult("close", f"{entity}/{starts_on:%Y-%m}", (), note)


def check(context: Context, starts_on: date, prove: Prove) -> list[CloseCheck]:
    """Return every check of the period in the order in which to look at them; those that block must be ok."""
    with context.warehouse.transaction(APPROVER) as connection:
        found = list(_checks(connection, context, require_month(starts_on)))
    return [*found, _proved(prove(context, books_day(context)))]


def finish(context: Context, starts_on: date, prove: Prove) -> ClosingRecord:
    """Close a period that is closing, and return its record.

    Stop if the actor is no person, or naming each check that blocks. Retry if the books moved while they were proved.
    """
    person, entity = require_person(context.actor), context.entity.name
    with context.warehouse.transaction(APPROVER) as connection:
        if _state(connection, entity, require_month(starts_on)) is not PeriodState.CLOSING:
            raise Stop(f"{starts_on:%Y-%m} is not closing: run `tallyback close begin {starts_on:%Y-%m}` first")
        chain_before = read_chain(connection, entity)
    proved = _proved(prove(context, books_day(context)))
    with context.warehouse.transaction(APPROVER) as connection:
        lock_books(connection, entity)
        blocking = [
            each for each in (*_checks(connection, context, starts_on), proved) if each.blocks and not each.is_ok
        ]
        if blocking:
            listed = "\n".join(f"  {each.name}: {each.found}; {each.next_step}" for each in blocking)
            raise Stop(f"{starts_on:%Y-%m} cannot be closed yet:\n{listed}")
        if not read_chain(connection, entity).equals(chain_before):
            raise Retry(f"something was booked while the books were proved: finish {starts_on:%Y-%m} again")
        text = record_text(_record(connection, context, starts_on, person))
        done = connection.execute(
            "UPDATE ref.period SET state = 'closed' WHERE entity = %s AND starts_on = %s AND state = 'closing'",
            (entity, starts_on),
        )
        if done.rowcount != 1:
            raise Retry(f"{starts_on:%Y-%m} was moved by somebody else at this moment: look at it again")
        _record_event(connection, context, starts_on, PeriodState.CLOSED, person, text)
    return ClosingRecord(starts_on, person, context.known_at, hashlib.sha256(text.encode()).hexdigest(), text)


def list_periods(context: Context) -> pa.Table:
    """Return the periods that were moved or booked in, the oldest first, with who moved them."""
    query = """
        WITH month AS (
            SELECT DISTINCT date_trunc('month', booked_on)::date AS starts_on
            FROM ledger.journal_entry WHERE entity = %s
            UNION
            SELECT starts_on FROM ref.period WHERE entity = %s
        )
        SELECT m.starts_on, coalesce(p.state, 'open'), p.begun_by, p.begun_at, p.closed_by, p.closed_at, p.record_hash
        FROM month AS m
        LEFT JOIN mart.period AS p ON p.entity = %s AND p.starts_on = m.starts_on
        ORDER BY m.starts_on
    """
    entity = context.entity.name
    with context.warehouse.transaction() as connection:
        return fetch(connection, query, _PERIOD, (entity, entity, entity))


def closing_record(context: Context, starts_on: date) -> ClosingRecord:
    """Return the closing record of a closed period; Stop if it is not closed."""
    query = """
        SELECT moved_by, moved_at, hash, record FROM ledger.period_event
        WHERE entity = %s AND starts_on = %s AND state = 'closed'
    """
    with context.warehouse.transaction() as connection:
        row = connection.execute(query, (context.entity.name, require_month(starts_on))).fetchone()
    if row is None:
        raise Stop(f"{starts_on:%Y-%m} is not closed: `tallyback close list` shows where each period stands")
    assert isinstance(row[1], datetime)
    return ClosingRecord(starts_on, str(row[0]), row[1], str(row[2]), str(row[3]))


def _state(connection: Connection, entity: str, starts_on: date) -> PeriodState:
    return period_states(connection, entity).get(starts_on, PeriodState.OPEN)


def _record_event(
    connection: Connection, context: Context, starts_on: date, state: PeriodState, person: str, record: str | None
) -> None:
    digest = None if record is None else hashlib.sha256(record.encode()).hexdigest()
    connection.execute(
        "INSERT INTO ledger.period_event (entity, starts_on, state, moved_by, moved_at, record, hash)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s)",
        (context.entity.name, starts_on, state, person, context.known_at, record, digest),
    )


def _record(connection: Connection, context: Context, starts_on: date, person: str) -> dict[str, object]:
    """Return what the closing record says; the list of inputs goes to the lake under its sha256."""
    entity = context.entity
    inputs = read_inputs(connection, entity.name)
    with tempfile.TemporaryDirectory(dir=context.temporary) as folder:
        listed = Path(folder) / "inputs.txt"
        listed.write_text("".join(f"{line}\n" for line in inputs), encoding="utf-8")
        stored = context.lake.put_file(listed, "closing", ".txt")
    before = connection.execute(
        "SELECT hash FROM ledger.period_event WHERE entity = %s AND state = 'closed' AND starts_on < %s"
        " ORDER BY starts_on DESC LIMIT 1",
        (entity.name, starts_on),
    ).fetchone()
    return {
        "entity": entity.name,
        "period": f"{starts_on:%Y-%m}",
        "base_currency": entity.base_currency,
        "closed_by": person,
        "closed_at": context.known_at.isoformat(),
        "code_version": version("tallyback"),
        "configuration_sha256": context.configuration.hash,
        "input_count": len(inputs),
        "inputs_sha256": stored.sha256,
        "inputs_path": stored.path,
        "chain": read_chain(connection, entity.name).to_pylist(),
        "previous_record": None if before is None else before[0],
        **read_month(connection, entity.name, entity.base_currency, starts_on).as_record(),
    }


def _checks(connection: Connection, context: Context, starts_on: date) -> Iterator[CloseCheck]:
    """Yield all checks but the proof of the books, which takes their lock itself."""
    entity, until = context.entity.name, next_month(starts_on)
    over = books_day(context) >= until
    yield CloseCheck("the month is over", over, f"it ends on {last_day(starts_on)}", "wait for its end")
    states = period_states(connection, entity)
    closed = closed_through(states)
    earlier = [
        name
        for name in _names(connection, _EARLIER_MONTHS, (entity, starts_on, entity, starts_on))
        if closed is None or name > f"{closed:%Y-%m}"
    ]
    yield _nothing("every earlier month is closed", earlier, "close them first, the oldest before the others")
    held = _names(connection, _HELD, (until,))
    yield _nothing("no delivery up to the month's end is held", held, "look at each, then `tallyback release DELIVERY`")
    unread = _names(connection, _UNREAD, (until,))
    yield _nothing(
        "every delivery is parsed and checked", unread, "run `tallyback run` and read its note", blocks=False
    )
    suspense = _names(connection, _SUSPENSE, (entity, until))
    yield _nothing("suspense is zero", suspense, "say what the money is: allocate it, or book an adjustment")
    unknown = _names(connection, _UNKNOWN_BATCHES, (entity, until))
    yield _nothing("the fate of every batch is known", unknown, "ask the bank, then `tallyback payout resolve BATCH`")
    rates = sorted(set(_missing_rates(connection, context.entity.base_currency, closed, until)))
    yield _nothing(
        "the rates of all sales are known", rates, "run `tallyback reference rates`, then `tallyback accrue`"
    )
    yield from _revalued(connection, context, starts_on)
    breaks = _names(connection, _OPEN_BREAKS, (until,))
    yield _nothing("no break is open", breaks, "decide what you can; the rest is late when it comes", blocks=False)


def _revalued(connection: Connection, context: Context, starts_on: date) -> Iterator[CloseCheck]:
    entity, base = context.entity.name, context.entity.base_currency
    items = open_items(connection, entity, base, starts_on)
    rates = [f"{currency} on {last_day(starts_on)}" for currency in unpriced(items)]
    yield _nothing("the closing rates of open items are known", rates, "run `tallyback reference rates`")
    flows = revaluation_flows(connection, entity, base, starts_on, items)
    names = sorted({*flows["debit_owner"].to_pylist(), *flows["credit_owner"].to_pylist()} - {""})
    yield _nothing("open items are revalued", names, f"run `tallyback close revalue {starts_on:%Y-%m}`")


def _proved(proofs: Sequence[Proof]) -> CloseCheck:
    broken = [f"{each.name} ({each.actual})" for each in proofs if not each.is_ok]
    return _nothing("the books prove", broken, "run `tallyback accrue`, then `tallyback verify`, and find the cause")


def _nothing(name: str, found: Sequence[str], next_step: str, *, blocks: bool = True) -> CloseCheck:
    """Return the check that there are none of these, naming the first ones."""
    named = ", ".join(found[:NAMED_MAX]) + (", …" if len(found) > NAMED_MAX else "")
    return CloseCheck(name, not found, f"{len(found):,}: {named}" if found else "yes", next_step, blocks)


def _names(connection: Connection, query: str, parameters: Sequence[object]) -> list[str]:
    return [str(name) for name in fetch(connection, query, _NAME, parameters)["name"].to_pylist()]


def _missing_rates(connection: Connection, base_currency: str, closed: date | None, until: date) -> Iterator[str]:
    """Yield currency and day of each rate that sales since the last closed month need and that is not usable."""
    since = next_month(closed) if closed else date.min
    rates = Rates(fetch(connection, f"SELECT {', '.join(FX_RATE.names)} FROM ref.fx_rate", FX_RATE))
    for row in fetch(connection, _CURRENCY_DAYS, _CURRENCY_DAY, (since, until)).to_pylist():
        for target in {base_currency, row["rule_currency"] or base_currency}:
            if rates.factor(row["currency"], target, row["sale_on"]) is None:
                foreign = row["currency"] if row["currency"] != base_currency else target
                yield f"{foreign} on {row['sale_on']}"


_EARLIER_MONTHS = """
    SELECT to_char(starts_on, 'YYYY-MM')
    FROM (
        SELECT DISTINCT date_trunc('month', booked_on)::date AS starts_on
        FROM ledger.journal_entry WHERE entity = %s AND booked_on < %s
        UNION
        SELECT starts_on FROM ref.period WHERE entity = %s AND starts_on < %s
    ) AS month
    ORDER BY starts_on
"""
_NEWEST_PARSE = "(SELECT max(n.parse_version) FROM ops.parse AS n WHERE n.delivery_id = d.delivery_id)"
_HELD = f"""
    SELECT d.partner_account || ' ' || left(d.delivery_id, 12)
    FROM ops.delivery AS d
    JOIN ops.validation AS v ON v.delivery_id = d.delivery_id AND v.parse_version = {_NEWEST_PARSE}
    LEFT JOIN ops.hold_release AS h ON h.delivery_id = v.delivery_id AND h.parse_version = v.parse_version
    WHERE v.state = 'held' AND h.delivery_id IS NULL AND d.window_from < %s
    ORDER BY d.observed_at, d.delivery_id
"""
_UNREAD = f"""
    SELECT d.partner_account || ' ' || left(d.delivery_id, 12)
    FROM ops.delivery AS d
    LEFT JOIN ops.validation AS v ON v.delivery_id = d.delivery_id AND v.parse_version = {_NEWEST_PARSE}
    WHERE v.delivery_id IS NULL AND d.window_from < %s
    ORDER BY d.observed_at, d.delivery_id
"""
_SUSPENSE = """
    SELECT currency || ' ' || sum(amount) || CASE WHEN owner = '' THEN '' ELSE ' (' || owner || ')' END
    FROM mart.movement
    WHERE entity = %s AND kind = 'suspense' AND booked_on < %s
    GROUP BY currency, owner
    HAVING sum(amount) <> 0
    ORDER BY currency, owner
"""
_UNKNOWN_BATCHES = """
    SELECT batch_id || ' (' || state || ')'
    FROM payout.batch
    WHERE entity = %s AND state IN ('unknown', 'submitting') AND selected_for < %s
    ORDER BY selected_for, batch_id
"""
_OPEN_BREAKS = """
    SELECT count(*) || ' ' || b.kind FROM ops.break AS b
    LEFT JOIN ops.sale AS s ON s.sale_id = b.sale_id
    WHERE coalesce(s.sale_on, b.opened_on) < %s
    GROUP BY b.kind
    ORDER BY count(*) DESC, b.kind
"""
_CURRENCY_DAYS = """
    SELECT DISTINCT s.sale_on, v.currency, r.currency
    FROM ops.sale AS s
    JOIN ops.transaction_version AS v ON v.sale_id = s.sale_id AND NOT v.is_absent
    LEFT JOIN ref.cashback_rule_in_force AS r ON r.program_id = s.program_id AND s.member_id IS NOT NULL
        AND r.valid_from <= s.clicked_at AND (r.valid_until IS NULL OR s.clicked_at < r.valid_until)
    WHERE s.sale_on >= %s AND s.sale_on < %s AND s.program_id IS NOT NULL
"""
