"""Say what became of payouts: settled, returned, canceled; and what became of a file nobody knew the fate of.

Every way is in the one table of transitions (`etl.core.payouts.TRANSITIONS`); saying the same twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from enum import StrEnum

from etl.core.approval import require_person
from etl.core.context import Context
from etl.core.errors import Stop
from etl.core.payouts import (
    Batch,
    BatchState,
    Event,
    Payout,
    books_day,
    claim_transmission,
    load_batch,
    load_payout,
    load_payouts,
    lock_batch,
    move,
    set_batch_state,
)

REASON_LENGTH_MAX = 1000


class Resolution(StrEnum):
    """What the bank says about a file whose delivery nobody saw end."""

    SENT = "sent"
    NOT_SENT = "not_sent"


def settle(
    context: Context, batch_id: str, happened_on: date, payout_ids: Sequence[str] | None = None, reason: str = ""
) -> int:
    """Book that the bank paid payouts of a sent batch (all still in flight, or those named); return how many moved."""
    _require_reason(reason, needed=False)
    with context.warehouse.transaction() as connection:
        lock_batch(connection, batch_id)
        batch = load_batch(connection, batch_id)
        if batch.state != BatchState.SENT:
            raise Stop(f"batch {batch_id} is {batch.state}: only payouts of a sent batch can settle")
        payouts = load_payouts(connection, batch_id)
        if payout_ids is None:
            # One that was returned stays so; whoever means it names it, and is told.
            chosen = [payout for payout in payouts if payout.state == Event.SETTLED or payout.state == "in_flight"]
        else:
            chosen = _named(payouts, payout_ids, batch_id)
        return move(connection, context, batch, chosen, Event.SETTLED, happened_on, reason)


def return_payout(context: Context, payout_id: str, happened_on: date, reason: str) -> int:
    """Book that a payout came back (or was refused): the member is owed the money again; return 1, or 0 if known."""
    _require_reason(reason, needed=True)
    with context.warehouse.transaction() as connection:
        batch_id = load_payout(connection, payout_id).batch_id
        lock_batch(connection, batch_id)
        payout = load_payout(connection, payout_id)
        batch = load_batch(connection, batch_id)
        return move(connection, context, batch, [payout], Event.RETURNED, happened_on, reason)


def resolve(context: Context, batch_id: str, resolution: Resolution, person: str, evidence: str) -> Batch:
    """Record what the bank said about an `unknown` batch; return it: sent, or approved and free for a new attempt.

    Raises Stop if the batch is not unknown, and Retry while another run is sending it.
    """
    person = require_person(person)
    _require_reason(evidence, needed=True)
    with context.warehouse.transaction() as connection:
        claim_transmission(connection, batch_id)
        lock_batch(connection, batch_id)
        batch = load_batch(connection, batch_id)
        # A process that died leaves `submitting`: nobody sends it now, for we hold the right to.
        if batch.state not in (BatchState.UNKNOWN, BatchState.SUBMITTING):
            raise Stop(f"batch {batch_id} is {batch.state}: there is nothing to resolve")
        done = connection.execute(
            "UPDATE payout.transmission SET outcome = %s, recorded_at = %s, recorded_by = %s, evidence = %s "
            "WHERE batch_id = %s AND attempt = (SELECT max(attempt) FROM payout.transmission WHERE batch_id = %s)",
            (resolution, context.known_at, person, evidence, batch_id, batch_id),
        )
        if done.rowcount != 1:
            raise Stop(f"batch {batch_id} is {batch.state} without an attempt to send it; look at payout.transmission")
        to = BatchState.SENT if resolution is Resolution.SENT else BatchState.APPROVED
        set_batch_state(connection, batch, to)
        if to is BatchState.SENT:
            by_person = replace(context, actor=person)
            payouts = load_payouts(connection, batch_id)
            move(connection, by_person, batch, payouts, Event.TRANSMITTED, books_day(context), evidence)
        return replace(batch, state=str(to))


def cancel(context: Context, batch_id: str, person: str, reason: str) -> Batch:
    """Cancel a batch that was never sent: members are owed the money again. Raises Stop once sending has begun."""
    _require_reason(reason, needed=True)
    with context.warehouse.transaction() as connection:
        lock_batch(connection, batch_id)
        batch = load_batch(connection, batch_id)
        if batch.state == BatchState.CANCELED:
            return batch
        if batch.state not in (BatchState.RESERVED, BatchState.FROZEN, BatchState.APPROVED):
            raise Stop(f"batch {batch_id} is {batch.state}: the bank may have it, so it cannot be canceled")
        set_batch_state(connection, batch, BatchState.CANCELED)
        by_person = replace(context, actor=person)
        move(
            connection, by_person, batch, load_payouts(connection, batch_id), Event.CANCELED, books_day(context), reason
        )
        return replace(batch, state=str(BatchState.CANCELED))


def _named(payouts: Sequence[Payout], payout_ids: Sequence[str], batch_id: str) -> list[Payout]:
    known = {payout.payout_id: payout for payout in payouts}
    for payout_id in payout_ids:
        if payout_id not in known:
            raise Stop(f"batch {batch_id} has no payout {payout_id!r}")
    return [known[payout_id] for payout_id in dict.fromkeys(payout_ids)]


def _require_reason(text: str, *, needed: bool) -> None:
    if needed and not text.strip():
        raise Stop("say why, and what shows it: the text is kept with the event")
    if len(text) > REASON_LENGTH_MAX:
        raise Stop(f"the reason has {len(text)} characters, at most {REASON_LENGTH_MAX} are kept")
