"""Select what members may be paid, reserve it in the books, and take a person's approval of the file made of it.

Reads the ledger, payout lines, holds and payees; writes a batch, payouts, their lines, events and postings, all in one
transaction under the lock of the books, so that two runs at once never reserve the same money.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

import pyarrow as pa
from psycopg.rows import class_row

from etl.core.approval import identity, require_person, valid_approval, why_not
from etl.core.configuration import Bank
from etl.core.context import Context
from etl.core.encryption import KeyRing
from etl.core.engine import query_text
from etl.core.errors import Stop
from etl.core.money import member_asset
from etl.core.payee import SealedPayee, unseal
from etl.core.payouts import (
    RESERVATION,
    Batch,
    BatchState,
    Event,
    Payout,
    PayoutState,
    book,
    load_batch,
    lock_batch,
    lock_books,
    record_events,
    set_batch_state,
)
from etl.core.rail import PaymentInstruction, PaymentOrder, Rail
from etl.core.warehouse import APPROVER, Connection, copy_in

PAYOUTS_MAX = 999_999
"""A payout's number within its batch has six digits."""


@dataclass(frozen=True, slots=True)
class PayoutProblem:
    """Why a member with money to be paid is not paid; nothing secret in it."""

    member_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Selection:
    """What was selected: the batch (None: nothing to pay), who is not paid and why, how many wait for the next."""

    batch: Batch | None
    problems: tuple[PayoutProblem, ...]
    waiting_count: int


@dataclass(frozen=True, slots=True)
class _Line:
    member_id: str
    document_kind: str
    document_id: str
    amount_minor: int
    remaining_minor: int
    ledger_balance_minor: int


@dataclass(frozen=True, slots=True)
class _Due:
    """One member's money, and where it goes."""

    member_id: str
    payee_version: int
    payee_name: str
    iban: str
    lines: tuple[_Line, ...]

    @property
    def amount_minor(self) -> int:
        return sum(line.amount_minor for line in self.lines)


def select_and_reserve(
    context: Context,
    bank: Bank,
    day: date,
    *,
    threshold_minor: int,
    maturity_days: int,
    execute_on: date,
    released_by: str,
    rail: Rail,
    keyring: KeyRing,
) -> Selection:
    """Reserve what the entity's members may be paid on `day` in the bank's currency, as one batch.

    Nothing to pay gives no batch, so that a second run on the same day reserves nothing new. Raises Stop if payout
    lines and ledger disagree, or if the rail refuses the batch as a whole.
    """
    if not released_by.strip():
        raise Stop("a batch needs the name of who releases it")
    if threshold_minor < 1 or maturity_days < 0 or execute_on < day:
        raise Stop(
            f"bank {bank.name}: threshold {threshold_minor}, maturity {maturity_days} days, execution {execute_on} for "
            f"{day}: the threshold is at least 1, maturity at least 0 and execution not before the day selected for"
        )
    with context.warehouse.transaction() as connection:
        lock_books(connection, context.entity.name)
        lines = _payable(connection, context, bank, day - timedelta(days=maturity_days), threshold_minor)
        due, problems = _with_payees(connection, lines, keyring)
        order = PaymentOrder("TB-PROBE", context.known_at, execute_on, bank.currency)
        due, refused = _payable_by_rail(due, order, rail)
        problems += refused
        limit = min(rail.payments_max, PAYOUTS_MAX)
        due, waiting = due[:limit], due[limit:]
        if not due:
            return Selection(None, tuple(problems), 0)
        batch = _reserve(connection, context, bank, day, execute_on, released_by.strip(), due)
        instructions = [_instruction(payout, each) for payout, each in zip(_payouts(batch, due), due, strict=True)]
        order = replace(order, batch_id=batch.batch_id)
        found = rail.problems(order, instructions)
        if found:
            raise Stop(f"bank {bank.name} takes no batch today: {found[0].reason} ({len(found)} problems)")
        return Selection(batch, tuple(problems), len(waiting))


def approve(context: Context, batch_id: str, sha256: str, person: str) -> Batch:
    """Record that `person` approves the file of this sha256; return the batch, now approved.

    Raises Stop if the person is nobody, released the batch or had a hand in what it pays, or if the file is not the
    one frozen. The row is written as the role of approvers, which the pipeline's role cannot do.
    """
    person = require_person(person)
    with context.warehouse.transaction(APPROVER) as connection:
        lock_batch(connection, batch_id)
        batch = load_batch(connection, batch_id)
        if batch.state not in (BatchState.FROZEN, BatchState.APPROVED):
            raise Stop(f"batch {batch_id} is {batch.state}: only a frozen batch can be approved")
        if sha256 != batch.sha256:
            raise Stop(
                f"batch {batch_id} has the file {str(batch.sha256)[:12]}, not {sha256[:12]}: look at the file again, "
                "and approve the sha256 it has"
            )
        reason = why_not(connection, batch_id, person)
        if reason is not None:
            raise Stop(f"{person} {reason}: another person must approve batch {batch_id}")
        query = "SELECT approved_by FROM payout.approval WHERE batch_id = %s AND sha256 = %s"
        known = [identity(str(row[0])) for row in connection.execute(query, (batch_id, sha256)).fetchall()]
        if identity(person) not in known:
            connection.execute(
                "INSERT INTO payout.approval (batch_id, sha256, approved_by, approved_at) VALUES (%s, %s, %s, %s)",
                (batch_id, sha256, person, context.known_at),
            )
    # The approver may not change a batch; transmission looks at the row, and this state is for people to see.
    with context.warehouse.transaction() as connection:
        lock_batch(connection, batch_id)
        batch = load_batch(connection, batch_id)
        if batch.state == BatchState.FROZEN:
            valid_approval(connection, batch)
            set_batch_state(connection, batch, BatchState.APPROVED)
            batch = replace(batch, state=str(BatchState.APPROVED))
    return batch


def _payable(
    connection: Connection, context: Context, bank: Bank, mature_until: date, threshold_minor: int
) -> list[_Line]:
    parameters = {
        "entity": context.entity.name,
        "asset": str(member_asset(bank.currency)),
        "currency": bank.currency,
        "mature_until": mature_until,
        "threshold_minor": threshold_minor,
    }
    with connection.cursor(row_factory=class_row(_Line)) as cursor:
        lines = cursor.execute(query_text("ledger/payable"), parameters).fetchall()
    for line in lines:
        if line.remaining_minor != line.ledger_balance_minor:
            raise Stop(
                f"member {line.member_id}: documents less payouts leave {line.remaining_minor} {bank.currency} minor "
                f"units, the ledger owes {line.ledger_balance_minor}; nothing is paid: run `tallyback verify`"
            )
    return lines


def _with_payees(
    connection: Connection, lines: Iterable[_Line], keyring: KeyRing
) -> tuple[list[_Due], list[PayoutProblem]]:
    """Return each member's lines with the newest payee, and who has none that can be read."""
    by_member = {member: tuple(own) for member, own in itertools.groupby(lines, key=lambda line: line.member_id)}
    query = (
        "SELECT DISTINCT ON (member_id) member_id, version, name_encrypted, iban_encrypted FROM pii.payee "
        "WHERE member_id = ANY(%s) ORDER BY member_id, version DESC"
    )
    with connection.cursor(row_factory=class_row(SealedPayee)) as cursor:
        sealed = {each.member_id: each for each in cursor.execute(query, (list(by_member),)).fetchall()}
    due: list[_Due] = []
    problems: list[PayoutProblem] = []
    for member, own in by_member.items():
        if member not in sealed:
            problems.append(PayoutProblem(member, "has no payee: ask the member for name and IBAN"))
            continue
        try:
            payee = unseal(keyring, sealed[member])
        except Stop as error:
            # One damaged row must not keep everybody else from their money.
            problems.append(PayoutProblem(member, str(error)))
            continue
        due.append(_Due(member, payee.version, payee.name, payee.iban, own))
    return due, problems


def _payable_by_rail(due: Sequence[_Due], order: PaymentOrder, rail: Rail) -> tuple[list[_Due], list[PayoutProblem]]:
    """Return who the rail can pay, and why it cannot pay the others; what it says of the batch is judged later."""
    names = {f"probe-{number}": each.member_id for number, each in enumerate(due)}
    instructions = [
        PaymentInstruction(name, name, each.amount_minor, each.payee_name, each.iban)
        for name, each in zip(names, due, strict=True)
    ]
    reasons: dict[str, str] = {}
    for problem in rail.problems(order, instructions):
        if problem.payout_id:
            reasons.setdefault(names[problem.payout_id], problem.reason)
    able = [each for each in due if each.member_id not in reasons]
    return able, [PayoutProblem(member, reason) for member, reason in reasons.items()]


def _reserve(
    connection: Connection,
    context: Context,
    bank: Bank,
    day: date,
    execute_on: date,
    released_by: str,
    due: Sequence[_Due],
) -> Batch:
    batch = Batch(
        batch_id=_batch_id(connection, context, bank, day, execute_on, due),
        entity=context.entity.name,
        rail=bank.rail,
        bank=bank.name,
        currency=bank.currency,
        selected_for=day,
        execute_on=execute_on,
        # To the second, as files state it.
        created_at=context.known_at.replace(microsecond=0),
        payout_count=len(due),
        total_minor=sum(each.amount_minor for each in due),
        state=str(BatchState.RESERVED),
        released_by=released_by,
    )
    payouts = _payouts(batch, due)
    copy_in(connection, "payout.batch", _table([batch]))
    copy_in(connection, "payout.payout", _table(payouts))
    lines = [(payout.payout_id, line) for payout, each in zip(payouts, due, strict=True) for line in each.lines]
    columns = {
        "payout_id": [payout_id for payout_id, _ in lines],
        "document_kind": [line.document_kind for _, line in lines],
        "document_id": [line.document_id for _, line in lines],
        "amount_minor": [line.amount_minor for _, line in lines],
    }
    copy_in(connection, "payout.payout_line", pa.table(columns))
    record_events(connection, context, payouts, Event.RESERVED, day, "")
    book(connection, context, batch, [(payout, RESERVATION) for payout in payouts], day)
    return batch


def _batch_id(
    connection: Connection, context: Context, bank: Bank, day: date, execute_on: date, due: Sequence[_Due]
) -> str:
    """Return an id that follows from what is paid, and from how many batches of the day went before (some canceled)."""
    query = "SELECT count(*) FROM payout.batch WHERE entity = %s AND bank = %s AND selected_for = %s"
    row = connection.execute(query, (context.entity.name, bank.name, day)).fetchone()
    digest = hashlib.sha256()
    for part in (context.entity.name, bank.name, day.isoformat(), execute_on.isoformat(), str(row and row[0])):
        digest.update(f"{len(part)}:{part};".encode())
    for each in due:
        digest.update(f"{len(each.member_id)}:{each.member_id}/{each.payee_version};".encode())
        for line in each.lines:
            digest.update(
                f"{line.document_kind}:{len(line.document_id)}:{line.document_id}={line.amount_minor};".encode()
            )
    return f"TB-{day:%Y%m%d}-{digest.hexdigest()[:16].upper()}"


def _payouts(batch: Batch, due: Sequence[_Due]) -> list[Payout]:
    # 35 characters, as long as a SEPA reference may be; in the order of the members' ids.
    ids = [f"{batch.batch_id}-{number:06d}" for number in range(1, len(due) + 1)]
    return [
        Payout(
            payout_id=payout_id,
            batch_id=batch.batch_id,
            member_id=each.member_id,
            currency=batch.currency,
            amount_minor=each.amount_minor,
            payee_version=each.payee_version,
            end_to_end_id=payout_id,
            state=str(PayoutState.RESERVED),
        )
        for payout_id, each in zip(ids, due, strict=True)
    ]


def _instruction(payout: Payout, due: _Due) -> PaymentInstruction:
    return PaymentInstruction(payout.payout_id, payout.end_to_end_id, payout.amount_minor, due.payee_name, due.iban)


def _table(rows: Sequence[Batch] | Sequence[Payout]) -> pa.Table:
    names = list(type(rows[0]).__dataclass_fields__)
    columns = {name: [getattr(row, name) for row in rows] for name in names}
    # Columns without a value are left to the table's default, which is null.
    return pa.table({name: values for name, values in columns.items() if values[0] is not None})
