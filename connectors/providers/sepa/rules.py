"""The rules of the SEPA rulebook that the pain.001 schema does not state, as a list of problems.

The schema accepts `0.00`, five decimals, any IBAN-like text, 140-character names and any Unicode. These checks follow
the EPC's rulebook and implementation guidelines as in force since 5 October 2025. A wrong payment is data
(`PaymentProblem`), not an exception: the batch goes on without it and a person sees why. Nothing is cut to fit: a name
longer than the bank takes is a problem too, because with Verification of Payee a cut name is another name.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum

from connectors.providers.sepa.charset import TRANSPORTED, transliterate
from connectors.providers.sepa.payment import EEA_COUNTRIES, BankProfile, Payment, PaymentBatch, PostalAddress
from etl.core.iban import IbanFault, InvalidIban, checked_iban, mask

AMOUNT_MINOR_MAX = 99_999_999_999
IDENTIFIER_LENGTH_MAX = 35
REMITTANCE_LENGTH_MAX = 140
_TEXT_LENGTH_READ_MAX = 1000
_SHOWN_MAX = 5

_BIC = re.compile(r"[A-Z]{6}[A-Z2-9][A-NP-Z0-9]([A-Z0-9]{3})?")
# Blanks at the ends are taken off by some banks on the way, and a reference would no longer be found.
_TRANSPORTED_TEXT = re.compile(r"(?! )[A-Za-z0-9/\-?:().,'+ ]+(?<! )")
_PURPOSE = re.compile(r"[A-Z]{4}")
_COUNTRY = re.compile(r"[A-Z]{2}")
# Per field of a structured address the longest text of PostalAddress24.
_ADDRESS_LENGTHS = {"town": 35, "post_code": 16, "street": 70, "building": 16}


class Rule(StrEnum):
    """The rule a payment or batch breaks."""

    IBAN = "iban"
    COUNTRY = "country"
    BIC = "bic"
    BIC_MISSING = "bic_missing"
    CHARSET = "charset"
    EMPTY = "empty"
    TOO_LONG = "too_long"
    SLASHES = "slashes"
    AMOUNT = "amount"
    CURRENCY = "currency"
    DUPLICATE = "duplicate"
    DEBTOR_ADDRESS = "debtor_address"
    INSTANT = "instant"
    EXECUTION_DAY = "execution_day"
    PROFILE = "profile"
    COUNT = "count"


@dataclass(frozen=True, slots=True)
class PaymentProblem:
    """Why a payment cannot go out (or a whole batch, if `payout_id` is empty), and what a person does next."""

    payout_id: str
    field: str
    value_masked: str
    rule: Rule
    next_step: str

    def __str__(self) -> str:
        what = f"payout {self.payout_id}" if self.payout_id else "batch"
        return f"{what}: {self.field} {self.value_masked} breaks rule {self.rule}; {self.next_step}"


@dataclass(frozen=True, slots=True)
class PreparedBatch:
    """The payments that may go out, by payout_id, their totals, and every problem of the others and of the batch.

    With a problem that has no payout_id, nothing of the batch may go out.
    """

    batch: PaymentBatch
    payments: tuple[Payment, ...]
    problems: tuple[PaymentProblem, ...]
    payment_count: int
    control_sum_minor: int


def prepare(batch: PaymentBatch, payments: Iterable[Payment], profile: BankProfile) -> PreparedBatch:
    """Return the batch as the writer takes it: texts transliterated, IBANs compact, sorted by payout_id, checked."""
    problems: list[PaymentProblem] = []
    written: list[Payment] = []
    batch = _batch_in_sepa_text(batch)
    for raw in payments:
        payment = in_sepa_text(raw)
        problems += payment_problems(payment, batch, profile)
        written.append(payment)
    problems += _duplicates(written)
    refused_ids = {problem.payout_id for problem in problems}
    ready = sorted(
        (payment for payment in written if payment.payout_id not in refused_ids), key=lambda payment: payment.payout_id
    )
    problems += batch_problems(batch, profile)
    if not 1 <= len(ready) <= profile.payments_max:
        step = f"make a batch of 1 to {profile.payments_max} payments, as bank {profile.bank} takes"
        problems.append(PaymentProblem("", "payments", str(len(ready)), Rule.COUNT, step))
    return PreparedBatch(
        batch=batch,
        payments=tuple(ready),
        problems=tuple(sorted(problems, key=lambda problem: (problem.payout_id, problem.field, problem.rule))),
        payment_count=len(ready),
        control_sum_minor=sum(payment.amount_minor for payment in ready),
    )


def in_sepa_text(payment: Payment) -> Payment:
    """Return the payment with name and remittance text transliterated and the IBAN compact.

    What cannot be written stays as it is, so that `payment_problems` finds it and no half of a name goes out.
    """
    return replace(
        payment,
        creditor_name=_written(payment.creditor_name),
        remittance_text=_written(payment.remittance_text),
        iban=_electronic(payment.iban),
    )


def payment_problems(payment: Payment, batch: PaymentBatch, profile: BankProfile) -> list[PaymentProblem]:
    """Return every rule the payment breaks as it stands; the writer asks this again for each payment it writes."""

    def problem(field: str, shown: str, rule: Rule, step: str) -> PaymentProblem:
        return PaymentProblem(payment.payout_id, field, shown, rule, step)

    found: list[PaymentProblem] = []
    if not payment.payout_id:
        found.append(problem("payout_id", "''", Rule.EMPTY, "give the payout an id"))
    found += _identifier_problems(payment.payout_id, "end_to_end_id", payment.end_to_end_id)
    if not 1 <= payment.amount_minor <= AMOUNT_MINOR_MAX:
        shown = str(payment.amount_minor)[:20]
        found.append(problem("amount_minor", shown, Rule.AMOUNT, "pay between 0.01 and 999,999,999.99"))
    if payment.currency != "EUR":
        step = "SEPA moves euro only; pay another currency over another rail"
        found.append(problem("currency", repr(payment.currency[:8]), Rule.CURRENCY, step))
    found += _text_problems(payment.payout_id, "creditor_name", payment.creditor_name, profile.name_length_max)
    found += _text_problems(payment.payout_id, "remittance_text", payment.remittance_text, REMITTANCE_LENGTH_MAX)
    found += _slash_problems(payment.payout_id, "remittance_text", payment.remittance_text)
    found += _bic_problems(payment.payout_id, payment.bic, profile)
    fault = iban_fault(payment.iban)
    if fault is not None:
        step = "ask the member for the account number again"
        found.append(problem("iban", f"{mask(payment.iban)} ({fault})", Rule.IBAN, step))
        return found
    country = payment.iban[:2]
    if country not in profile.countries:
        step = f"bank {profile.bank} does not pay to {country} by this profile; agree it with the bank, or another rail"
        found.append(problem("iban", mask(payment.iban), Rule.COUNTRY, step))
    if country not in EEA_COUNTRIES and batch.debtor.address is None:
        step = f"payments to {country} need the payer's address; add it to the debtor in the configuration"
        found.append(problem("iban", mask(payment.iban), Rule.DEBTOR_ADDRESS, step))
    return found


def batch_problems(batch: PaymentBatch, profile: BankProfile) -> list[PaymentProblem]:
    """Return every rule that what all payments share breaks; any of them stops the whole file."""
    found: list[PaymentProblem] = []
    found += _identifier_problems("", "message_id", batch.message_id)
    found += _identifier_problems("", "payment_information_id", batch.payment_information_id)
    found += _text_problems("", "initiating_party", batch.initiating_party, profile.name_length_max)
    found += _text_problems("", "debtor.name", batch.debtor.name, profile.name_length_max)
    found += _bic_problems("", batch.debtor.bic, profile, field="debtor.bic")
    found += _address_problems(batch.debtor.address)
    fault = iban_fault(batch.debtor.iban)
    if fault is not None:
        step = "correct the debtor in the configuration"
        found.append(PaymentProblem("", "debtor.iban", f"{mask(batch.debtor.iban)} ({fault})", Rule.IBAN, step))
    if batch.created_at.utcoffset() != timedelta(0):
        step = "give the instant in UTC"
        found.append(PaymentProblem("", "created_at", batch.created_at.isoformat(), Rule.INSTANT, step))
    elif batch.execute_on < batch.created_at.date():
        step = "choose a day that is not before the file was made"
        found.append(PaymentProblem("", "execute_on", batch.execute_on.isoformat(), Rule.EXECUTION_DAY, step))
    if _PURPOSE.fullmatch(batch.purpose) is None or batch.purpose != profile.purpose:
        step = f"bank {profile.bank} agreed to {profile.purpose}; freeze the batch again"
        found.append(PaymentProblem("", "purpose", repr(batch.purpose[:8]), Rule.PROFILE, step))
    if batch.batch_booking != profile.batch_booking:
        step = f"bank {profile.bank} agreed to {profile.batch_booking}; freeze the batch again"
        found.append(PaymentProblem("", "batch_booking", str(batch.batch_booking), Rule.PROFILE, step))
    return found


def iban_fault(iban: str) -> IbanFault | None:
    """Return why `iban` is not a valid IBAN in its electronic form (no blanks, capitals); None if it is."""
    try:
        return None if checked_iban(iban).reveal() == iban else IbanFault.FORM
    except InvalidIban as fault:
        return fault.fault


def _batch_in_sepa_text(batch: PaymentBatch) -> PaymentBatch:
    debtor, address = batch.debtor, batch.debtor.address
    if address is not None:
        address = PostalAddress(
            country=address.country,
            town=_written(address.town),
            post_code=None if address.post_code is None else _written(address.post_code),
            street=None if address.street is None else _written(address.street),
            building=None if address.building is None else _written(address.building),
        )
    debtor = replace(debtor, name=_written(debtor.name), iban=_electronic(debtor.iban), address=address)
    return replace(batch, debtor=debtor, initiating_party=_written(batch.initiating_party))


def _written(text: str) -> str:
    if len(text) > _TEXT_LENGTH_READ_MAX:
        return text
    result = transliterate(text)
    return text if result.refused else result.text


def _electronic(iban: str) -> str:
    try:
        return checked_iban(iban).reveal()
    except InvalidIban:
        return iban


def _duplicates(payments: list[Payment]) -> Iterator[PaymentProblem]:
    for field in ("payout_id", "end_to_end_id"):
        owners: dict[str, list[str]] = {}
        for payment in payments:
            owners.setdefault(getattr(payment, field), []).append(payment.payout_id)
        for value, payout_ids in owners.items():
            if len(payout_ids) > 1:
                # Which of them is the right one is not ours to guess: none goes out.
                for payout_id in sorted(set(payout_ids)):
                    step = f"{len(payout_ids)} payments carry it; find out which of them is owed"
                    yield PaymentProblem(payout_id, field, repr(value[:35]), Rule.DUPLICATE, step)


def _identifier_problems(payout_id: str, field: str, text: str) -> list[PaymentProblem]:
    found = _text_problems(payout_id, field, text, IDENTIFIER_LENGTH_MAX)
    return found + _slash_problems(payout_id, field, text)


def _slash_problems(payout_id: str, field: str, text: str) -> list[PaymentProblem]:
    # EPC clarification paper on the use of slashes: banks read them as code words of older formats.
    if text.startswith("/") or text.endswith("/") or "//" in text:
        step = "take out a slash at its start or end, and double ones"
        return [PaymentProblem(payout_id, field, repr(text[:35]), Rule.SLASHES, step)]
    return []


def _text_problems(payout_id: str, field: str, text: str, length_max: int) -> list[PaymentProblem]:
    if not text.strip(" "):
        return [PaymentProblem(payout_id, field, "''", Rule.EMPTY, "fill it in")]
    found: list[PaymentProblem] = []
    if len(text) > length_max:
        step = f"at most {length_max} are allowed and nothing is cut silently; agree on a shorter one"
        found.append(PaymentProblem(payout_id, field, f"{len(text)} characters", Rule.TOO_LONG, step))
    if len(text) <= _TEXT_LENGTH_READ_MAX and _TRANSPORTED_TEXT.fullmatch(text) is None:
        # Beside "\u6f22" an "\u00e4" is no trouble: name what cannot be written, or else what was not yet written.
        outside = tuple(character for character in text if character not in TRANSPORTED) or (" ",)
        found.append(_refused_characters(payout_id, field, transliterate(text).refused or outside))
    return found


def _refused_characters(payout_id: str, field: str, refused: tuple[str, ...]) -> PaymentProblem:
    # Only the characters are shown: the rest of a name is nobody's business in a list of problems.
    distinct = sorted(set(refused))
    named = [f"U+{ord(character):04X} {unicodedata.name(character, 'unnamed')}" for character in distinct[:_SHOWN_MAX]]
    more = f" and {len(distinct) - _SHOWN_MAX} more" if len(distinct) > _SHOWN_MAX else ""
    step = "write it in letters, digits, blanks and / - ? : ( ) . , ' + as the account is held in"
    return PaymentProblem(payout_id, field, ", ".join(named) + more, Rule.CHARSET, step)


def _bic_problems(payout_id: str, bic: str | None, profile: BankProfile, field: str = "bic") -> list[PaymentProblem]:
    if bic is None:
        step = f"bank {profile.bank} wants a BIC; add it"
        return [PaymentProblem(payout_id, field, "none", Rule.BIC_MISSING, step)] if profile.needs_bic else []
    if _BIC.fullmatch(bic) is None:
        return [PaymentProblem(payout_id, field, repr(bic[:16]), Rule.BIC, "correct it: 8 or 11 capitals and digits")]
    return []


def _address_problems(address: PostalAddress | None) -> list[PaymentProblem]:
    if address is None:
        return []
    found: list[PaymentProblem] = []
    if _COUNTRY.fullmatch(address.country) is None:
        step = "write the two capital letters of ISO 3166"
        found.append(PaymentProblem("", "debtor.address.country", repr(address.country[:8]), Rule.COUNTRY, step))
    for field, length_max in _ADDRESS_LENGTHS.items():
        text: str | None = getattr(address, field)
        if text is not None:
            found += _text_problems("", f"debtor.address.{field}", text, length_max)
    return found
