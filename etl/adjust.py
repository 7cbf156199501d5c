"""Adjust: book by hand what no fact says, by two people and with evidence: one proposes, another approves."""

from __future__ import annotations

import hashlib
import json
import tempfile
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
from psycopg.rows import dict_row

from etl.core.adjustment import GIVEN, OF_OPENING, AdjustmentKind, adjustment_target, left_of_opening
from etl.core.approval import identity, require_person
from etl.core.context import Context, StageResult
from etl.core.encryption import BoundTo, KeyRing, decrypt_bytes, encrypt_bytes
from etl.core.errors import Stop
from etl.core.ledger import lock_books
from etl.core.money import PARTNER_SCALE, exponent
from etl.core.opening import MEMBER_KINDS
from etl.core.payouts import books_day
from etl.core.schemas import TEXT
from etl.core.target import post_difference, read_posted
from etl.core.warehouse import APPROVER, Connection, fetch, lock

EVIDENCE_BYTES_MAX = 25 * 1024 * 1024
ADJUSTMENT = pa.schema(
    [
        ("adjustment_id", TEXT),
        ("kind", TEXT),
        ("owner", TEXT),
        ("account", TEXT),
        ("currency", TEXT),
        ("amount", pa.decimal128(18, 4)),
        ("effective_on", pa.date32()),
        ("sale_id", TEXT),
        ("reverses", TEXT),
        ("reason", TEXT),
        ("evidence_name", TEXT),
        ("evidence_sha256", TEXT),
        ("proposed_by", TEXT),
        ("proposed_at", pa.timestamp("us")),
        ("state", TEXT),
        ("said_by", TEXT),
        ("said_at", pa.timestamp("us")),
        ("said_reason", TEXT),
    ]
)


@dataclass(frozen=True, slots=True)
class Proposal:
    """What is to be booked. `account` is the member's: credited, released or declined from; a partner has none."""

    kind: AdjustmentKind
    owner: str
    amount: Decimal
    currency: str
    reason: str
    effective_on: date
    account: str | None = None
    sale_id: str | None = None
    reverses: str | None = None


def propose(context: Context, proposal: Proposal, evidence: Path, keyring: KeyRing) -> str:
    """Record a proposal by `context.actor` with its evidence, sealed in the lake, and return its id; nothing is booked.

    The very same proposal again is the one that is known. Stop if it is not whole, if its owner or sale is not known,
    if its day has not come, or if the actor is no person.
    """
    person = require_person(context.actor)
    _require_whole(context, proposal)
    content = _evidence(evidence)
    sha256 = hashlib.sha256(content).hexdigest()
    told = [
        proposal.kind, proposal.owner, proposal.account, proposal.currency, str(proposal.amount.normalize()),
        str(proposal.effective_on), proposal.sale_id, proposal.reverses, proposal.reason, sha256, identity(person),
    ]  # fmt: skip
    adjustment_id = "A-" + hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]
    with context.warehouse.transaction(APPROVER) as connection:
        lock(connection, "adjustments")
        if connection.execute("SELECT 1 FROM ops.adjustment WHERE adjustment_id = %s", (adjustment_id,)).fetchone():
            return adjustment_id
        _require_known(connection, proposal)
        path = _sealed(context, keyring, content, sha256)
        connection.execute(
            "INSERT INTO ops.adjustment (adjustment_id, kind, owner, account, currency, amount, effective_on, sale_id,"
            " break_evidence, reverses, reason, evidence_name, evidence_sha256, evidence_path, proposed_by,"
            " proposed_at, run_id) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, (SELECT evidence_hash FROM ops.break"
            " WHERE sale_id = %s AND kind = 'changed_since_opening' ORDER BY line_id LIMIT 1), %s, %s, %s, %s, %s, %s,"
            " %s, %s)",
            (
                adjustment_id, proposal.kind, proposal.owner, proposal.account, proposal.currency, proposal.amount,
                proposal.effective_on, proposal.sale_id, proposal.sale_id, proposal.reverses, proposal.reason,
                evidence.name, sha256, path, person, context.known_at, context.run_id,
            ),
        )  # fmt: skip
    return adjustment_id


def reverse(
    context: Context, adjustment_id: str, reason: str, effective_on: date, evidence: Path, keyring: KeyRing
) -> str:
    """Propose the opposite of an approved adjustment, which it names, and return its id; it needs approval as well."""
    row = _adjustment(context, adjustment_id)
    if row["state"] != "approved" or row["reverses"] is not None:
        what = (
            "a reversal itself: propose anew" if row["reverses"] else f"{row['state']}: only an approved one is booked"
        )
        raise Stop(f"adjustment {adjustment_id} is {what}")
    amount = row["amount"]
    assert isinstance(amount, Decimal)
    account, sale_id = (None if row[name] is None else str(row[name]) for name in ("account", "sale_id"))
    proposal = Proposal(
        AdjustmentKind(str(row["kind"])), str(row["owner"]), -amount, str(row["currency"]), reason, effective_on,
        account, sale_id, adjustment_id,
    )  # fmt: skip
    return propose(context, proposal, evidence, keyring)


def approve(context: Context, adjustment_id: str) -> StageResult:
    """Approve a proposal as `context.actor`, another person than proposed it, and book it.

    Stop if it was rejected, if the actor may not, or if it takes more of an opened balance than there is.
    """
    person = require_person(context.actor)
    with context.warehouse.transaction(APPROVER) as connection:
        lock(connection, "adjustments")
        row = _one(connection, adjustment_id)
        if identity(str(row["proposed_by"])) == identity(person):
            raise Stop(f"{person} proposed adjustment {adjustment_id}: another person must approve it")
        if row["state"] == "rejected":
            raise Stop(f"adjustment {adjustment_id} was rejected by {row['said_by']}: propose it anew")
        if row["state"] == "proposed":
            _require_opened(connection, row)
            _say(connection, context, adjustment_id, "approved", person, "")
    return book_adjustments(context)


def reject(context: Context, adjustment_id: str, reason: str) -> None:
    """Reject a proposal, or withdraw one's own, with a reason; Stop if it was approved already."""
    person = require_person(context.actor)
    if not reason.strip():
        raise Stop("say why it is rejected: whoever proposed it will ask")
    with context.warehouse.transaction(APPROVER) as connection:
        lock(connection, "adjustments")
        row = _one(connection, adjustment_id)
        if row["state"] == "approved":
            raise Stop(f"adjustment {adjustment_id} is approved: `tallyback adjust reverse` takes it back")
        if row["state"] == "proposed":
            _say(connection, context, adjustment_id, "rejected", person, reason)


def book_adjustments(context: Context) -> StageResult:
    """Post target minus posted for all adjustments in force; again, nothing."""
    entity = context.entity.name
    with context.warehouse.transaction() as connection:
        lock_books(connection, entity)
        wanted = adjustment_target(connection, context.entity.base_currency)
        booked = read_posted(connection, entity, kind="adjustment")
        posted = post_difference(context, connection, "adjustment", wanted, booked)
    note = f"booked: {posted.documents:,} of the adjustments" if posted.postings else ""
    return StageResult("adjust", entity, (("adjustment_postings", posted.postings),), note)


def list_adjustments(context: Context, state: str | None = None) -> pa.Table:
    """Return adjustments (schema ADJUSTMENT), the newest first, of one state (proposed, approved, rejected) or all."""
    query = f"{_ADJUSTMENTS} WHERE %s::text IS NULL OR coalesce(v.verdict, 'proposed') = %s"
    with context.warehouse.transaction() as connection:
        return fetch(connection, f"{query} ORDER BY a.proposed_at DESC, a.adjustment_id", ADJUSTMENT, (state, state))


def read_evidence(context: Context, adjustment_id: str, keyring: KeyRing) -> tuple[str, bytes]:
    """Return the name and the bytes of the evidence of an adjustment; Stop if they are not the ones recorded."""
    row = _adjustment(context, adjustment_id)
    with context.warehouse.transaction() as connection:
        found = connection.execute(
            "SELECT evidence_path FROM ops.adjustment WHERE adjustment_id = %s", (adjustment_id,)
        ).fetchone()
    with context.lake.open(str(found and found[0])) as source:
        content = decrypt_bytes(keyring, source.read(), _place(str(row["evidence_sha256"])))
    if hashlib.sha256(content).hexdigest() != row["evidence_sha256"]:
        raise Stop(f"the evidence of {adjustment_id} is not what was recorded: restore it from the backup of the lake")
    return str(row["evidence_name"]), content


def _require_whole(context: Context, proposal: Proposal) -> None:
    if not proposal.reason.strip():
        raise Stop("an adjustment needs a reason: say why, for whoever looks at it in a year")
    if proposal.effective_on > books_day(context):
        raise Stop(f"{proposal.effective_on} has not come yet: an adjustment is for today or a day before")
    is_partner = proposal.kind is AdjustmentKind.RECEIVABLE
    digits = PARTNER_SCALE if is_partner else exponent(proposal.currency)
    if not proposal.amount or proposal.amount != proposal.amount.quantize(Decimal(1).scaleb(-digits)):
        raise Stop(f"{proposal.amount} {proposal.currency}: an amount is not zero and has at most {digits} digits")
    if abs(proposal.amount) >= 10**12:
        raise Stop(f"{proposal.amount} {proposal.currency}: that is no amount of an adjustment")
    if proposal.amount < 0 and not is_partner and proposal.reverses is None:
        raise Stop("an amount for a member is above zero: `tallyback adjust reverse` takes an adjustment back")
    if is_partner:
        context.configuration.account(proposal.owner)
        exponent(proposal.currency)
    allowed: tuple[str | None, ...] = (None,)
    if proposal.kind in GIVEN:
        allowed = ("cashback_confirmed", "cashback_payable")
    elif proposal.kind is AdjustmentKind.RELEASE:
        allowed = ("cashback_pending", "cashback_confirmed")
    elif proposal.kind is AdjustmentKind.DECLINE:
        allowed = MEMBER_KINDS
    if proposal.account not in allowed:
        named = " or ".join(str(each) for each in allowed)
        raise Stop(f"{proposal.kind}: the account is {named}, not {proposal.account}")


def _require_known(connection: Connection, proposal: Proposal) -> None:
    if proposal.sale_id is not None:
        query = "SELECT 1 FROM ops.sale WHERE sale_id = %s"
        if connection.execute(query, (proposal.sale_id,)).fetchone() is None:
            raise Stop(f"there is no sale {proposal.sale_id!r}: take it from `tallyback breaks list`")
    if proposal.reverses is not None:
        row = connection.execute(
            "SELECT a.adjustment_id FROM ops.adjustment AS a"
            " LEFT JOIN ops.adjustment_verdict AS v USING (adjustment_id)"
            " WHERE a.reverses = %s AND v.verdict IS DISTINCT FROM 'rejected'",
            (proposal.reverses,),
        ).fetchone()
        if row is not None:
            raise Stop(f"adjustment {proposal.reverses} is reversed by {row[0]} already: approve or reject that one")
    if proposal.kind is not AdjustmentKind.RECEIVABLE:
        query = "SELECT 1 FROM ledger.account WHERE owner = %s AND kind = ANY(%s) LIMIT 1"
        known = connection.execute(query, (proposal.owner, list(MEMBER_KINDS))).fetchone()
        payee = (
            known or connection.execute("SELECT 1 FROM pii.payee WHERE member_id = %s", (proposal.owner,)).fetchone()
        )
        if payee is None:
            raise Stop(f"nothing is known of a member {proposal.owner!r}: check the id for typing mistakes")


def _require_opened(connection: Connection, row: dict[str, object]) -> None:
    """Stop if a release or decline takes more than the opening, and what was adjusted of it, left the member there."""
    amount = row["amount"]
    assert isinstance(amount, Decimal)
    if row["kind"] not in OF_OPENING or amount < 0:
        return
    left = left_of_opening(connection, str(row["owner"]), str(row["account"]), str(row["currency"]))
    if amount > left:
        raise Stop(
            f"the opening left {row['owner']} {row['currency']} {left} in {row['account']}, less than"
            f" {amount.normalize():f}: what a sale brought there follows the sale"
        )


def _say(connection: Connection, context: Context, adjustment_id: str, verdict: str, person: str, reason: str) -> None:
    connection.execute(
        "INSERT INTO ops.adjustment_verdict (adjustment_id, verdict, said_by, said_at, reason)"
        " VALUES (%s, %s, %s, %s, %s)",
        (adjustment_id, verdict, person, context.known_at, reason),
    )


def _adjustment(context: Context, adjustment_id: str) -> dict[str, object]:
    with context.warehouse.transaction() as connection:
        return _one(connection, adjustment_id)


def _one(connection: Connection, adjustment_id: str) -> dict[str, object]:
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(f"{_ADJUSTMENTS} WHERE a.adjustment_id = %s", (adjustment_id,)).fetchone()
    if row is None:
        raise Stop(f"there is no adjustment {adjustment_id!r}: `tallyback adjust list` names them")
    return row


def _evidence(path: Path) -> bytes:
    try:
        if path.stat().st_size > EVIDENCE_BYTES_MAX:
            raise Stop(f"{path}: larger than {EVIDENCE_BYTES_MAX} bytes: keep what shows it, not all there is")
        content = path.read_bytes()
    except OSError as error:
        raise Stop(f"{path}: cannot be read ({error.strerror}): name the file that shows why") from error
    if not content:
        raise Stop(f"{path}: is empty: name the file that shows why")
    return content


def _place(sha256: str) -> BoundTo:
    return BoundTo("ops.adjustment", "evidence", sha256)


def _sealed(context: Context, keyring: KeyRing, content: bytes, sha256: str) -> str:
    """Return where the evidence is kept: it may name people, so it is sealed like a payment file."""
    context.temporary.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=context.temporary) as folder:
        local = Path(folder) / "evidence.sealed"
        local.write_bytes(encrypt_bytes(keyring, content, _place(sha256)))
        return context.lake.put_file(local, "evidence", ".sealed").path


_ADJUSTMENTS = """
    SELECT a.adjustment_id, a.kind, a.owner, a.account, a.currency, a.amount, a.effective_on, a.sale_id, a.reverses,
        a.reason, a.evidence_name, a.evidence_sha256, a.proposed_by, a.proposed_at,
        coalesce(v.verdict, 'proposed') AS state, v.said_by, v.said_at, v.reason AS said_reason
    FROM ops.adjustment AS a
    LEFT JOIN ops.adjustment_verdict AS v USING (adjustment_id)
"""
