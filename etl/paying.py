"""Run what pays members: select, freeze, approve, transmit, and what people say of batches afterwards.

The rail and the bank's inbox are chosen here from the bank's configuration and handed to the stages.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from etl.core.context import Context, StageResult
from etl.installation import CredentialsOf, Installation

if TYPE_CHECKING:
    from etl.core.configuration import Bank
    from etl.core.payouts import Batch
    from etl.core.rail import Rail
    from etl.pipeline import Task


@dataclass(frozen=True, slots=True)
class BatchFacts:
    """What a person is shown before they approve a batch."""

    batch_id: str
    sha256: str
    payout_count: int
    total_minor: int
    currency: str
    state: str
    released_by: str

    @property
    def sentence(self) -> str:
        """Return the facts as one sentence."""
        amount = f"{self.total_minor // 100:,}.{self.total_minor % 100:02d}"
        return (
            f"Batch {self.batch_id}: {self.payout_count:,} payouts, {self.currency} {amount}, {self.state}, "
            f"released by {self.released_by or 'nobody'}, sha256 {self.sha256}"
        )


def rail_of(bank: Bank) -> Rail:
    """Return the rail that `bank` pays over."""
    from connectors.providers.sepa.rail import SepaRail

    return SepaRail.of(bank)


def select(installation: Installation, context: Context, task: Task, _: CredentialsOf) -> StageResult:
    """Reserve what may be paid on the day and freeze its file. Key: the bank."""
    from etl.core.approval import require_person
    from etl.export import freeze
    from etl.payout import select_and_reserve

    bank = context.configuration.bank(task.key)
    released_by = require_person(context.actor)
    rail, keys = rail_of(bank), installation.key_ring()
    open_batch = _open_batch(context, bank)
    problems: tuple[str, ...] = ()
    waiting = 0
    if open_batch is None:
        selection = select_and_reserve(
            context,
            bank,
            task.day,
            threshold_minor=bank.threshold_minor,
            maturity_days=bank.maturity_days,
            execute_on=task.day + timedelta(days=1),
            released_by=released_by,
            rail=rail,
            keyring=keys,
        )
        problems = tuple(f"{problem.member_id}: {problem.reason}" for problem in selection.problems)
        waiting = selection.waiting_count
        open_batch = selection.batch.batch_id if selection.batch else None
        made = selection.batch.payout_count if selection.batch else 0
    else:
        made = 0
    if open_batch is None:
        note = "nothing to pay" + (f"; {len(problems)} members cannot be paid: {problems[0]}" if problems else "")
        return StageResult("payout", task.key, (("payouts", 0), ("problems", len(problems))), note)
    batch = freeze(context, open_batch, rail, keys)
    counts = (("payouts", made), ("problems", len(problems)), ("waiting", waiting))
    return StageResult("payout", task.key, counts, _facts(batch).sentence)


def freeze_batch(installation: Installation, context: Context, task: Task, _: CredentialsOf) -> StageResult:
    """Write the payment file of a reserved batch again and compare. Key: the batch."""
    from etl.export import freeze

    bank = _bank_of(context, task.key)
    batch = freeze(context, task.key, rail_of(bank), installation.key_ring())
    return StageResult("export", task.key, (("payouts", batch.payout_count),), _facts(batch).sentence)


def transmit_batch(installation: Installation, context: Context, task: Task, credentials: CredentialsOf) -> StageResult:
    """Send an approved batch, at most once. Key: the batch."""
    from connectors.providers.inbox import SftpInbox, sftp_settings
    from connectors.transport.sftp import SftpConnection
    from etl.export import transmit

    bank = _bank_of(context, task.key)
    with SftpConnection(sftp_settings(bank, credentials(bank.connection))) as connection:
        inbox = SftpInbox(connection, bank.inbox)
        batch = transmit(context, task.key, rail_of(bank), installation.key_ring(), inbox)
    return StageResult("transmit", task.key, (("payouts", batch.payout_count),), _facts(batch).sentence)


def approve_batch(context: Context, batch_id: str, sha256: str) -> BatchFacts:
    """Record that the context's actor approves the file with this sha256; Stop if they may not."""
    from etl.payout import approve

    return _facts(approve(context, batch_id, sha256, context.actor))


def batch_facts(context: Context, bank_name: str) -> BatchFacts | None:
    """Return the bank's batch that waits for people (reserved to approved), or None."""
    from etl.core.payouts import load_batch

    batch_id = _open_batch(context, context.configuration.bank(bank_name))
    if batch_id is None:
        return None
    with context.warehouse.transaction() as connection:
        return _facts(load_batch(connection, batch_id))


def _facts(batch: Batch) -> BatchFacts:
    return BatchFacts(
        batch_id=batch.batch_id,
        sha256=batch.sha256 or "",
        payout_count=batch.payout_count,
        total_minor=batch.total_minor,
        currency=batch.currency,
        state=batch.state,
        released_by=batch.released_by,
    )


def _open_batch(context: Context, bank: Bank) -> str | None:
    with context.warehouse.transaction() as connection:
        row = connection.execute(
            "SELECT batch_id FROM payout.batch WHERE entity = %s AND bank = %s"
            " AND state IN ('reserved', 'frozen', 'approved') ORDER BY selected_for, batch_id LIMIT 1",
            (context.entity.name, bank.name),
        ).fetchone()
    return str(row[0]) if row else None


def _bank_of(context: Context, batch_id: str) -> Bank:
    from etl.core.payouts import load_batch

    with context.warehouse.transaction() as connection:
        return context.configuration.bank(load_batch(connection, batch_id).bank)
