"""The nouns of the sandbox world: who buys what where, what a partner says about it, and what is really true."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum

AWIN = "awin"
TRADETRACKER = "tradetracker"
RAKUTEN = "rakuten"
ACCOUNTS = {AWIN: "awin_main", TRADETRACKER: "tradetracker_main", RAKUTEN: "rakuten_main"}
# An Awin publisher, a TradeTracker customer with two sites, and Rakuten's two networks have fixed, made-up numbers.
AWIN_PUBLISHER_ID = "50123"
TRADETRACKER_CUSTOMER_ID = "77001"
TRADETRACKER_SITE_IDS = ("30101", "30102")
RAKUTEN_NETWORK_CURRENCY = {3: "GBP", 9: "EUR"}
BOOKS_ZONE = "Europe/Berlin"
# A partner that truncates a click reference keeps this many characters.
TRUNCATED_LENGTH = 16


class Defect(StrEnum):
    """What can be planted on a sale; a clean sale has none."""

    REF_MISSING = "ref_missing"
    REF_TRUNCATED = "ref_truncated"
    REF_LOWER_CASED = "ref_lower_cased"
    REF_URL_ENCODED = "ref_url_encoded"
    REF_IN_SECOND_SLOT = "ref_in_second_slot"
    REF_OTHER_PROGRAM = "ref_other_program"
    REF_FOREIGN_AFTER_SALE = "ref_foreign_after_sale"
    REF_FOREIGN_OUTSIDE_WINDOW = "ref_foreign_outside_window"
    FOREIGN_CLICK_PLAUSIBLE = "foreign_click_plausible"
    OUTSIDE_WINDOW = "outside_window"
    COMMISSION_ABOVE = "commission_above"
    COMMISSION_BELOW = "commission_below"
    CURRENCY_DIFFERS = "currency_differs"
    DUPLICATE_SAME_PARTNER = "duplicate_same_partner"
    DUPLICATE_TWO_PARTNERS = "duplicate_two_partners"
    VANISHED = "vanished"
    REPORTED_LATE = "reported_late"
    NO_CLICK_BONUS = "no_click_bonus"
    NO_CLICK_COUPON = "no_click_coupon"
    REVERSAL_WITHOUT_ORIGINAL = "reversal_without_original"
    MISSING_AT_PARTNER = "missing_at_partner"


class Life(StrEnum):
    """What becomes of an order, whatever the model its partner tells it in."""

    PENDING = "pending"
    APPROVED = "approved"
    DECLINED = "declined"
    DECLINED_REINSTATED = "declined_reinstated"
    AMENDED = "amended"
    PARTLY_REFUNDED = "partly_refunded"
    REVERSED_LATE = "reversed_late"


class Step(StrEnum):
    """One thing that happens in a life."""

    APPROVE = "approve"
    DECLINE = "decline"
    REINSTATE = "reinstate"
    REDUCE = "reduce"
    PAY = "pay"
    VANISH = "vanish"


class Placing(StrEnum):
    """What became of a cancellation of a table of real orders, which does not name the order it cancels."""

    WHOLE = "whole"
    PART = "part"
    SHORT = "short"
    ALONE = "alone"
    WITHOUT_ORIGINAL = "without_original"


class FindingRule(StrEnum):
    """The matching rule that can in principle find the true click of a sale."""

    CLICK_REF = "click_ref"
    CLICK_REF_REPAIRED = "click_ref_repaired"
    ORDER_REF = "order_ref"
    CLICK_TIME = "click_time"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Member:
    """A member of the site; `changed_*` say when and by whom this name and IBAN were last written."""

    member_id: str
    full_name: str
    iban: str
    changed_at: datetime
    changed_by: str


@dataclass(frozen=True, slots=True)
class Program:
    """A shop's programme at one partner; `network` is Rakuten's, `site_id` TradeTracker's."""

    program_id: str
    merchant_id: str
    partner: str
    partner_program_id: str
    name: str
    currency: str
    commission_rate: Decimal
    lookback_days: int
    validation_days: int
    valid_from: datetime
    valid_until: datetime | None
    network: int | None
    site_id: str | None


@dataclass(frozen=True, slots=True)
class Rule:
    """How a sale becomes cashback, for clicks from `valid_from` until before `valid_until`."""

    rule_id: str
    program_id: str
    basis: str
    value: Decimal
    cap: Decimal | None
    currency: str
    rounding: str
    valid_from: datetime
    valid_until: datetime | None


@dataclass(frozen=True, slots=True)
class Click:
    """A click-out; `committed_at` is when its row could first be read in the tracker."""

    click_id: str
    partner: str
    program_id: str
    member_id: str
    clicked_at: datetime
    committed_at: datetime


@dataclass(frozen=True, slots=True)
class Conversion:
    """An order our own pixel saw."""

    conversion_id: str
    click_id: str | None
    order_ref: str
    occurred_at: datetime
    amount: Decimal
    currency: str
    committed_at: datetime


@dataclass(frozen=True, slots=True)
class Event:
    """A step of a life; `amount` is what remains of the sale after a reduction."""

    at: datetime
    step: Step
    amount: Decimal | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """A real purchase at a shop, with the click it really came from and the life it will have."""

    order_key: str
    order_ref: str
    program_id: str
    member_id: str
    click_id: str
    occurred_at: datetime
    amount: Decimal
    line_count: int
    life: Life
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class Sale:
    """An order as one partner reports it, and what is true of it."""

    sale_key: str
    order_key: str
    partner: str
    program_id: str
    order_ref: str | None
    click_ref: str | None
    clicked_at: datetime | None
    occurred_at: datetime
    reported_at: datetime
    true_click_id: str | None
    true_member_id: str | None
    defects: str
    life: Life
    finding_rule: FindingRule
    original_transaction_id: str
    is_credited: bool


@dataclass(frozen=True, slots=True)
class State:
    """What a partner says about one row from `at` on; the row's last state is the one that holds."""

    at: datetime
    status: str | None
    sale_amount: Decimal
    commission_amount: Decimal
    currency: str
    reason: str | None = None
    old_sale_amount: Decimal | None = None
    old_commission_amount: Decimal | None = None
    validated_at: datetime | None = None
    amended_at: datetime | None = None
    payment_number: int | None = None
    is_vanished: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a partner: an Awin or TradeTracker transaction, or one line of Rakuten's report."""

    partner: str
    transaction_id: str
    sale_key: str
    row_kind: str
    program_id: str
    partner_program_id: str
    order_ref: str | None
    click_ref: str | None
    ref_slot: int
    clicked_at: datetime | None
    occurred_at: datetime
    processed_at: datetime
    sku: str | None
    item_count: int
    voucher_code: str | None
    states: tuple[State, ...] = ()

    def state_at(self, instant: datetime) -> State | None:
        """Return what the partner says about this row at that instant, or None if it does not know it yet."""
        seen = None
        for state in self.states:
            if state.at > instant:
                break
            seen = state
        return seen


@dataclass(frozen=True, slots=True)
class Cancellation:
    """A cancellation of a table of real orders; `order_key` is that of the order, or of the row, it became part of."""

    cancellation_id: str
    order_key: str
    at: datetime
    amount: Decimal
    placing: Placing


@dataclass(frozen=True, slots=True)
class Counts:
    """What the world was built from, and what became of the cancellations of a table of real orders."""

    order_count: int
    sale_count: int
    row_count: int
    click_count: int
    cancellation_count: int = 0
    cancellation_whole_count: int = 0
    cancellation_partial_count: int = 0
    cancellation_short_count: int = 0
    cancellation_without_original_count: int = 0
    cancellation_alone_count: int = 0


@dataclass(frozen=True, slots=True)
class World:
    """Everything: the world as it is, and as each party will tell it."""

    seed: int
    size: str
    from_on: date
    until_on: date
    members: tuple[Member, ...]
    member_changes: tuple[Member, ...]
    programs: tuple[Program, ...]
    rules: tuple[Rule, ...]
    clicks: tuple[Click, ...]
    conversions: tuple[Conversion, ...]
    missing: tuple[Conversion, ...]
    sales: tuple[Sale, ...]
    rows: tuple[Row, ...]
    rates_text: str
    counts: Counts
    cancellations: tuple[Cancellation, ...] = ()
