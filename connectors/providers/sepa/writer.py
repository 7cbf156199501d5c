"""The payment file: pain.001.001.09, streamed, the same bytes for the same batch.

Memory is flat whatever the number of payments. Nothing in the file comes from a clock or from chance: instants and ids
are the batch's. Totals stand in the head of the file, so they are arguments, and the writer stops if what it wrote
does not add up to them; the caller writes under a temporary name and keeps the file only if `write` returns.

No postal address of a creditor is written (banks do not need one inside SEPA); the debtor's only structured. Without a
BIC the debtor's bank is `NOTPROVIDED`, because the schema wants the element and banks differ on an empty one.
"""

import hashlib
from collections.abc import Iterable, Iterator
from datetime import UTC
from typing import BinaryIO
from xml.sax.saxutils import escape

from connectors.providers.sepa.payment import (
    BankProfile,
    Debtor,
    FileFacts,
    MessageVersion,
    Payment,
    PaymentBatch,
    PostalAddress,
)
from connectors.providers.sepa.rules import batch_problems, payment_problems
from etl.core.errors import Stop

_NAMESPACES = {MessageVersion.PAIN_001_001_09: "urn:iso:std:iso:20022:tech:xsd:pain.001.001.09"}
_PAYMENTS_PER_WRITE = 256


def write(
    batch: PaymentBatch,
    payments: Iterable[Payment],
    out: BinaryIO,
    *,
    profile: BankProfile,
    payment_count: int,
    control_sum_minor: int,
) -> FileFacts:
    """Write the file of `batch` to `out` and return what was written.

    `payments` are as `rules.prepare` gives them: checked, and in ascending order of payout_id. Raises Stop, with part
    of the file written, if one breaks a rule or the order, or if they differ from the two totals.
    """
    _require_batch(batch, profile, payment_count)
    digest = hashlib.sha256()
    written = _Totals()

    def put(text: str) -> None:
        data = text.encode("ascii")
        digest.update(data)
        out.write(data)
        written.byte_count += len(data)

    put(_head(batch, profile, payment_count, control_sum_minor))
    pending: list[str] = []
    for payment in _in_order(payments, batch, profile):
        written.payment_count += 1
        written.control_sum_minor += payment.amount_minor
        if written.payment_count > payment_count:
            break
        pending.append(_payment(payment, batch.purpose))
        if len(pending) == _PAYMENTS_PER_WRITE:
            put("".join(pending))
            pending.clear()
    put("".join(pending))
    put("</PmtInf>\n</CstmrCdtTrfInitn>\n</Document>\n")
    _require_totals(batch, written, payment_count, control_sum_minor)
    return FileFacts(
        sha256=digest.hexdigest(),
        byte_count=written.byte_count,
        payment_count=written.payment_count,
        control_sum_minor=written.control_sum_minor,
    )


class _Totals:
    """What has been written so far."""

    __slots__ = ("byte_count", "control_sum_minor", "payment_count")

    def __init__(self) -> None:
        self.byte_count = 0
        self.payment_count = 0
        self.control_sum_minor = 0


def _require_batch(batch: PaymentBatch, profile: BankProfile, payment_count: int) -> None:
    problems = batch_problems(batch, profile)
    if problems:
        raise Stop(f"payment file {batch.message_id}: {problems[0]} ({len(problems)} problems of the batch in all)")
    if not 1 <= payment_count <= profile.payments_max:
        raise Stop(
            f"payment file {batch.message_id}: {payment_count} payments, but bank {profile.bank} takes 1 to "
            f"{profile.payments_max} in a file; split the batch"
        )


def _require_totals(batch: PaymentBatch, written: _Totals, payment_count: int, control_sum_minor: int) -> None:
    if (written.payment_count, written.control_sum_minor) != (payment_count, control_sum_minor):
        more = "at least " if written.payment_count > payment_count else ""
        raise Stop(
            f"payment file {batch.message_id}: {payment_count} payments of {_euro(control_sum_minor)} EUR announced, "
            f"but {more}{written.payment_count} of {_euro(written.control_sum_minor)} EUR came; the file is void, "
            "freeze the batch again"
        )


def _in_order(payments: Iterable[Payment], batch: PaymentBatch, profile: BankProfile) -> Iterator[Payment]:
    before = ""
    for payment in payments:
        if payment.payout_id <= before:
            raise Stop(
                f"payment file {batch.message_id}: payout {payment.payout_id} comes after {before}; payments come once "
                'each, ascending by payout_id compared byte by byte (COLLATE "C")'
            )
        before = payment.payout_id
        problems = payment_problems(payment, batch, profile)
        if problems:
            raise Stop(f"payment file {batch.message_id}: {problems[0]}; take it out of the batch with rules.prepare")
        yield payment


def _head(batch: PaymentBatch, profile: BankProfile, payment_count: int, control_sum_minor: int) -> str:
    created = batch.created_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    totals = f"<NbOfTxs>{payment_count}</NbOfTxs>\n<CtrlSum>{_euro(control_sum_minor)}</CtrlSum>\n"
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<Document xmlns="{_NAMESPACES[profile.message_version]}">\n<CstmrCdtTrfInitn>\n<GrpHdr>\n'
        f"<MsgId>{escape(batch.message_id)}</MsgId>\n<CreDtTm>{created}</CreDtTm>\n{totals}"
        f"<InitgPty><Nm>{escape(batch.initiating_party)}</Nm></InitgPty>\n</GrpHdr>\n<PmtInf>\n"
        f"<PmtInfId>{escape(batch.payment_information_id)}</PmtInfId>\n<PmtMtd>TRF</PmtMtd>\n"
        f"<BtchBookg>{'true' if batch.batch_booking else 'false'}</BtchBookg>\n{totals}"
        f"<PmtTpInf><SvcLvl><Cd>{profile.service_level}</Cd></SvcLvl></PmtTpInf>\n"
        f"<ReqdExctnDt><Dt>{batch.execute_on.isoformat()}</Dt></ReqdExctnDt>\n"
        f"{_debtor(batch.debtor)}<ChrgBr>{profile.charge_bearer}</ChrgBr>\n"
    )


def _debtor(debtor: Debtor) -> str:
    agent = "<Othr><Id>NOTPROVIDED</Id></Othr>" if debtor.bic is None else f"<BICFI>{debtor.bic}</BICFI>"
    return (
        f"<Dbtr><Nm>{escape(debtor.name)}</Nm>{_address(debtor.address)}</Dbtr>\n"
        f"<DbtrAcct><Id><IBAN>{debtor.iban}</IBAN></Id></DbtrAcct>\n"
        f"<DbtrAgt><FinInstnId>{agent}</FinInstnId></DbtrAgt>\n"
    )


def _address(address: PostalAddress | None) -> str:
    if address is None:
        return ""
    # The order is the schema's.
    elements = (
        ("StrtNm", address.street),
        ("BldgNb", address.building),
        ("PstCd", address.post_code),
        ("TwnNm", address.town),
        ("Ctry", address.country),
    )
    inner = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in elements if text is not None)
    return f"<PstlAdr>{inner}</PstlAdr>"


def _payment(payment: Payment, purpose: str) -> str:
    # The character rules leave nothing to escape but the habit; it stays, for the day somebody widens them.
    agent = f"<CdtrAgt><FinInstnId><BICFI>{payment.bic}</BICFI></FinInstnId></CdtrAgt>" if payment.bic else ""
    return (
        f"<CdtTrfTxInf><PmtId><EndToEndId>{escape(payment.end_to_end_id)}</EndToEndId></PmtId>"
        f'<Amt><InstdAmt Ccy="{payment.currency}">{_euro(payment.amount_minor)}</InstdAmt></Amt>{agent}'
        f"<Cdtr><Nm>{escape(payment.creditor_name)}</Nm></Cdtr>"
        f"<CdtrAcct><Id><IBAN>{payment.iban}</IBAN></Id></CdtrAcct>"
        f"<Purp><Cd>{purpose}</Cd></Purp><RmtInf><Ustrd>{escape(payment.remittance_text)}</Ustrd></RmtInf></CdtTrfTxInf>\n"
    )


def _euro(amount_minor: int) -> str:
    return f"{amount_minor // 100}.{amount_minor % 100:02d}"
