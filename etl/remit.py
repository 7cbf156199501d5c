"""Remit: allocate what partners paid to approved commission, and post the difference, remittance by remittance."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

import pyarrow as pa

from etl.core.allocation import ALLOCATION, allocated, breaks, outcomes, remittance_target
from etl.core.approval import require_person
from etl.core.context import Context, StageResult
from etl.core.errors import Stop
from etl.core.kept import BREAK_FOUND, REMITTANCE_BREAKS, Change, KeptTable, keep
from etl.core.ledger import lock_books
from etl.core.target import post_difference, read_facts, read_posted
from etl.core.told import read_told
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


def remit(context: Context, day: date) -> StageResult:
    """Allocate all remittances as of `day`, write what changed, and post target minus posted; again, nothing.

    What a person wrote off of commission is posted the same way, as documents of their own.

    Reads facts and books under the lock of the entity's books, and commits in one transaction. Cashback that waits for
    money becomes payable with the next accrual. Stop if an account's configuration is gone.
    """
    entity = context.entity.name
    with context.warehouse.transaction() as connection:
        lock_books(connection, entity)
        facts = read_facts(context, connection)
        told = read_told(connection, context.configuration)
        made = allocated(context.engine, facts, told, day)
        outcome = outcomes(context.engine, facts, told, made, context.configuration, day)
        found = breaks(context.engine, told, made, outcome)
        changed = keep(context, connection, _ALLOCATIONS, made.allocation, day)
        touch_transactions(connection, changed.told)
        keep(context, connection, _BREAKS, found, day)
        wanted = remittance_target(context.engine, facts, told, made)
        booked = read_posted(connection, entity, kind="remittance")
        paid = post_difference(context, connection, "remittance", wanted, booked)
        written_off = read_posted_write_offs(connection, entity)
        given_up = post_difference(context, connection, "write_off", made.write_off, written_off)
    counts = _counts(made.standing, changed, found, outcome, paid.postings + given_up.postings)
    return StageResult("remit", entity, counts, _note(outcome))


def _counts(
    standing: pa.Table, changed: Change, found: pa.Table, outcome: pa.Table, postings: int
) -> tuple[tuple[str, int], ...]:
    of = Counter(outcome["outcome"].to_pylist())
    return (
        ("remittances", standing.num_rows),
        ("new_allocations", changed.new + changed.changed),
        ("gone_allocations", changed.gone),
        ("postings", postings),
        *((name, of[name]) for name in OUTCOMES),
        ("open_breaks", found.num_rows),
    )


def _note(outcome: pa.Table) -> str:
    of = Counter(outcome["outcome"].to_pylist())
    told = ", ".join(f"{of[name]:,} {name.replace('_', ' ')}" for name in OUTCOMES if of[name])
    return f"approved sales: {told}" if told else "no sale is approved yet"


@dataclass(frozen=True, slots=True)
class Ageing:
    """Approved commission that is not paid: sale by sale, and summed by account, currency and age."""

    sales: pa.Table
    summed: pa.Table


def ageing(context: Context, day: date) -> Ageing:
    """Return what partners owe of approved commission as of `day`, aged from the day it was due; writes nothing."""
    with context.warehouse.transaction() as connection:
        facts = read_facts(context, connection)
        told = read_told(connection, context.configuration)
    made = allocated(context.engine, facts, told, day)
    outcome = outcomes(context.engine, facts, told, made, context.configuration, day)
    return Ageing(outcome, context.engine.run("remit/ageing", {"outcome": outcome}))


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
        count = connection.execute("SELECT count(*) FROM ops.remittance_decision").fetchone()
        told = [decision.kind.value, account, remittance_id, revision, decision.undoes, count and count[0]]
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
