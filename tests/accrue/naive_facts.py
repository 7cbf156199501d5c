"""What the plain reference of accrual reads: sales with their versions, rules, terms, rates and payments."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal

# (document_id, kind, owner, asset, effective_for) to the sum of debits minus credits.
Books = dict[tuple[str, str, str, str, date], int]
SCALES = {"GBP": 2, "EUR": 2, "USD": 2, "JPY": 0, "KWD": 3}
_EVER = datetime.fromisoformat("0001-01-01")


@dataclass(frozen=True, slots=True)
class Version:
    """One state of one row."""

    sale_id: str
    transaction_id: str
    line_id: str
    version_no: int
    effective_on: date
    status: str | None
    sale_amount: Decimal
    commission_amount: Decimal
    currency: str = "EUR"
    kind: str = "sale"
    partner_paid: bool = False
    is_absent: bool = False
    payment_ref: str | None = None
    # When the partner processed it, which is later than it is true; of the first version of a row.
    processed_on: date | None = None
    commission_group: str | None = None
    customer_type: str | None = None
    # Where another account tells it than that of the sale, which moved.
    partner_account: str | None = None


@dataclass(frozen=True, slots=True)
class Payment:
    """What a remittance pays of a transaction or, with a line, of one row; named is what its statement named."""

    sale_id: str
    transaction_id: str
    line_id: str
    currency: str
    amount_minor: int
    received_on: date
    funded_on: date | None
    is_named: bool


@dataclass(frozen=True, slots=True)
class Sale:
    """A sale and its click."""

    sale_id: str
    partner_account: str
    program_id: str | None
    occurred_at: datetime
    sale_on: date
    clicked_at: datetime | None
    member_id: str | None
    outcome: str = "matched"
    earns_cashback: bool = True


@dataclass(frozen=True, slots=True)
class Program:
    """What a programme says of commission and validation, from an instant until another."""

    program_id: str
    commission_rate: Decimal | None
    validation_days: int | None
    valid_from: datetime = _EVER
    valid_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """How a sale becomes cashback."""

    rule_id: str
    program_id: str
    basis: str
    value: Decimal
    cap: Decimal | None
    currency: str
    rounding: str
    valid_from: datetime
    valid_until: datetime | None
    commission_group: str | None = None
    component: str = "cashback"


@dataclass(frozen=True, slots=True)
class Term:
    """What a contract says of a program: a share of the sale (rate), or so much for each (fixed)."""

    term_id: str
    program_id: str
    commission_group: str | None
    customer_type: str | None
    basis: str
    value: Decimal
    currency: str
    valid_from: datetime
    valid_until: datetime | None


@dataclass(frozen=True, slots=True)
class World:
    """All facts of a small world. `rates` is units of a currency for one euro, by (currency, day)."""

    versions: tuple[Version, ...]
    sales: tuple[Sale, ...]
    programs: tuple[Program, ...]
    rules: tuple[Rule, ...]
    rates: dict[tuple[str, date], Decimal]
    payable_on: dict[str, str]
    payments: tuple[Payment, ...] = ()
    terms: tuple[Term, ...] = ()
    # Rules as they should have been, each for clicks from an instant on, in the order in which that was decided.
    corrections: tuple[tuple[Rule, datetime], ...] = ()
    # By account: an amount, and a share of what is expected.
    tolerance: dict[str, tuple[Decimal, Decimal]] = field(default_factory=dict)
    # By (account, program), where it differs from the account's.
    program_payable_on: dict[tuple[str, str], str] = field(default_factory=dict)
