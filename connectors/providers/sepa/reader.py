"""What a payment file really says, read by code that shares nothing with the code that wrote it.

Before people approve a file it is read again from its bytes and compared with the books. This reader therefore knows
the elements of a plain SEPA pain.001.001.09 and nothing else: an element, attribute, comment or instruction it does not
know might be an order to the bank, and stops it. It checks the form of every field, IBANs by mod 97, that references
are unique, and that both pairs of totals in the file are true. The bytes are hashed while they are read.

Hardened: no DTD (refused before the parser sees it), no entities, no network, limits on bytes and payments; memory per
payment is one 16-byte fingerprint of its reference.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import BinaryIO

from connectors.providers.sepa.elements import PAYMENT_PATH, Leaf, Mark, leaves, refusal
from etl.core.errors import Stop
from etl.core.iban import mask

_READ_BYTES = 64 * 1024

_GROUP = "GrpHdr/"
_ORDER = "PmtInf/"
_PAYMENT = f"{PAYMENT_PATH}/"
_ADDRESS = "PmtInf/Dbtr/PstlAdr/"

_TEXT = r"(?! )[A-Za-z0-9/?:().,'+ -]{1,%d}(?<! )"
_REFERENCE = r"(?!.*//)(?!/)" + _TEXT % 35 + r"(?<!/)"
_EUROS = r"(?:0|[1-9][0-9]{0,15})\.[0-9]{2}"
_COUNT = r"[1-9][0-9]{0,14}"
_NAME = _TEXT % 70
_ACCOUNT = r"[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}"
_BANK = r"[A-Z]{6}[A-Z0-9]{2}(?:[A-Z0-9]{3})?"

# Every element with a text that may occur, and the form of the text.
_FORMS = {
    path: re.compile(form)
    for path, form in {
        _GROUP + "MsgId": _REFERENCE,
        _GROUP + "CreDtTm": r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z",
        _GROUP + "NbOfTxs": _COUNT,
        _GROUP + "CtrlSum": _EUROS,
        _GROUP + "InitgPty/Nm": _NAME,
        _ORDER + "PmtInfId": _REFERENCE,
        _ORDER + "PmtMtd": "TRF",
        _ORDER + "BtchBookg": "true|false",
        _ORDER + "NbOfTxs": _COUNT,
        _ORDER + "CtrlSum": _EUROS,
        _ORDER + "PmtTpInf/SvcLvl/Cd": "SEPA",
        _ORDER + "ReqdExctnDt/Dt": r"[0-9]{4}-[0-9]{2}-[0-9]{2}",
        _ORDER + "Dbtr/Nm": _NAME,
        _ADDRESS + "StrtNm": _TEXT % 70,
        _ADDRESS + "BldgNb": _TEXT % 16,
        _ADDRESS + "PstCd": _TEXT % 16,
        _ADDRESS + "TwnNm": _TEXT % 35,
        _ADDRESS + "Ctry": "[A-Z]{2}",
        _ORDER + "DbtrAcct/Id/IBAN": _ACCOUNT,
        _ORDER + "DbtrAgt/FinInstnId/BICFI": _BANK,
        _ORDER + "DbtrAgt/FinInstnId/Othr/Id": "NOTPROVIDED",
        _ORDER + "ChrgBr": "SLEV",
        _PAYMENT + "PmtId/EndToEndId": _REFERENCE,
        _PAYMENT + "Amt/InstdAmt": r"(?:0|[1-9][0-9]{0,8})\.[0-9]{2}",
        _PAYMENT + "CdtrAgt/FinInstnId/BICFI": _BANK,
        _PAYMENT + "Cdtr/Nm": _NAME,
        _PAYMENT + "CdtrAcct/Id/IBAN": _ACCOUNT,
        _PAYMENT + "Purp/Cd": "[A-Z]{4}",
        _PAYMENT + "RmtInf/Ustrd": _TEXT % 140,
    }.items()
}
_OPTIONAL = {path for path in _FORMS if path.startswith(_ADDRESS) or "/FinInstnId/" in path}
_REQUIRED_HEADER = {path for path in _FORMS if not path.startswith(_PAYMENT)} - _OPTIONAL
_REQUIRED_PAYMENT = {path for path in _FORMS if path.startswith(_PAYMENT)} - _OPTIONAL


@dataclass(frozen=True, slots=True)
class Limits:
    """How much the reader takes before it stops."""

    file_bytes: int = 1024**3
    payments: int = 1_000_000


@dataclass(frozen=True, slots=True)
class ReadAddress:
    """The debtor's address as the file states it."""

    street: str | None
    building: str | None
    post_code: str | None
    town: str
    country: str


@dataclass(frozen=True, slots=True, repr=False)
class ReadHeader:
    """What the file says before its first payment: both pairs of totals are as stated, verified at the end."""

    message_id: str
    created_at: datetime
    initiating_party: str
    stated_payment_count: int
    stated_control_sum_minor: int
    payment_information_id: str
    order_payment_count: int
    order_control_sum_minor: int
    batch_booking: bool
    execute_on: date
    debtor_name: str
    debtor_iban: str
    debtor_bic: str | None
    debtor_address: ReadAddress | None

    def __repr__(self) -> str:
        return (
            f"ReadHeader(message_id={self.message_id!r}, execute_on={self.execute_on}, "
            f"stated_payment_count={self.stated_payment_count}, "
            f"stated_control_sum_minor={self.stated_control_sum_minor}, debtor_iban={mask(self.debtor_iban)})"
        )


@dataclass(frozen=True, slots=True, repr=False)
class ReadPayment:
    """One payment as the bank will read it; its repr masks the IBAN and leaves out the name."""

    end_to_end_id: str
    amount_minor: int
    currency: str
    creditor_name: str
    iban: str
    bic: str | None
    purpose: str
    remittance: str

    def __repr__(self) -> str:
        return (
            f"ReadPayment(end_to_end_id={self.end_to_end_id!r}, amount_minor={self.amount_minor}, "
            f"currency={self.currency!r}, iban={mask(self.iban)})"
        )


@dataclass(frozen=True, slots=True)
class ReadFacts:
    """What was counted in the bytes; it exists only for a file read to its end without a finding."""

    sha256: str
    byte_count: int
    payment_count: int
    control_sum_minor: int


class Reading:
    """A file being read: its header at once, its payments by iterating once, its facts after the last of them."""

    __slots__ = ("_digest", "_facts", "_leaves", "_size", "header")

    def __init__(self, source: BinaryIO, limits: Limits) -> None:
        self._digest = hashlib.sha256()
        self._size = 0
        self._facts: ReadFacts | None = None
        self._leaves = leaves(self._chunks(source, limits), _FORMS, payments_max=limits.payments)
        self.header = _header(_take_header(self._leaves))

    @property
    def facts(self) -> ReadFacts:
        """Return what the whole file says; Stop if it has not been read to its end, for then nothing is verified."""
        if self._facts is None:
            raise Stop("a payment file that was not read to its end is not verified; read all its payments first")
        return self._facts

    def __iter__(self) -> Iterator[ReadPayment]:
        """Yield the payments in file order; Stop at the first finding, or at the end if a total is not true."""
        count = control_sum_minor = 0
        seen: set[bytes] = set()
        for payment in _payments(self._leaves):
            fingerprint = hashlib.blake2b(payment.end_to_end_id.encode(), digest_size=16).digest()
            if fingerprint in seen:
                raise refusal(f"reference {payment.end_to_end_id} occurs twice")
            seen.add(fingerprint)
            count += 1
            control_sum_minor += payment.amount_minor
            yield payment
        header = self.header
        for level, stated_count, stated_sum in (
            ("the file", header.stated_payment_count, header.stated_control_sum_minor),
            ("its payment order", header.order_payment_count, header.order_control_sum_minor),
        ):
            if (stated_count, stated_sum) != (count, control_sum_minor):
                raise refusal(
                    f"{level} states {stated_count} payments and a sum of {stated_sum} cents, "
                    f"it holds {count} payments and {control_sum_minor} cents"
                )
        self._facts = ReadFacts(self._digest.hexdigest(), self._size, count, control_sum_minor)

    def _chunks(self, source: BinaryIO, limits: Limits) -> Iterator[bytes]:
        while chunk := source.read(_READ_BYTES):
            self._size += len(chunk)
            if self._size > limits.file_bytes:
                raise refusal(f"it is longer than {limits.file_bytes} bytes")
            self._digest.update(chunk)
            yield chunk


def read(source: BinaryIO, limits: Limits | None = None) -> Reading:
    """Return the file in `source` with its header read; iterate it for the payments, then ask for its facts.

    Every finding is a Stop: the file must not be sent, and is written again from the batch.
    """
    return Reading(source, limits or Limits())


def verify(source: BinaryIO, limits: Limits | None = None) -> tuple[ReadHeader, ReadFacts]:
    """Return header and facts of a file after reading every payment in it; raise Stop at any finding."""
    reading = read(source, limits)
    for _ in reading:
        pass
    return reading.header, reading.facts


def _take_header(leaves: Iterator[Leaf]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for leaf in leaves:
        if leaf.mark is Mark.BEGIN:
            break
        texts[leaf.path] = leaf.text
    missing = _REQUIRED_HEADER - texts.keys()
    if missing:
        raise refusal(f"{sorted(missing)[0]} is missing, or comes after a payment")
    if (_ORDER + "DbtrAgt/FinInstnId/BICFI" in texts) == (_ORDER + "DbtrAgt/FinInstnId/Othr/Id" in texts):
        raise refusal("it must name the debtor's bank by a BIC or as NOTPROVIDED, and not both")
    return texts


def _header(texts: dict[str, str]) -> ReadHeader:
    try:
        created_at = datetime.strptime(texts[_GROUP + "CreDtTm"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        execute_on = date.fromisoformat(texts[_ORDER + "ReqdExctnDt/Dt"])
    except ValueError:
        raise refusal("its date of creation or execution is not in the calendar") from None
    return ReadHeader(
        message_id=texts[_GROUP + "MsgId"],
        created_at=created_at,
        initiating_party=texts[_GROUP + "InitgPty/Nm"],
        stated_payment_count=int(texts[_GROUP + "NbOfTxs"]),
        stated_control_sum_minor=_cents(texts[_GROUP + "CtrlSum"]),
        payment_information_id=texts[_ORDER + "PmtInfId"],
        order_payment_count=int(texts[_ORDER + "NbOfTxs"]),
        order_control_sum_minor=_cents(texts[_ORDER + "CtrlSum"]),
        batch_booking=texts[_ORDER + "BtchBookg"] == "true",
        execute_on=execute_on,
        debtor_name=texts[_ORDER + "Dbtr/Nm"],
        debtor_iban=_true_account(texts[_ORDER + "DbtrAcct/Id/IBAN"], "the debtor's account"),
        debtor_bic=texts.get(_ORDER + "DbtrAgt/FinInstnId/BICFI"),
        debtor_address=_address(texts),
    )


def _address(texts: dict[str, str]) -> ReadAddress | None:
    if not any(path.startswith(_ADDRESS) for path in texts):
        return None
    if not {_ADDRESS + "TwnNm", _ADDRESS + "Ctry"} <= texts.keys():
        raise refusal("an address without town or country is unstructured, which banks refuse")
    return ReadAddress(
        street=texts.get(_ADDRESS + "StrtNm"),
        building=texts.get(_ADDRESS + "BldgNb"),
        post_code=texts.get(_ADDRESS + "PstCd"),
        town=texts[_ADDRESS + "TwnNm"],
        country=texts[_ADDRESS + "Ctry"],
    )


def _payments(leaves: Iterator[Leaf]) -> Iterator[ReadPayment]:
    texts: dict[str, str] = {}
    currency = ""
    for leaf in leaves:
        if leaf.mark is Mark.END:
            yield _payment(texts, currency)
            texts, currency = {}, ""
        elif leaf.mark is None:
            if not leaf.path.startswith(_PAYMENT):
                raise refusal(f"{leaf.path} comes after a payment")
            texts[leaf.path] = leaf.text
            currency = leaf.currency or currency


def _payment(texts: dict[str, str], currency: str) -> ReadPayment:
    missing = _REQUIRED_PAYMENT - texts.keys()
    if missing:
        raise refusal(f"a payment has no {sorted(missing)[0]}")
    reference = texts[_PAYMENT + "PmtId/EndToEndId"]
    amount_minor = _cents(texts[_PAYMENT + "Amt/InstdAmt"])
    if amount_minor == 0 or currency != "EUR":
        raise refusal(f"payment {reference} is of {amount_minor} cents, currency {currency[:8]!r}; SEPA moves euro")
    return ReadPayment(
        end_to_end_id=reference,
        amount_minor=amount_minor,
        currency=currency,
        creditor_name=texts[_PAYMENT + "Cdtr/Nm"],
        iban=_true_account(texts[_PAYMENT + "CdtrAcct/Id/IBAN"], f"the account of payment {reference}"),
        bic=texts.get(_PAYMENT + "CdtrAgt/FinInstnId/BICFI"),
        purpose=texts[_PAYMENT + "Purp/Cd"],
        remittance=texts[_PAYMENT + "RmtInf/Ustrd"],
    )


def _cents(euros: str) -> int:
    whole, cents = euros.split(".")
    return int(whole) * 100 + int(cents)


def _true_account(iban: str, what: str) -> str:
    # Mod 97 by hand: the writer's side uses a library, and a fault in that must not be ours too.
    digits = "".join(str(int(character, 36)) for character in iban[4:] + iban[:4])
    if int(digits) % 97 != 1:
        raise refusal(f"{what} is {mask(iban)}, which fails the check of its digits")
    return iban
