"""SEPA credit transfers as a payout rail: a bank's configuration, put to the rules, the writer and the reader."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import BinaryIO

from connectors.providers.sepa.payment import (
    SEPA_COUNTRIES,
    BankProfile,
    Debtor,
    MessageVersion,
    Payment,
    PaymentBatch,
    PostalAddress,
)
from connectors.providers.sepa.reader import read
from connectors.providers.sepa.rules import PreparedBatch, prepare
from connectors.providers.sepa.writer import write
from etl.core.configuration import Bank
from etl.core.errors import Stop
from etl.core.iban import mask
from etl.core.rail import FileRead, FileTotals, PaymentInstruction, PaymentOrder, PaymentRead, RailProblem


@dataclass(frozen=True, slots=True)
class SepaRail:
    """The rail to one bank. `of(bank)` reads it from the configuration."""

    profile: BankProfile
    debtor: Debtor
    remittance_text: str

    @classmethod
    def of(cls, bank: Bank) -> SepaRail:
        """Return the rail of a bank; Stop if an option is unknown, missing, or none that SEPA allows.

        Options: `remittance_text` (what members read), `purpose`, `batch_booking` ("yes", "no"), `name_length_max`,
        `payments_max`, `countries`, and of the debtor's address `debtor_country`, `debtor_town`, `debtor_post_code`,
        `debtor_street`, `debtor_building`.
        """
        options = _Options(bank)
        countries = bank.options.get("countries")
        profile = BankProfile(
            bank=bank.name,
            message_version=MessageVersion.PAIN_001_001_09,
            batch_booking=options.choice("batch_booking", {"yes": True, "no": False}, "yes"),
            # REBT, "payment of a rebate", is what cashback is in the ISO external code sets.
            purpose=options.text("purpose") or "REBT",
            name_length_max=options.number("name_length_max", 70),
            payments_max=options.number("payments_max", 100_000),
            service_level="SEPA",
            charge_bearer="SLEV",
            needs_bic=False,
            countries=frozenset(countries) if isinstance(countries, tuple) else SEPA_COUNTRIES,
        )
        country, town = options.text("debtor_country"), options.text("debtor_town")
        address = None
        if country is not None and town is not None:
            parts = (options.text(f"debtor_{part}") for part in ("post_code", "street", "building"))
            address = PostalAddress(country, town, *parts)
        debtor = Debtor(bank.debtor_name, bank.debtor_iban, bank.debtor_bic, address)
        return cls(profile, debtor, options.text("remittance_text") or bank.debtor_name)

    @property
    def name(self) -> str:
        return "sepa"

    @property
    def suffix(self) -> str:
        return ".xml"

    @property
    def payments_max(self) -> int:
        return self.profile.payments_max

    def problems(self, order: PaymentOrder, payments: Sequence[PaymentInstruction]) -> tuple[RailProblem, ...]:
        found = self._prepared(order, payments).problems
        return tuple(RailProblem(each.payout_id, str(each)) for each in found)

    def write(self, order: PaymentOrder, payments: Sequence[PaymentInstruction], out: BinaryIO) -> FileTotals:
        prepared = self._prepared(order, payments)
        if prepared.problems:
            raise Stop(f"batch {order.batch_id}: {prepared.problems[0]} ({len(prepared.problems)} problems in all)")
        facts = write(
            prepared.batch,
            prepared.payments,
            out,
            profile=self.profile,
            payment_count=prepared.payment_count,
            control_sum_minor=prepared.control_sum_minor,
        )
        return FileTotals(facts.sha256, facts.byte_count, facts.payment_count, facts.control_sum_minor)

    def read_back(self, source: BinaryIO) -> FileRead:
        reading = read(source)
        header = reading.header
        payments = tuple(PaymentRead(one.end_to_end_id, one.amount_minor, one.currency, one.iban) for one in reading)
        if header.debtor_iban != self.debtor.iban.replace(" ", ""):
            raise Stop(
                f"payment file {header.message_id}: it is paid from {mask(header.debtor_iban)}, the configuration says "
                f"{mask(self.debtor.iban)}; cancel the batch and select again"
            )
        facts = reading.facts
        return FileRead(
            batch_id=header.message_id,
            execute_on=header.execute_on,
            debtor_iban_masked=mask(header.debtor_iban),
            payments=payments,
            totals=FileTotals(facts.sha256, facts.byte_count, facts.payment_count, facts.control_sum_minor),
        )

    def _prepared(self, order: PaymentOrder, payments: Sequence[PaymentInstruction]) -> PreparedBatch:
        batch = PaymentBatch(
            message_id=order.batch_id,
            payment_information_id=order.batch_id,
            created_at=order.created_at.replace(tzinfo=UTC),
            execute_on=order.execute_on,
            debtor=self.debtor,
            initiating_party=self.debtor.name,
            batch_booking=self.profile.batch_booking,
            purpose=self.profile.purpose,
        )
        written = (
            Payment(
                payout_id=each.payout_id,
                end_to_end_id=each.end_to_end_id,
                amount_minor=each.amount_minor,
                currency=order.currency,
                creditor_name=each.payee_name,
                iban=each.iban,
                bic=None,
                remittance_text=self.remittance_text,
            )
            for each in payments
        )
        return prepare(batch, written, self.profile)


@dataclass(frozen=True, slots=True)
class _Options:
    bank: Bank

    def text(self, name: str) -> str | None:
        value = self.bank.options.get(name)
        if value is None or isinstance(value, str):
            return value
        raise self._wrong(name, "a text")

    def number(self, name: str, usual: int) -> int:
        value = self.bank.options.get(name, usual)
        if isinstance(value, int):
            return value
        raise self._wrong(name, "a whole number")

    def choice(self, name: str, choices: dict[str, bool], usual: str) -> bool:
        value = self.text(name) or usual
        if value in choices:
            return choices[value]
        raise self._wrong(name, " or ".join(choices))

    def _wrong(self, name: str, form: str) -> Stop:
        return Stop(f"config/banks/{self.bank.name}.yaml: option {name} must be {form}")
