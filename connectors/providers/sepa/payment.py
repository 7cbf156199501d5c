"""What a SEPA payment file says: who pays, whom, how much, when, and what the bank agreed to."""

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

from etl.core.errors import Stop
from etl.core.iban import mask

# IBAN countries of the SEPA scheme (European Payments Council, list of SEPA countries, read 2026-11). A profile lists
# its own, often fewer; this is what it may choose from.
SEPA_COUNTRIES = frozenset({
    "AD", "AL", "AT", "BE", "BG", "CH", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GB", "GI", "GR", "HR", "HU",
    "IE", "IS", "IT", "LI", "LT", "LU", "LV", "MC", "MD", "ME", "MK", "MT", "NL", "NO", "PL", "PT", "RO", "RS", "SE",
    "SI", "SK", "SM", "VA",
})  # fmt: skip
# To the others the Funds Transfer Regulation asks for the payer's full address.
EEA_COUNTRIES = frozenset({
    "AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU", "IE", "IS", "IT", "LI", "LT",
    "LU", "LV", "MT", "NL", "NO", "PL", "PT", "RO", "SE", "SI", "SK",
})  # fmt: skip


class MessageVersion(StrEnum):
    """The ISO 20022 messages the writer can write."""

    PAIN_001_001_09 = "pain.001.001.09"


@dataclass(frozen=True, slots=True)
class BankProfile:
    """What one bank agreed to take, from `config/banks/`."""

    bank: str
    message_version: MessageVersion
    batch_booking: bool
    purpose: str
    name_length_max: int
    payments_max: int
    service_level: str
    charge_bearer: str
    needs_bic: bool
    countries: frozenset[str]

    def __post_init__(self) -> None:
        for field, value, allowed in (
            ("message_version", self.message_version, set(MessageVersion)),
            # The SEPA credit transfer rulebook knows one service level and one charge bearer.
            ("service_level", self.service_level, {"SEPA"}),
            ("charge_bearer", self.charge_bearer, {"SLEV"}),
        ):
            if value not in allowed:
                raise Stop(
                    f"bank profile {self.bank}: {field} is {value!r}, can be {sorted(allowed)}; correct the file"
                )
        if not 1 <= self.name_length_max <= 70:
            raise Stop(f"bank profile {self.bank}: name_length_max is {self.name_length_max}, SEPA allows 1 to 70")
        if not 1 <= self.payments_max <= 1_000_000:
            raise Stop(f"bank profile {self.bank}: payments_max is {self.payments_max}, can be 1 to 1000000")
        if not self.countries or not self.countries <= SEPA_COUNTRIES:
            strange = sorted(self.countries - SEPA_COUNTRIES)
            raise Stop(f"bank profile {self.bank}: countries {strange} are not in SEPA, or there are none at all")


@dataclass(frozen=True, slots=True)
class PostalAddress:
    """A structured address: since 15 November 2026 banks refuse an unstructured one."""

    country: str
    town: str
    post_code: str | None = None
    street: str | None = None
    building: str | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Debtor:
    """The account that pays; its repr masks the IBAN."""

    name: str
    iban: str
    bic: str | None = None
    address: PostalAddress | None = None

    def __repr__(self) -> str:
        return f"Debtor(name={self.name!r}, iban={mask(self.iban)}, bic={self.bic!r}, address={self.address!r})"


@dataclass(frozen=True, slots=True, repr=False)
class Payment:
    """Money to one member; its repr masks the IBAN and leaves out the name."""

    payout_id: str
    end_to_end_id: str
    amount_minor: int
    currency: str
    creditor_name: str
    iban: str
    bic: str | None
    remittance_text: str

    def __repr__(self) -> str:
        return (
            f"Payment(payout_id={self.payout_id!r}, end_to_end_id={self.end_to_end_id!r}, "
            f"amount_minor={self.amount_minor}, currency={self.currency!r}, iban={mask(self.iban)})"
        )


@dataclass(frozen=True, slots=True)
class PaymentBatch:
    """What all payments of a file share; frozen with the batch, so that writing it again gives the same bytes.

    `created_at` is an instant in UTC, written to the second; `execute_on` is the day the bank shall pay.
    """

    message_id: str
    payment_information_id: str
    created_at: datetime
    execute_on: date
    debtor: Debtor
    initiating_party: str
    batch_booking: bool
    purpose: str


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What the writer wrote: compare it with the ledger and with what the reader finds."""

    sha256: str
    byte_count: int
    payment_count: int
    control_sum_minor: int
