"""One batch, one bank profile and payments that are in order, for the tests of the payment file to vary."""

import functools
import importlib.resources
import io
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

from lxml import etree

from connectors.providers.sepa.payment import (
    SEPA_COUNTRIES,
    BankProfile,
    Debtor,
    FileFacts,
    MessageVersion,
    Payment,
    PaymentBatch,
    PostalAddress,
)
from connectors.providers.sepa.writer import write

PROFILE = BankProfile(
    bank="sandbox_bank",
    message_version=MessageVersion.PAIN_001_001_09,
    batch_booking=True,
    purpose="REBT",
    name_length_max=70,
    payments_max=100_000,
    service_level="SEPA",
    charge_bearer="SLEV",
    needs_bic=False,
    countries=SEPA_COUNTRIES,
)
ADDRESS = PostalAddress(country="DE", town="Berlin", post_code="10115", street="Invalidenstrasse", building="7")
DEBTOR = Debtor(name="Cashback GmbH", iban="DE89370400440532013000", bic=None, address=ADDRESS)
BATCH = PaymentBatch(
    message_id="TB-2026-11-23-1",
    payment_information_id="TB-2026-11-23-1-1",
    created_at=datetime(2026, 11, 23, 8, 15, 30, tzinfo=UTC),
    execute_on=date(2026, 11, 24),
    debtor=DEBTOR,
    initiating_party="Cashback GmbH",
    batch_booking=True,
    purpose="REBT",
)
IBANS = ("DE89370400440532013000", "FR1420041010050500013M02606", "BE68539007547034", "GB82WEST12345698765432")


def payment(number: int = 1, **changes: Any) -> Payment:
    usual = Payment(
        payout_id=f"P{number:08d}",
        end_to_end_id=f"TB-P{number:08d}",
        amount_minor=1250 + number,
        currency="EUR",
        creditor_name="Erika Mustermann",
        iban=IBANS[number % len(IBANS)],
        bic=None,
        remittance_text="Cashback November 2026",
    )
    return replace(usual, **changes)


def written(payments: Iterable[Payment], batch: PaymentBatch = BATCH, profile: BankProfile = PROFILE) -> bytes:
    return written_with_facts(payments, batch, profile)[0]


def written_with_facts(
    payments: Iterable[Payment], batch: PaymentBatch = BATCH, profile: BankProfile = PROFILE
) -> tuple[bytes, FileFacts]:
    listed, out = list(payments), io.BytesIO()
    total = sum(one.amount_minor for one in listed)
    facts = write(batch, listed, out, profile=profile, payment_count=len(listed), control_sum_minor=total)
    return out.getvalue(), facts


@functools.cache
def schema() -> etree.XMLSchema:
    """The ISO schema, from the test-only dependency that ships it."""
    source = importlib.resources.files("sepaxml") / "schemas" / "pain.001.001.09.xsd"
    with source.open("rb") as file:
        return etree.XMLSchema(etree.parse(file))


def validate(data: bytes) -> None:
    """Raise XMLSyntaxError if `data` is not valid by the schema; streaming, as a bank would."""
    for _event, element in etree.iterparse(io.BytesIO(data), schema=schema()):
        element.clear()
