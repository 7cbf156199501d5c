"""Remit: allocate what partners paid to approved commission, and post the difference, remittance by remittance."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from functools import partial

import pyarrow as pa

from etl.core.ahead import read_ahead
from etl.core.allocation import (
    ALLOCATION,
    SALE_OUTCOME,
    Allocated,
    Settled,
    account_open,
    aged,
    allocated,
    breaks,
    remittance_target,
    settled,
)
from etl.core.approval import require_person
from etl.core.context import Context, StageResult
from etl.core.errors import Stop
from etl.core.facts import FactReader, reader_beside
from etl.core.kept import BREAK_FOUND, OUTCOME_BREAKS, REMITTANCE_BREAKS, KeptTable, keep
from etl.core.ledger import PostedCounts, lock_books
from etl.core.receivable_item import Items
from etl.core.remitted import (
    Part,
    Remitted,
    looked_at_again,
    read_outcome_counts,
    read_outcomes_to_tell,
    read_remitted,
    remitted_now,
    write_remitted,
)
from etl.core.sale_range import Some, condition_of
from etl.core.seen import NARROW_FROM, has_versions
from etl.core.target import POSTED, Facts, post_difference, read_posted
from etl.core.told import Told, read_told
from etl.core.touched import touch_transactions
from etl.core.warehouse import APPROVER, Connection, lock
from etl.core.write_off import read_posted_write_offs

_ALLOCATIONS = KeptTable(
    "ops.remittance_allocation",
    ("partner_account", "remittance_id", "line_no", "transaction_id", "line_id"),
    ALLOCATION,
    "allocations",
    told=("partner_account", "transaction_id"),
)
_BREAKS = KeptTable(
    "ops.break",
    ("partner_account", "transaction_id", "line_id", "kind"),
    BREAK_FOUND,
    "breaks",
    carried=True,
    scope=f"kind IN ({', '.join(repr(kind) for kind in REMITTANCE_BREAKS)})",
)
SALE_OUTCOMES = KeptTable("ops.sale_outcome", ("sale_id", "currency"), SALE_OUTCOME, "outcomes", is_typed=True)
# Which rows a part is about, in the words of the tables that it staged.
_OF_ACCOUNT = "partner_account IN (SELECT partner_account FROM looked_account)"
_OF_SALE = "sale_id IN (SELECT sale_id FROM looked_sale)"
# Of what an opening holds the document stands for the sale.
_OF_ITEM = "sale_id IN (SELECT document_id FROM ops.receivable_item)"
_REMITTANCE_COUNT = "SELECT count(*) FROM (SELECT DISTINCT partner_account, remittance_id FROM ops.remittance) AS r"

OUTCOMES = ("paid", "short", "over", "carried", "unpaid", "written_off")
"""What can be said of an approved sale."""


class DecisionKind(StrEnum):
    """What a person may say of a remittance: keep its money unallocated, let it pay the oldest, or take that back."""

    WITHHOLD = "withhold"
    OLDEST_FIRST = "oldest_first"
    UNDO = "undo"


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person decided about a remittance in its newest revision, and why."""

    kind: DecisionKind
    remittance: str
    reason: str
    undoes: str | None = None


def remit(context: Context, day: date, *, is_whole: bool = False, narrow_from: int = NARROW_FROM) -> StageResult:
    """Allocate remittances as of `day`, write what changed, and post target minus posted; again, nothing.

    What a person wrote off of commission is posted the same way, as documents of their own. Once there are
    `narrow_from` versions only sales that changed since the last run and accounts with news are looked at, unless
    `is_whole`.

    Reads facts and books under the lock of the entity's books, and commits in one transaction. Cashback that waits for
    money becomes payable with the next accrual. Stop if an account's configuration is gone.
    """
    entity, engine, configuration = context.entity.name, context.engine, context.configuration
    with context.warehouse.transaction() as connection:
        lock_books(connection, entity)
        before = read_remitted(connection, entity)
        now = remitted_now(context, connection, day) if has_versions(connection, narrow_from) else None
        is_oldest_first = configuration.entity.lump_sums == "oldest_first"
        part = None if is_whole else looked_at_again(connection, before, now, is_oldest_first=is_oldest_first)
        sales, accounts = (None, None) if part is None else (part.sales, part.accounts)
        told = read_told(connection, configuration, accounts)
        reader = FactReader(context, connection)
        made = allocated(engine, partial(reader.unpaid, sales), told, day)
        changed = keep(context, connection, _of_part(_ALLOCATIONS, part, _OF_ACCOUNT), made.allocation, day)
        touch_transactions(connection, changed.told)
        found = _settle(context, connection, reader, told, made, part, day, now)
        remittance_count = _count(connection, _REMITTANCE_COUNT)
        is_told = remittance_count > 0
        of_all = _of_all_sales(context, connection, found.outcome, day, is_told=is_told)
        late = aged(engine, of_all.told, of_all.left, configuration, day)
        open_breaks = _keep_breaks(context, connection, breaks(engine, told, made, late, is_told=is_told), part, day)
        paid = _post_remittances(context, connection, reader.shared, told, made, part)
        written_off = read_posted_write_offs(connection, entity, sales)
        given_up = post_difference(context, connection, "write_off", found.write_off, written_off)
        write_remitted(connection, entity, before, now, context.run_id)
    counts = (
        ("remittances", remittance_count),
        ("new_allocations", changed.new + changed.changed),
        ("gone_allocations", changed.gone),
        ("postings", paid.postings + given_up.postings),
        *((name, of_all.counts[name]) for name in OUTCOMES),
        ("open_breaks", open_breaks),
        ("looked_at", found.sale_count),
    )
    return StageResult("remit", entity, counts, _note(of_all.counts))


@dataclass(frozen=True, slots=True)
class _SomeSettled:
    """What came of remittances for some sales, how many they are, and the condition of their rows of outcomes."""

    settled: Settled
    sale_count: int
    scope: str


def _settled_parts(
    context: Context,
    reader: FactReader,
    told: Told,
    made: Allocated,
    part: Part | None,
    some: Iterable[Some],
    day: date,
) -> Iterator[_SomeSettled]:
    """Yield what came of remittances for `some` sales, each some in turn, and last for what an opening holds.

    What is in hand is bounded, however many sales there are.
    """

    def of_some(facts: Facts, items: Items, scope: str) -> _SomeSettled:
        found = settled(context.engine, facts, replace(told, items=items), made, context.configuration, day)
        context.engine.release()
        return _SomeSettled(found, facts.sale.num_rows, scope)

    for each in some:
        scope = f"{condition_of(reader.connection, 'sale_id', each)} AND NOT {_OF_ITEM}"
        yield of_some(reader.of(each, is_paid=False), Items(), scope)
    if told.items.item.num_rows:
        yield of_some(reader.shared, told.items, _OF_ITEM if part is None else f"{_OF_ITEM} AND {_OF_SALE}")


@dataclass(frozen=True, slots=True)
class _Found:
    """Of all sales looked at: how many, what write-offs should have in the ledger, and outcomes that are not kept."""

    sale_count: int
    write_off: pa.Table
    outcome: pa.Table | None


def _settle(
    context: Context,
    connection: Connection,
    reader: FactReader,
    told: Told,
    made: Allocated,
    part: Part | None,
    day: date,
    now: Remitted | None,
) -> _Found:
    """Keep the outcomes of sales, some at a time, or return them where there are too few for that (`now` is None).

    Those of the next sales are read and worked out while those of the last are written.
    """
    sale_count, lost, outcome = 0, [POSTED.empty_table()], [SALE_OUTCOME.empty_table()]
    some = list(reader.parts(None if part is None else part.sales))
    with (
        reader_beside(context, connection, len(some)) as beside,
        closing(read_ahead(_settled_parts(context, beside, told, made, part, some, day), 1)) as found,
    ):
        for each in found:
            sale_count += each.sale_count
            lost.append(each.settled.write_off)
            if now is None:
                outcome.append(each.settled.outcome)
            else:
                keep(context, connection, replace(SALE_OUTCOMES, scope=each.scope), each.settled.outcome, day)
    return _Found(sale_count, pa.concat_tables(lost), pa.concat_tables(outcome) if now is None else None)


@dataclass(frozen=True, slots=True)
class _Outcomes:
    """What there is to say of all sales: how many have each outcome, what accounts leave open, what may be breaks."""

    counts: Counter[str]
    left: pa.Table
    told: pa.Table


def _of_all_sales(
    context: Context, connection: Connection, found: pa.Table | None, day: date, *, is_told: bool
) -> _Outcomes:
    """Return what there is to say of all sales, whose outcomes are `found`, or are kept in the warehouse."""
    counts: Counter[str] = Counter()
    if found is not None:
        counts.update({row["values"]: row["counts"] for row in found["outcome"].value_counts().to_pylist()})
        return _Outcomes(counts, account_open(context.engine, found), found)
    counted = read_outcome_counts(connection)
    for row in counted.to_pylist():
        counts[row["outcome"]] += row["sale_count"]
    left = account_open(context.engine, counted)
    return _Outcomes(counts, left, read_outcomes_to_tell(connection, day, is_told=is_told))


def _keep_breaks(context: Context, connection: Connection, found: pa.Table, part: Part | None, day: date) -> int:
    """Make the breaks of remittances and of sales what they are by now; return how many are open."""
    of_account = f"kind = ANY('{{{','.join(OUTCOME_BREAKS)}}}') OR {_OF_ACCOUNT}"
    keep(context, connection, _of_part(_BREAKS, part, of_account), found, day)
    if part is None:
        return int(found.num_rows)
    return _count(connection, f"SELECT count(*) FROM ops.break WHERE {_BREAKS.scope}")


def _count(connection: Connection, query: str) -> int:
    row = connection.execute(query).fetchone()
    return int(str((row or (0,))[0]))


def _post_remittances(
    context: Context, connection: Connection, facts: Facts, told: Told, made: Allocated, part: Part | None
) -> PostedCounts:
    documents = None if part is None else made.standing["document_id"].to_pylist()
    wanted = remittance_target(context.engine, facts, told, made)
    booked = read_posted(connection, context.entity.name, documents, kind="remittance")
    return post_difference(context, connection, "remittance", wanted, booked)


def _of_part(target: KeptTable, part: Part | None, scope: str) -> KeptTable:
    """Return the table as far as it is of the part, by `scope`."""
    return target if part is None else replace(target, scope=f"({target.scope}) AND ({scope})")


def _note(counts: Counter[str]) -> str:
    told = ", ".join(f"{counts[name]:,} {name.replace('_', ' ')}" for name in OUTCOMES if counts[name])
    return f"approved sales: {told}" if told else "no sale is approved yet"


@dataclass(frozen=True, slots=True)
class Ageing:
    """Approved commission that is not paid: sale by sale, and summed by account, currency and age."""

    sales: pa.Table
    summed: pa.Table


def ageing(context: Context, day: date) -> Ageing:
    """Return what partners owe of approved commission as of `day`, aged from the day it was due; writes nothing."""
    engine = context.engine
    with context.warehouse.transaction() as connection:
        told = read_told(connection, context.configuration)
        reader = FactReader(context, connection)
        made = allocated(engine, reader.unpaid, told, day)
        parts = _settled_parts(context, reader, told, made, None, reader.parts(), day)
        found = pa.concat_tables([each.settled.outcome for each in parts])
    outcome = aged(engine, found, account_open(engine, found), context.configuration, day)
    return Ageing(outcome, engine.run("remit/ageing", {"outcome": outcome}))


def decide(context: Context, decision: Decision) -> str:
    """Record a decision by `context.actor` at `context.known_at` and return its id; the next remit acts on it.

    A decision is about the newest revision: a correction of the remittance makes it void. Stop if the remittance, or
    the decision to undo, does not exist or is undone already, if no reason is given or nobody says it.
    """
    if (decision.undoes is not None) != (decision.kind is DecisionKind.UNDO):
        raise Stop(f"{decision.kind.value}: the decision undone is named to undo, and only then")
    if not decision.reason.strip():
        raise Stop("a decision needs a reason: say why, for whoever looks at it in a year")
    person = require_person(context.actor)
    with context.warehouse.transaction(APPROVER) as connection:
        lock(connection, "remittance decisions")
        account, remittance_id, revision = find_remittance(connection, decision.remittance)
        standing = connection.execute(
            "SELECT d.decision_id, d.kind FROM ops.remittance_decision AS d"
            " WHERE d.partner_account = %s AND d.remittance_id = %s AND d.revision = %s AND d.kind <> 'undo'"
            " AND NOT EXISTS (SELECT 1 FROM ops.remittance_decision AS u WHERE u.undoes = d.decision_id)",
            (account, remittance_id, revision),
        ).fetchall()
        if decision.undoes is None and (same := [row[0] for row in standing if row[1] == decision.kind.value]):
            return str(same[0])
        if decision.undoes is not None and decision.undoes not in [row[0] for row in standing]:
            known = ", ".join(f"{row[0]} ({row[1]})" for row in standing) or "none"
            raise Stop(f"{decision.undoes!r} is no decision in force of {decision.remittance} (in force: {known})")
        count = _count(connection, "SELECT count(*) FROM ops.remittance_decision")
        told = [decision.kind.value, account, remittance_id, revision, decision.undoes, count]
        decision_id = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:32]
        connection.execute(
            "INSERT INTO ops.remittance_decision (decision_id, kind, partner_account, remittance_id, revision, undoes,"
            " decided_by, decided_at, reason) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
            (
                decision_id,
                decision.kind.value,
                account,
                remittance_id,
                revision,
                decision.undoes,
                person,
                context.known_at,
                decision.reason,
            ),
        )
    return decision_id


def find_remittance(connection: Connection, name: str) -> tuple[str, str, int]:
    """Return account, id and newest revision of the remittance called so (`id` or `account:id`); Stop if not one is."""
    rows = connection.execute(
        "SELECT partner_account, remittance_id, max(revision) FROM ops.remittance"
        " WHERE remittance_id = %s OR partner_account || ':' || remittance_id = %s"
        " GROUP BY partner_account, remittance_id ORDER BY partner_account, remittance_id",
        (name, name),
    ).fetchall()
    if not rows:
        raise Stop(f"there is no remittance {name!r}: `tallyback remittance list` shows those there are")
    if len(rows) > 1:
        known = ", ".join(f"{row[0]}:{row[1]}" for row in rows)
        raise Stop(f"several accounts have a remittance {name!r}: name one of {known}")
    account, remittance_id, revision = rows[0]
    return str(account), str(remittance_id), int(str(revision))
