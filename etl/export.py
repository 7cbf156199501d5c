"""Freeze a batch into a payment file, read it again with other code, and bring it to the bank at most once.

The file is stored sealed in the lake, its plain sha256 on the batch: that is what people approve. Before the first byte
leaves, the intent (batch, sha256, remote name) is committed; an intent without an outcome makes the batch `unknown`,
which only a person resolves, after asking the bank.
"""

from __future__ import annotations

import hashlib
import io
import tempfile
from dataclasses import replace
from pathlib import Path

from psycopg.rows import class_row

from etl.core.approval import valid_approval
from etl.core.context import Context
from etl.core.encryption import FILE_BYTES_MAX, BoundTo, KeyRing, decrypt_bytes, encrypt_bytes
from etl.core.errors import Retry, Stop
from etl.core.payee import SealedPayee, unseal
from etl.core.payouts import (
    Batch,
    BatchState,
    Event,
    Payout,
    books_day,
    claim_transmission,
    load_batch,
    load_payouts,
    lock_batch,
    move,
    set_batch_state,
)
from etl.core.rail import Inbox, PaymentInstruction, PaymentOrder, Rail
from etl.core.warehouse import Connection

STORED_BYTES_MAX = FILE_BYTES_MAX + FILE_BYTES_MAX // 64


def freeze(context: Context, batch_id: str, rail: Rail, keyring: KeyRing) -> Batch:
    """Write the payment file of a reserved batch, read it back, store it sealed; return the batch, now frozen.

    A frozen batch is written again and compared: the same bytes change nothing, others raise Stop. A batch further on
    is returned as it is. Raises Stop if file, payouts and ledger do not say the same.
    """
    with context.warehouse.transaction() as connection:
        lock_batch(connection, batch_id)
        batch = load_batch(connection, batch_id)
        if batch.state not in (BatchState.RESERVED, BatchState.FROZEN):
            if batch.sha256 is None:
                raise Stop(f"batch {batch_id} is {batch.state}: it has no file and gets none")
            return batch
        content, sha256 = _written(connection, batch, rail, keyring)
        _require_true(connection, batch, rail, keyring, content)
        if batch.state == BatchState.FROZEN:
            if sha256 != batch.sha256:
                raise Stop(
                    f"batch {batch_id} would be another file now ({sha256[:12]}) than the one frozen "
                    f"({str(batch.sha256)[:12]}): the bank's configuration changed; cancel the batch and select again"
                )
            return batch
        frozen = replace(
            batch,
            state=str(BatchState.FROZEN),
            sha256=sha256,
            object_path=_stored(context, batch, keyring, content),
            remote_name=f"{batch_id}{rail.suffix}",
        )
        connection.execute(
            "UPDATE payout.batch SET state = %s, sha256 = %s, object_path = %s, remote_name = %s WHERE batch_id = %s",
            (frozen.state, frozen.sha256, frozen.object_path, frozen.remote_name, batch_id),
        )
        return frozen


def read_file(context: Context, batch: Batch, keyring: KeyRing) -> bytes:
    """Return the plain payment file of a batch; Stop if what is stored is not the file that was frozen."""
    if batch.object_path is None:
        raise Stop(f"batch {batch.batch_id} has no file yet: run `tallyback payout freeze {batch.batch_id}`")
    with context.lake.open(batch.object_path) as source:
        sealed = source.read(STORED_BYTES_MAX + 1)
    content = decrypt_bytes(keyring, sealed, _place(batch))
    if hashlib.sha256(content).hexdigest() != batch.sha256:
        raise Stop(
            f"batch {batch.batch_id}: the stored file is not the one of sha256 {str(batch.sha256)[:12]}; nothing is "
            "sent: find out who changed the batch or the lake"
        )
    return content


def transmit(context: Context, batch_id: str, rail: Rail, keyring: KeyRing, inbox: Inbox) -> Batch:
    """Bring an approved batch to the bank's inbox, at most once; return the batch, now sent.

    A batch already sent is returned as it is. Raises Stop if nobody approved these bytes who may, if the file, the
    payouts and the ledger differ, or if an earlier attempt has no outcome: then the batch is `unknown`. If the inbox
    fails before the file has its final name, nothing was delivered: that is recorded, and the error raised again.
    """
    with context.warehouse.transaction() as claim:
        claim_transmission(claim, batch_id)
        prepared = _prepared(context, batch_id, rail, keyring, inbox)
        if prepared is None:
            with context.warehouse.transaction() as connection:
                return load_batch(connection, batch_id)
        batch, content, attempt = prepared
        remote_name = str(batch.remote_name)
        try:
            inbox.put_part(content, remote_name)
        except (Retry, Stop, OSError):
            _record_not_sent(context, batch_id, attempt)
            raise
        try:
            inbox.finish(remote_name)
        except (Retry, Stop, OSError) as error:
            raise _unknown(context, batch_id, attempt, str(error)) from error
        try:
            there = inbox.read_back(remote_name)
        except (Retry, Stop, OSError):
            # The file has its final name, that is known; the bank may have taken it away while we looked.
            there = None
        if there is not None and hashlib.sha256(there).hexdigest() != batch.sha256:
            raise _unknown(context, batch_id, attempt, f"the bank has other bytes under the name {remote_name}")
        return _record_sent(context, batch_id, attempt)


def _prepared(
    context: Context, batch_id: str, rail: Rail, keyring: KeyRing, inbox: Inbox
) -> tuple[Batch, bytes, int] | None:
    """Commit the intent to send; return the batch, its file and the number of the attempt, None if it was sent."""
    with context.warehouse.transaction() as connection:
        lock_batch(connection, batch_id)
        batch = load_batch(connection, batch_id)
        attempts = connection.execute(
            "SELECT attempt, outcome FROM payout.transmission WHERE batch_id = %s ORDER BY attempt", (batch_id,)
        ).fetchall()
        open_attempts = [int(str(attempt)) for attempt, outcome in attempts if outcome is None]
    if open_attempts:
        raise _unknown(context, batch_id, open_attempts[0], "an attempt was begun and its outcome never recorded")
    if batch.state == BatchState.SENT:
        return None
    if batch.state == BatchState.UNKNOWN:
        raise _ask(batch_id, "an earlier attempt ended without an outcome")
    if batch.state not in (BatchState.FROZEN, BatchState.APPROVED):
        raise Stop(f"batch {batch_id} is {batch.state}: only a frozen and approved batch is sent")
    content = read_file(context, batch, keyring)
    remote_name = str(batch.remote_name)
    if inbox.exists(remote_name):
        raise Stop(
            f"batch {batch_id}: the bank has a file {remote_name} already, which no attempt of ours put there; nothing "
            "is sent: find out with the bank what it is"
        )
    with context.warehouse.transaction() as connection:
        lock_batch(connection, batch_id)
        now = load_batch(connection, batch_id)
        if now != batch:
            raise Retry(f"batch {batch_id} changed while it was being prepared: look at it and start again")
        valid_approval(connection, now)
        _require_true(connection, now, rail, keyring, content)
        attempt = len(attempts) + 1
        connection.execute(
            "INSERT INTO payout.transmission (batch_id, attempt, sha256, remote_name, intended_at) "
            "VALUES (%s, %s, %s, %s, %s)",
            (batch_id, attempt, batch.sha256, remote_name, context.known_at),
        )
        set_batch_state(connection, now, BatchState.SUBMITTING)
    return batch, content, attempt


def _record_sent(context: Context, batch_id: str, attempt: int) -> Batch:
    with context.warehouse.transaction() as connection:
        lock_batch(connection, batch_id)
        batch = load_batch(connection, batch_id)
        _close_attempt(connection, context, batch_id, attempt, "sent")
        set_batch_state(connection, batch, BatchState.SENT)
        move(connection, context, batch, load_payouts(connection, batch_id), Event.TRANSMITTED, books_day(context))
        return replace(batch, state=str(BatchState.SENT))


def _record_not_sent(context: Context, batch_id: str, attempt: int) -> None:
    with context.warehouse.transaction() as connection:
        lock_batch(connection, batch_id)
        _close_attempt(connection, context, batch_id, attempt, "not_sent")
        set_batch_state(connection, load_batch(connection, batch_id), BatchState.APPROVED)


def _unknown(context: Context, batch_id: str, attempt: int, why: str) -> Stop:
    """Record that nobody knows whether the file arrived; return the error that says what to do."""
    with context.warehouse.transaction() as connection:
        lock_batch(connection, batch_id)
        _close_attempt(connection, context, batch_id, attempt, "unknown")
        set_batch_state(connection, load_batch(connection, batch_id), BatchState.UNKNOWN)
    return _ask(batch_id, why)


def _ask(batch_id: str, why: str) -> Stop:
    return Stop(
        f"batch {batch_id}: it is unknown whether the bank has the file ({why}). It is not sent again by itself: ask "
        f"the bank, then run `tallyback payout resolve {batch_id} sent` or `... not_sent` with what it said"
    )


def _close_attempt(connection: Connection, context: Context, batch_id: str, attempt: int, outcome: str) -> None:
    done = connection.execute(
        "UPDATE payout.transmission SET outcome = %s, recorded_at = %s, recorded_by = %s "
        "WHERE batch_id = %s AND attempt = %s AND outcome IS NULL",
        (outcome, context.known_at, context.actor, batch_id, attempt),
    )
    if done.rowcount != 1:
        raise Stop(f"batch {batch_id}: attempt {attempt} has an outcome already; look at payout.transmission")


def _instructions(
    connection: Connection, batch: Batch, keyring: KeyRing
) -> tuple[list[Payout], list[PaymentInstruction]]:
    payouts = load_payouts(connection, batch.batch_id)
    query = (
        "SELECT e.member_id, e.version, e.name_encrypted, e.iban_encrypted FROM pii.payee AS e JOIN payout.payout AS p "
        "ON p.member_id = e.member_id AND p.payee_version = e.version WHERE p.batch_id = %s"
    )
    with connection.cursor(row_factory=class_row(SealedPayee)) as cursor:
        sealed = {each.member_id: each for each in cursor.execute(query, (batch.batch_id,)).fetchall()}
    instructions = []
    for payout in payouts:
        if payout.member_id not in sealed:
            raise Stop(
                f"payout {payout.payout_id}: version {payout.payee_version} of the payee of member {payout.member_id} "
                "is gone; cancel the batch and select again"
            )
        payee = unseal(keyring, sealed[payout.member_id])
        instructions.append(
            PaymentInstruction(payout.payout_id, payout.end_to_end_id, payout.amount_minor, payee.name, payee.iban)
        )
    return payouts, instructions


def _written(connection: Connection, batch: Batch, rail: Rail, keyring: KeyRing) -> tuple[bytes, str]:
    _, instructions = _instructions(connection, batch, keyring)
    order = PaymentOrder(batch.batch_id, batch.created_at, batch.execute_on, batch.currency)
    out = io.BytesIO()
    totals = rail.write(order, instructions, out)
    return out.getvalue(), totals.sha256


def _require_true(connection: Connection, batch: Batch, rail: Rail, keyring: KeyRing, content: bytes) -> None:
    """Stop unless the bytes, read by independent code, say what payouts, payees and the ledger say."""
    payouts, instructions = _instructions(connection, batch, keyring)
    found = rail.read_back(io.BytesIO(content))
    expected = {each.end_to_end_id: (each.amount_minor, each.iban) for each in instructions}
    in_file = {each.end_to_end_id: (each.amount_minor, each.iban) for each in found.payments}
    total = sum(payout.amount_minor for payout in payouts)
    checks = (
        ("batch id", found.batch_id, batch.batch_id),
        ("execution day", found.execute_on, batch.execute_on),
        ("currency", {each.currency for each in found.payments}, {batch.currency}),
        ("number of payments", found.totals.payment_count, batch.payout_count),
        ("number of payouts", len(payouts), batch.payout_count),
        ("sum of the file", found.totals.total_minor, batch.total_minor),
        ("sum of the payouts", total, batch.total_minor),
        ("reserved in the ledger", _reserved_minor(connection, batch), batch.total_minor),
    )
    for what, actual, wanted in checks:
        if actual != wanted:
            raise Stop(f"batch {batch.batch_id}: {what} is {actual}, should be {wanted}; nothing is sent")
    wrong = sorted(key for key in expected.keys() | in_file.keys() if expected.get(key) != in_file.get(key))
    if wrong:
        raise Stop(f"batch {batch.batch_id}: {len(wrong)} payments of the file are not the payouts', first {wrong[0]}")


def _reserved_minor(connection: Connection, batch: Batch) -> int:
    """Return what the ledger holds reserved for the batch; Stop if a payout's share is not its amount."""
    query = """
        SELECT p.payout_id, p.amount_minor, coalesce(sum(m.amount_minor), 0)::bigint
        FROM payout.payout AS p
        LEFT JOIN mart.movement AS m
            ON m.document_kind = 'payout' AND m.document_id = p.payout_id AND m.kind = 'payout_reserved'
            AND m.owner = p.member_id AND m.entity = %s AND m.currency = p.currency
        WHERE p.batch_id = %s
        GROUP BY p.payout_id, p.amount_minor
    """
    total = 0
    for payout_id, amount, balance in connection.execute(query, (batch.entity, batch.batch_id)).fetchall():
        reserved = -int(str(balance))
        if reserved != amount:
            raise Stop(f"payout {payout_id} is of {amount} minor units, the ledger holds {reserved} reserved for it")
        total += reserved
    return total


def _place(batch: Batch) -> BoundTo:
    return BoundTo("payout.batch", "file", batch.batch_id)


def _stored(context: Context, batch: Batch, keyring: KeyRing, content: bytes) -> str:
    """Return the lake's path of the sealed file. The plain bytes never touch a disk."""
    context.temporary.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=context.temporary) as folder:
        local = Path(folder) / "payment.sealed"
        local.write_bytes(encrypt_bytes(keyring, content, _place(batch)))
        return context.lake.put_file(local, "payout", ".sealed").path
