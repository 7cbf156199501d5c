"""Payouts and their batches: states, the one table of allowed transitions with its postings, and the events kept."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pyarrow as pa
from psycopg.rows import class_row

from etl.core.context import Context
from etl.core.errors import Retry, Stop
from etl.core.ledger import FLOW, post
from etl.core.money import member_asset
from etl.core.warehouse import Connection, copy_in, lock


class BatchState(StrEnum):
    """Where a batch stands. `unknown`: its file may be with the bank, and is never sent again by itself."""

    RESERVED = "reserved"
    FROZEN = "frozen"
    APPROVED = "approved"
    SUBMITTING = "submitting"
    SENT = "sent"
    UNKNOWN = "unknown"
    CANCELED = "canceled"


class PayoutState(StrEnum):
    """Where a payout stands."""

    RESERVED = "reserved"
    IN_FLIGHT = "in_flight"
    SETTLED = "settled"
    RETURNED = "returned"
    CANCELED = "canceled"


class Event(StrEnum):
    """What happens to a payout; each is kept, none is ever changed."""

    RESERVED = "reserved"
    TRANSMITTED = "transmitted"
    SETTLED = "settled"
    RETURNED = "returned"
    CANCELED = "canceled"


class Transition(NamedTuple):
    """The state an event leads to, and the account kinds it debits and credits."""

    to: PayoutState
    debit_kind: str
    credit_kind: str


TRANSITIONS: Mapping[tuple[PayoutState, Event], Transition] = {
    (PayoutState.RESERVED, Event.TRANSMITTED): Transition(PayoutState.IN_FLIGHT, "payout_reserved", "payout_in_flight"),
    (PayoutState.RESERVED, Event.CANCELED): Transition(PayoutState.CANCELED, "payout_reserved", "cashback_payable"),
    (PayoutState.IN_FLIGHT, Event.SETTLED): Transition(PayoutState.SETTLED, "payout_in_flight", "bank"),
    # Refused by the bank: the money never left our account.
    (PayoutState.IN_FLIGHT, Event.RETURNED): Transition(PayoutState.RETURNED, "payout_in_flight", "cashback_payable"),
    (PayoutState.SETTLED, Event.RETURNED): Transition(PayoutState.RETURNED, "bank", "cashback_payable"),
}
RESERVATION = Transition(PayoutState.RESERVED, "cashback_payable", "payout_reserved")
_OUTCOME_OF = {event: transition.to for (_state, event), transition in TRANSITIONS.items()}


@dataclass(frozen=True, slots=True)
class Batch:
    """Payouts approved and sent together: a row of `payout.batch`."""

    batch_id: str
    entity: str
    rail: str
    bank: str
    currency: str
    selected_for: date
    execute_on: date
    created_at: datetime
    payout_count: int
    total_minor: int
    state: str
    released_by: str
    sha256: str | None = None
    object_path: str | None = None
    remote_name: str | None = None


@dataclass(frozen=True, slots=True)
class Payout:
    """Money to one member: a row of `payout.payout`."""

    payout_id: str
    batch_id: str
    member_id: str
    currency: str
    amount_minor: int
    payee_version: int
    end_to_end_id: str
    state: str


def load_batch(connection: Connection, batch_id: str) -> Batch:
    """Return the batch; Stop if there is none."""
    with connection.cursor(row_factory=class_row(Batch)) as cursor:
        columns = ", ".join(Batch.__dataclass_fields__)
        found = cursor.execute(f"SELECT {columns} FROM payout.batch WHERE batch_id = %s", (batch_id,)).fetchone()
    if found is None:
        raise Stop(f"there is no batch {batch_id!r}: `tallyback payout list` names them")
    return found


def load_payouts(connection: Connection, batch_id: str) -> list[Payout]:
    """Return the payouts of a batch, by payout_id byte by byte, as rails want them."""
    with connection.cursor(row_factory=class_row(Payout)) as cursor:
        columns = ", ".join(Payout.__dataclass_fields__)
        query = f'SELECT {columns} FROM payout.payout WHERE batch_id = %s ORDER BY payout_id COLLATE "C"'
        return cursor.execute(query, (batch_id,)).fetchall()


def load_payout(connection: Connection, payout_id: str) -> Payout:
    """Return the payout; Stop if there is none."""
    with connection.cursor(row_factory=class_row(Payout)) as cursor:
        columns = ", ".join(Payout.__dataclass_fields__)
        found = cursor.execute(f"SELECT {columns} FROM payout.payout WHERE payout_id = %s", (payout_id,)).fetchone()
    if found is None:
        raise Stop(f"there is no payout {payout_id!r}: `tallyback payout list` names them")
    return found


def lock_batch(connection: Connection, batch_id: str) -> None:
    """Hold the batch until the transaction ends. Taken before the lock of the books, never after it."""
    lock(connection, f"payout:{batch_id}")


def claim_transmission(connection: Connection, batch_id: str) -> None:
    """Hold the right to send the batch, or to say what became of it, until the transaction ends; Retry if taken."""
    number = int.from_bytes(hashlib.sha256(f"transmit:{batch_id}".encode()).digest()[:8], "big", signed=True)
    row = connection.execute("SELECT pg_try_advisory_xact_lock(%s)", (number,)).fetchone()
    if row is None or row[0] is not True:
        raise Retry(f"batch {batch_id} is being sent by another run at this moment: wait for it to end")


def lock_books(connection: Connection, entity: str) -> None:
    """Hold the books of the entity until the transaction ends."""
    lock(connection, f"books:{entity}")


def set_batch_state(connection: Connection, batch: Batch, to: BatchState) -> None:
    """Move a batch from the state it was read in; Stop if it is not in that state any more."""
    done = connection.execute(
        "UPDATE payout.batch SET state = %s WHERE batch_id = %s AND state = %s", (to, batch.batch_id, batch.state)
    )
    if done.rowcount != 1:
        raise Stop(f"batch {batch.batch_id} is not {batch.state} any more: look at it and start again")


def books_day(context: Context) -> date:
    """Return the day it is in the zone of the books."""
    return context.known_at.replace(tzinfo=UTC).astimezone(ZoneInfo(context.entity.books_zone)).date()


def move(
    connection: Connection,
    context: Context,
    batch: Batch,
    payouts: Sequence[Payout],
    event: Event,
    happened_on: date,
    reason: str = "",
) -> int:
    """Apply an event to payouts of one batch: states, events and postings; return how many moved.

    A payout the event already happened to is left alone. Stop if the table of transitions knows no way. The caller
    holds the lock of the batch; the lock of the books is taken here.
    """
    due: list[tuple[Payout, Transition]] = []
    for payout in payouts:
        transition = TRANSITIONS.get((PayoutState(payout.state), event))
        if transition is not None:
            due.append((payout, transition))
        elif payout.state != _OUTCOME_OF[event]:
            raise Stop(f"payout {payout.payout_id} is {payout.state}: it cannot be {event}")
    if not due:
        return 0
    for (state, known_event), transition in TRANSITIONS.items():
        ids = [payout.payout_id for payout, _ in due if payout.state == state]
        if known_event is event and ids:
            done = connection.execute(
                "UPDATE payout.payout SET state = %s WHERE payout_id = ANY(%s) AND state = %s",
                (transition.to, ids, state),
            )
            if done.rowcount != len(ids):
                raise Stop(f"batch {batch.batch_id}: payouts changed while they were {event}; start again")
    lock_books(connection, batch.entity)
    record_events(connection, context, [payout for payout, _ in due], event, happened_on, reason)
    book(connection, context, batch, due, happened_on)
    return len(due)


def record_events(
    connection: Connection,
    context: Context,
    payouts: Sequence[Payout],
    event: Event,
    happened_on: date,
    reason: str,
) -> None:
    """Append one event to each payout."""
    ids = [payout.payout_id for payout in payouts]
    query = "SELECT payout_id, max(event_no) FROM payout.event WHERE payout_id = ANY(%s) GROUP BY payout_id"
    last = {str(row[0]): int(str(row[1])) for row in connection.execute(query, (ids,)).fetchall()}
    columns = {
        "payout_id": pa.array(ids, pa.string()),
        "event_no": pa.array([last.get(payout_id, 0) + 1 for payout_id in ids], pa.int32()),
        "event": pa.repeat(pa.scalar(str(event)), len(ids)),
        "happened_on": pa.repeat(pa.scalar(happened_on, pa.date32()), len(ids)),
        "recorded_by": pa.repeat(pa.scalar(context.actor), len(ids)),
        "reason": pa.repeat(pa.scalar(reason), len(ids)),
    }
    copy_in(connection, "payout.event", pa.table(columns))


def book(
    connection: Connection,
    context: Context,
    batch: Batch,
    moved: Sequence[tuple[Payout, Transition]],
    effective_for: date,
) -> None:
    """Post one leg for each payout, by its transition."""

    def owner(kind: str, payout: Payout) -> str:
        return {"bank": batch.bank, "payout_in_flight": ""}.get(kind, payout.member_id)

    asset, count = str(member_asset(batch.currency)), len(moved)
    columns = {
        "document_id": [payout.payout_id for payout, _ in moved],
        "debit_kind": [each.debit_kind for _, each in moved],
        "debit_owner": [owner(each.debit_kind, payout) for payout, each in moved],
        "credit_kind": [each.credit_kind for _, each in moved],
        "credit_owner": [owner(each.credit_kind, payout) for payout, each in moved],
        "asset": [asset] * count,
        "amount": [payout.amount_minor for payout, _ in moved],
        "effective_for": [effective_for] * count,
        "component": ["payout"] * count,
        "base_amount": [None] * count,
        "rate": [None] * count,
    }
    flows = pa.table(columns, schema=FLOW)
    post(
        connection,
        batch.entity,
        "payout",
        flows,
        run_id=context.run_id,
        created_by=context.actor,
        posted_at=context.known_at,
    )
