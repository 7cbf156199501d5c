"""Decide: record what a person says of breaks, one or many at once, what a second person agrees to, and what is undone.

A decision is an input: reconcile, remit and accrue act on those in force. Nothing here moves money by itself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal

import pyarrow as pa

from etl.core import decision_log as log
from etl.core.approval import identity, require_person
from etl.core.context import Context
from etl.core.decision_log import NAME_SHOWN, Row
from etl.core.decisions import (
    LISTED_MAX,
    BreakFilter,
    BreakState,
    DecisionKind,
    Stake,
    allowed,
    lock_decisions,
    read_breaks,
    read_named,
    stake,
)
from etl.core.errors import Stop
from etl.core.warehouse import APPROVER, Connection

BATCH_MAX = 5_000
"""So many breaks are decided about at once; more than anybody has looked at is not decided."""

Chosen = BreakFilter | Sequence[str]
"""Which breaks: those a filter lets through, or those of these names."""

_NATURAL = ("partner_account", "transaction_id", "line_id")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a person says of a break, and why."""

    kind: DecisionKind
    reason: str
    click_id: str | None = None
    until_on: date | None = None
    claim_amount: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Preview:
    """What would be decided: the breaks (schema STATED_BREAK), what is at stake, and the name of exactly this set."""

    breaks: pa.Table
    stake: Stake
    batch_id: str


@dataclass(frozen=True, slots=True)
class Recorded:
    """What was recorded: decisions, their batch if they are one, whether they wait for a second person, and are new."""

    decision_ids: tuple[str, ...]
    batch_id: str | None
    is_proposed: bool
    is_new: bool = True


def preview(context: Context, day: date, chosen: Chosen, verdict: Verdict) -> Preview:
    """Return what `decide` would record; writes nothing. Stop as `decide` would."""
    _require_whole(verdict, day)
    with context.warehouse.transaction() as connection:
        return _chosen(context, connection, day, chosen, verdict)


def decide(context: Context, day: date, chosen: Chosen, verdict: Verdict, expect: str | None = None) -> Recorded:
    """Record a verdict of `context.actor` about each of the breaks, all or none; the same said again changes nothing.

    Above the entity's limit the decisions are only proposed. With `expect`, the batch_id of a preview, nothing is
    recorded unless the set is still the one shown. Stop if a break allows no such decision, or is decided otherwise.
    """
    person = require_person(context.actor)
    _require_whole(verdict, day)
    with context.warehouse.transaction(APPROVER) as connection:
        lock_decisions(connection)
        context = replace(context, known_at=log.moment(connection, context.known_at))
        if expect is not None and (same := log.of_batch(connection, expect)):
            return _recorded(same, any(bool(row["is_pending"]) for row in same), is_new=False)
        shown = _chosen(context, connection, day, chosen, verdict)
        if expect is not None and shown.batch_id != expect:
            raise Stop(
                f"these are not the breaks that were shown (now {shown.breaks.num_rows:,d}, {shown.batch_id}): nothing"
                " is decided; look at them again"
            )
        rows = shown.breaks.to_pylist()
        known = [row for row in rows if _is_known(row, verdict, person)]
        fresh = [row for row in rows if not _is_known(row, verdict, person)]
        if busy := [row for row in fresh if row["state"] in (BreakState.DECIDED, BreakState.PROPOSED)]:
            raise Stop(_taken(busy[0]))
        if not fresh:
            return _recorded(known, any(row["state"] == BreakState.PROPOSED for row in known), is_new=False)
        batch_id = shown.batch_id if isinstance(chosen, BreakFilter) or len(fresh) > 1 else None
        needs_agreement = shown.stake.needs_agreement
        made = [_about(context, person, verdict, row, batch_id, needs_agreement) for row in fresh]
        log.insert(connection, made)
    return _recorded([*made, *known], needs_agreement)


def undo(context: Context, day: date, name: str, reason: str) -> Recorded:
    """Record that a decision, or all of a batch, no longer holds: the books become what they would be without it.

    Above the limit that, too, is only proposed. Stop if nothing of that name is in force.
    """
    person = require_person(context.actor)
    _require_reason(reason)
    with context.warehouse.transaction(APPROVER) as connection:
        lock_decisions(connection)
        context = replace(context, known_at=log.moment(connection, context.known_at))
        found = log.acting(connection, name)
        if pending := log.undo_proposed(connection, [row["decision_id"] for row in found]):
            raise Stop(f"{pending[0]['decided_by']} proposed already to undo it: agree to {log.short_name(pending[0])}")
        at_stake = _stake(context, connection, day, found)
        return _undo_all(context, connection, person, reason, found, at_stake.needs_agreement)


def agree(context: Context, day: date, name: str, reason: str) -> Recorded:
    """Agree, as another person, to a proposed decision or to all of a batch: from now on it acts.

    Stop if there is no such proposal, if it is the person's own, or if what it saw has changed since.
    """
    person = require_person(context.actor)
    _require_reason(reason)
    with context.warehouse.transaction(APPROVER) as connection:
        lock_decisions(connection)
        context = replace(context, known_at=log.moment(connection, context.known_at))
        if agreed := [row for row in log.agreed(connection, name) if _is_person(row["agreed_by"], person)]:
            return _recorded(agreed, False, is_new=False)
        found = log.pending(connection, name)
        for row in found:
            if _is_person(row["decided_by"], person):
                raise Stop(f"{person} proposed it: another person must agree to {log.short_name(row)}")
        _require_unchanged(connection, day, found)
        with connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO ops.agreement (decision_id, decided_by, agreed_by, agreed_at, reason)"
                " VALUES (%s, %s, %s, %s, %s)",
                [(row["decision_id"], row["decided_by"], person, context.known_at, reason) for row in found],
            )
    return _recorded(found, False)


def refuse(context: Context, name: str, reason: str) -> Recorded:
    """Refuse a proposed decision or a whole batch, or withdraw one's own: it will never act. Stop if there is none."""
    person = require_person(context.actor)
    _require_reason(reason)
    with context.warehouse.transaction(APPROVER) as connection:
        lock_decisions(connection)
        context = replace(context, known_at=log.moment(connection, context.known_at))
        found = log.pending(connection, name)
        return _undo_all(context, connection, person, reason, found, needs_agreement=False)


def proposals(context: Context) -> list[Row]:
    """Return what waits for a second person, oldest first."""
    with context.warehouse.transaction() as connection:
        return log.proposals(connection)


def decisions(context: Context, sale_id: str | None = None, limit: int = 50) -> list[Row]:
    """Return what people decided about breaks, the newest first, with what became of each."""
    with context.warehouse.transaction() as connection:
        return log.history(connection, sale_id, min(limit, LISTED_MAX))


def _chosen(context: Context, connection: Connection, day: date, chosen: Chosen, verdict: Verdict) -> Preview:
    """Return the breaks that are meant; Stop if there are too many, or if the kind of one allows no such decision."""
    if isinstance(chosen, BreakFilter):
        breaks = read_breaks(connection, day, chosen, BATCH_MAX + 1)
    else:
        breaks = read_named(connection, day, chosen)
    if breaks.num_rows > BATCH_MAX:
        raise Stop(f"more than {BATCH_MAX:,d} breaks are like that: name a kind, an account, days or amounts")
    rows = breaks.to_pylist()
    for kind in sorted({str(row["kind"]) for row in rows}):
        if verdict.kind not in allowed(kind):
            raise Stop(f"{kind} cannot be decided by {verdict.kind}: it allows {', '.join(allowed(kind))}")
    if verdict.kind is DecisionKind.ACCEPT_CLICK and len(rows) > 1:
        raise Stop("accept_click is about one break: the click belongs to one sale")
    opened = log.without_sale(connection, [row["sale_id"] for row in rows])
    if verdict.kind is DecisionKind.WRITE_OFF and opened:
        raise Stop(f"{opened[0]} is of an opening: take it back by `tallyback adjust propose`")
    told = [
        [*(row[name] for name in (*_NATURAL, "kind", "evidence_hash", "amount", "currency", "decision_count"))]
        for row in sorted(rows, key=lambda row: str(row["name"]))
    ]
    said = [verdict.kind, verdict.click_id, verdict.until_on, verdict.claim_amount]
    return Preview(breaks, _stake(context, connection, day, rows), _hash([said, told]))


def _stake(context: Context, connection: Connection, day: date, rows: Iterable[Row]) -> Stake:
    # What was decided before breaks were named in decisions has no amount to go by.
    amounts = [(_decimal(row["amount"]), None if row["currency"] is None else str(row["currency"])) for row in rows]
    return stake(connection, amounts, context.entity.base_currency, context.entity.second_person_above, day)


def _is_known(row: Row, verdict: Verdict, person: str) -> bool:
    """Return whether the same person has said the same of the same break, and it counts."""
    return (
        row["state"] != BreakState.OPEN
        and row["decision_kind"] == verdict.kind
        and _is_person(row["decided_by"], person)
        and row["click_id"] == verdict.click_id
        and row["until_on"] == verdict.until_on
        and row["claim_amount"] == _claim(row, verdict)
    )


def _is_person(name: object, person: str) -> bool:
    return identity(str(name)) == identity(person)


def _taken(row: Row) -> str:
    name = str(row["decision_id"])[:NAME_SHOWN]
    if row["state"] == BreakState.PROPOSED:
        return (
            f"{row['decided_by']} proposed {row['decision_kind']} for {_break(row)}: another person agrees or refuses"
            f" (`tallyback breaks agree {name}` or `refuse {name}`)"
        )
    return (
        f"{row['decided_by']} decided {row['decision_kind']} about {_break(row)}; the next run acts on it. To say"
        f" something else: tallyback breaks undo {name}"
    )


def _break(row: Row) -> str:
    return f"{row['kind']} of {row['partner_account']} {row['transaction_id']}"


def _require_whole(verdict: Verdict, day: date) -> None:
    kind = verdict.kind
    if kind is DecisionKind.UNDO:
        raise Stop("an undo names a decision, not a break: tallyback breaks undo DECISION")
    if (verdict.click_id is not None) != (kind is DecisionKind.ACCEPT_CLICK):
        raise Stop(f"{kind}: a click is named to accept_click, and only then (`tallyback breaks candidates SALE`)")
    if (verdict.until_on is not None) != (kind is DecisionKind.WAIT):
        raise Stop(f"{kind}: a day is named to wait until, and only then")
    if verdict.until_on is not None and verdict.until_on <= day:
        raise Stop(f"to wait until {verdict.until_on} is not to wait: name a day after {day}")
    if verdict.claim_amount is not None and kind is not DecisionKind.DISPUTE:
        raise Stop(f"{kind}: a claim is named to dispute, and only then")
    if verdict.claim_amount is not None and verdict.claim_amount <= 0:
        raise Stop("a claim is an amount above zero")
    _require_reason(verdict.reason)


def _require_reason(reason: str) -> None:
    if not reason.strip():
        raise Stop("a decision needs a reason: say why, for whoever looks at it in a year")


def _claim(row: Row, verdict: Verdict) -> Decimal | None:
    """Return what is claimed of the partner: what the person named, else what is at stake."""
    if verdict.kind is not DecisionKind.DISPUTE:
        return None
    at_stake = _decimal(row["amount"])
    return verdict.claim_amount or (abs(at_stake) if at_stake else None)


def _approved(row: Row) -> Decimal:
    """Return the approved commission of a sale that is short or unpaid; sql/remit/break.sql tells it as expected."""
    return Decimal(str(row["expected"]).split()[1])


def _about(
    context: Context, person: str, verdict: Verdict, row: Row, batch_id: str | None, needs_agreement: bool
) -> Row:
    """Return the decision about one break."""
    return _decision(
        context,
        person,
        verdict.kind,
        verdict.reason,
        row,
        batch_id,
        needs_agreement,
        click_id=verdict.click_id,
        until_on=verdict.until_on,
        claim_amount=_claim(row, verdict),
        approved_amount=_approved(row) if verdict.kind is DecisionKind.WRITE_OFF else None,
    )


def _decision(
    context: Context,
    person: str,
    kind: DecisionKind,
    reason: str,
    about: Row,
    batch_id: str | None,
    needs_agreement: bool,
    **particular: object,
) -> Row:
    """Return a row of ops.decision about a break, or about a decision about one."""
    made: Row = {
        "kind": str(kind),
        **{name: about[name] for name in ("sale_id", *_NATURAL, "expected", "found", "amount", "currency")},
        "break_kind": about["break_kind"] if "break_kind" in about else about["kind"],
        "evidence_hash": about["evidence_hash"],
        "click_id": None,
        "undoes": None,
        "until_on": None,
        "claim_amount": None,
        "approved_amount": None,
        **particular,
    }
    told = [made[name] for name in sorted(made)]
    return {
        **made,
        "decision_id": _hash([told, identity(person), about["decision_count"]]),
        "decided_by": person,
        "decided_at": context.known_at,
        "reason": reason.strip(),
        "batch_id": batch_id,
        "needs_agreement": needs_agreement,
    }


def _undo_all(
    context: Context, connection: Connection, person: str, reason: str, found: Sequence[Row], needs_agreement: bool
) -> Recorded:
    batch_id = _hash(["undo", *(row["decision_id"] for row in found)]) if len(found) > 1 else None
    made = [
        _decision(context, person, DecisionKind.UNDO, reason, row, batch_id, needs_agreement, undoes=row["decision_id"])
        for row in found
    ]
    log.insert(connection, made)
    return _recorded(made, needs_agreement)


def _require_unchanged(connection: Connection, day: date, found: Sequence[Row]) -> None:
    """Stop unless every proposal is still about what it saw, or about a decision that is in force."""
    proposed = read_breaks(connection, day, BreakFilter(states=(BreakState.PROPOSED,)))["decision_id"].to_pylist()
    acting = log.acting_ids(connection, [row["undoes"] for row in found if row["undoes"]])
    for row in found:
        is_standing = row["undoes"] in acting if row["undoes"] else row["decision_id"] in proposed
        if not is_standing:
            raise Stop(
                f"what {row['decided_by']} saw of {row['break_kind']} {row['transaction_id']} has changed: nothing is"
                f" agreed; `tallyback breaks refuse {log.short_name(row)}`, then decide again"
            )


def _recorded(rows: Sequence[Row], is_proposed: bool, *, is_new: bool = True) -> Recorded:
    batches = {row.get("batch_id") for row in rows} - {None}
    batch_id = str(next(iter(batches))) if len(batches) == 1 else None
    return Recorded(tuple(str(row["decision_id"]) for row in rows), batch_id, is_proposed, is_new)


def _hash(told: object) -> str:
    text = json.dumps(told, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _decimal(value: object) -> Decimal | None:
    return None if value is None else Decimal(str(value))
