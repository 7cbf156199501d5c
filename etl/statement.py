"""Statement: what a member earned, was paid and owes, as of a pair of days, in words a member understands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from enum import StrEnum

import psycopg
import pyarrow as pa

from etl.core.as_of import AsOf
from etl.core.clawback import Document
from etl.core.context import Context
from etl.core.debt_story import Origin, OwedBack, owed_back
from etl.core.debts import courses
from etl.core.engine import query_text
from etl.core.errors import Stop
from etl.core.money import Asset, from_minor
from etl.core.schemas import TEXT
from etl.core.warehouse import Connection, fetch

_DOCUMENT = pa.schema(
    [
        ("document_kind", TEXT),
        ("document_id", TEXT),
        ("kind", TEXT),
        ("asset", TEXT),
        ("amount_minor", pa.int64()),
        ("first_on", pa.date32()),
        ("last_on", pa.date32()),
    ]
)
_SHOP = pa.schema([("sale_id", TEXT), ("sale_on", pa.date32()), ("shop", TEXT), ("reference", TEXT)])
_ADJUSTMENT = pa.schema([("adjustment_id", TEXT), ("kind", TEXT), ("is_reversal", pa.bool_())])
_WORDS = {
    "opening": "Balance from before",
    "goodwill": "Goodwill",
    "bonus": "Bonus",
    "referral": "Bonus for a friend",
    "release": "Balance from before, payable now",
    "decline": "Balance from before, declined",
    "payout": "Payout",
}
"""What is no sale, in a member's words."""
_LINE = pa.schema(
    [
        ("payout_id", TEXT),
        ("document_kind", TEXT),
        ("document_id", TEXT),
        ("currency", TEXT),
        ("amount_minor", pa.int64()),
    ]
)


class EarningState(StrEnum):
    """Where what a member earned stands."""

    PENDING = "waiting for the shop"
    CONFIRMED = "confirmed by the shop"
    PAYABLE = "payable"
    DECLINED = "declined by the shop"
    GONE = "taken back"
    NOT_YET = "not payable yet"


class PaymentState(StrEnum):
    """Where a payout stands."""

    RESERVED = "being prepared"
    IN_FLIGHT = "sent to the bank"
    SETTLED = "paid"
    RETURNED = "came back or was canceled"


@dataclass(frozen=True, slots=True)
class Earning:
    """A sale, or another document that a member earned from. `paid` is what payouts took of it."""

    document_kind: str
    document_id: str
    shop: str
    on: date
    state: EarningState
    amount: Decimal
    currency: str
    paid: Decimal
    changed_on: date
    reference: str


@dataclass(frozen=True, slots=True)
class Payment:
    """A payout."""

    payout_id: str
    on: date
    state: PaymentState
    amount: Decimal
    currency: str


@dataclass(frozen=True, slots=True)
class Total:
    """All of one currency. What is payable may be negative: then the member owes it."""

    currency: str
    pending: Decimal
    confirmed: Decimal
    payable: Decimal
    on_its_way: Decimal
    paid: Decimal


@dataclass(frozen=True, slots=True)
class Statement:
    """What a member is told."""

    member_id: str
    as_of: AsOf
    earnings: tuple[Earning, ...]
    payments: tuple[Payment, ...]
    totals: tuple[Total, ...]
    owed_back: tuple[OwedBack, ...]

    def as_json(self) -> dict[str, object]:
        """Return it as plain values; amounts are text."""
        return {
            "member_id": self.member_id,
            "as_of": str(self.as_of.day),
            "known_at": None if self.as_of.known_at is None else self.as_of.known_at.isoformat(),
            "earnings": [_plain(each) for each in self.earnings],
            "payments": [_plain(each) for each in self.payments],
            "totals": [_plain(each) for each in self.totals],
            "owed_back": [each.as_json() for each in self.owed_back],
        }


@dataclass(slots=True)
class _Document:
    """The sums of one document in one asset while they are gathered."""

    kind: str
    document_id: str
    asset: Asset
    first_on: date
    last_on: date
    minor: dict[str, int] = field(default_factory=dict)

    def amount(self, *kinds: str) -> Decimal:
        return from_minor(sum(self.minor.get(kind, 0) for kind in kinds), self.asset.scale)


def statement(context: Context, member_id: str, as_of: AsOf) -> Statement:
    """Return the statement of a member; Stop if the books know no such member by then.

    Amounts and states are as of the pair of days, by `effective_for`; the name of a shop is as we know it now. What is
    written off by policy is so from its day on, and known since.
    """
    parameters = {
        "entity": context.entity.name,
        "member_id": member_id,
        "as_of": as_of.day,
        "known_at": as_of.known_at,
    }
    with context.warehouse.transaction() as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        text = psycopg.ClientCursor(connection).mogrify(query_text("ledger/member_document"), parameters)
        documents = list(_documents(fetch(connection, text, _DOCUMENT)))
        payouts = {each.document_id: each for each in documents if each.kind == "payout"}
        origins = _origins(connection, documents)
        paid = _paid(connection, [name for name, each in payouts.items() if _payment_state(each) in _TAKING])
        acts_until = as_of.day if as_of.known_at is None else min(as_of.day, as_of.known_at.date())
        debts = [
            (asset, found)
            for _, asset, found in courses(connection, context.entity, acts_until, member_id, as_of.day, as_of.known_at)
        ]
    if not documents:
        raise Stop(f"the books know no member {member_id!r} by then: check the id, or ask for a later day")
    # What was written off of a debt is part of its story, and of the totals.
    earnings = tuple(_earning(each, origins, paid) for each in documents if each.kind not in ("payout", "write_off"))
    payments = tuple(_payment(each) for each in payouts.values())
    owed = tuple(each for asset, found in debts for each in owed_back(found, asset, origins))
    return Statement(member_id, as_of, earnings, payments, tuple(_totals(documents)), owed)


def _documents(table: pa.Table) -> Iterator[_Document]:
    found: dict[tuple[str, str, str], _Document] = {}
    for row in table.to_pylist():
        key = (row["document_kind"], row["document_id"], row["asset"])
        document = found.setdefault(
            key, _Document(*key[:2], Asset.parse(row["asset"]), row["first_on"], row["last_on"])
        )
        document.minor[row["kind"]] = row["amount_minor"]
        document.first_on = min(document.first_on, row["first_on"])
        document.last_on = max(document.last_on, row["last_on"])
    yield from found.values()


def _origins(connection: Connection, documents: Sequence[_Document]) -> Mapping[Document, Origin]:
    """Return what each document is to the member, in words where it is no sale."""
    found: dict[Document, Origin] = {}
    for each in documents:
        key = (each.kind, each.document_id)
        first = found.get(key)
        on = each.first_on if first is None else min(first.on, each.first_on)
        found[key] = Origin(key, _WORDS.get(each.kind, each.kind), on, "")
    sales = [each.document_id for each in documents if each.kind == "sale"]
    for row in fetch(connection, _SHOPS, _SHOP, (sales,)).to_pylist():
        key = ("sale", row["sale_id"])
        found[key] = Origin(key, row["shop"], row["sale_on"], row["reference"])
    given = [each.document_id for each in documents if each.kind == "adjustment"]
    for row in fetch(connection, _ADJUSTED, _ADJUSTMENT, (given,)).to_pylist():
        key = ("adjustment", row["adjustment_id"])
        words = _WORDS.get(row["kind"], row["kind"])
        found[key] = Origin(key, f"{words}, taken back" if row["is_reversal"] else words, found[key].on, "")
    return found


def _paid(connection: Connection, payouts: Sequence[str]) -> Mapping[tuple[str, str, str], int]:
    """Return what payouts took of each document, by kind, id and currency."""
    paid: dict[tuple[str, str, str], int] = {}
    for row in fetch(connection, _LINES, _LINE, (list(payouts),)).to_pylist():
        key = (row["document_kind"], row["document_id"], row["currency"])
        paid[key] = paid.get(key, 0) + row["amount_minor"]
    return paid


def _earning(
    document: _Document, origins: Mapping[Document, Origin], paid: Mapping[tuple[str, str, str], int]
) -> Earning:
    origin = origins[document.kind, document.document_id]
    states = {
        EarningState.PENDING: document.amount("cashback_pending"),
        EarningState.CONFIRMED: document.amount("cashback_confirmed"),
        EarningState.PAYABLE: document.amount("cashback_payable"),
    }
    # Rows of one sale may stand differently: the state told is the one that is furthest behind.
    state = next((state for state, amount in states.items() if amount), EarningState.DECLINED)
    if document.kind != "sale":
        # No shop has a word in it.
        state = _OF_NO_SHOP.get(state, state)
    minor = paid.get((document.kind, document.document_id, document.asset.currency), 0)
    return Earning(
        document.kind, document.document_id, origin.shop, origin.on, state, sum(states.values(), Decimal(0)),
        document.asset.currency, from_minor(minor, document.asset.scale), document.last_on, origin.reference,
    )  # fmt: skip


def _payment(document: _Document) -> Payment:
    state = _payment_state(document)
    kinds = {
        PaymentState.RESERVED: ("payout_reserved",),
        PaymentState.IN_FLIGHT: ("payout_in_flight",),
        PaymentState.SETTLED: ("bank",),
        PaymentState.RETURNED: (),
    }
    return Payment(
        document.document_id, document.first_on, state, document.amount(*kinds[state]), document.asset.currency
    )


def _payment_state(document: _Document) -> PaymentState:
    if document.minor.get("bank"):
        return PaymentState.SETTLED
    if document.minor.get("payout_in_flight"):
        return PaymentState.IN_FLIGHT
    if document.minor.get("payout_reserved"):
        return PaymentState.RESERVED
    return PaymentState.RETURNED


def _totals(documents: Sequence[_Document]) -> Iterator[Total]:
    for currency in sorted({each.asset.currency for each in documents}):
        own = [each for each in documents if each.asset.currency == currency]

        def total(*kinds: str, own: Sequence[_Document] = own) -> Decimal:
            return sum((each.amount(*kinds) for each in own), Decimal(0))

        yield Total(
            currency,
            pending=total("cashback_pending"),
            confirmed=total("cashback_confirmed"),
            payable=total("cashback_payable"),
            on_its_way=total("payout_reserved", "payout_in_flight"),
            paid=total("bank"),
        )


def _plain(item: Earning | Payment | Total) -> dict[str, str]:
    return {name: str(getattr(item, name)) for name in item.__slots__}


_OF_NO_SHOP = {
    EarningState.PENDING: EarningState.NOT_YET,
    EarningState.CONFIRMED: EarningState.NOT_YET,
    EarningState.DECLINED: EarningState.GONE,
}
_TAKING = (PaymentState.RESERVED, PaymentState.IN_FLIGHT, PaymentState.SETTLED)
_SHOPS = """
    SELECT DISTINCT ON (s.sale_id) s.sale_id, s.sale_on, coalesce(p.name, s.program_id, s.partner_account),
        coalesce(s.order_ref, regexp_replace(s.sale_id, '^[^:]*:', ''))
    FROM ops.sale AS s
    LEFT JOIN ref.program AS p ON p.program_id = s.program_id
    WHERE s.sale_id = ANY(%s)
    ORDER BY s.sale_id, (p.valid_from <= s.occurred_at) DESC NULLS LAST, p.valid_from DESC
"""
_ADJUSTED = """
    SELECT adjustment_id, kind, reverses IS NOT NULL FROM ops.adjustment WHERE adjustment_id = ANY(%s)
    ORDER BY adjustment_id
"""
_LINES = """
    SELECT l.payout_id, l.document_kind, l.document_id, p.currency, l.amount_minor
    FROM payout.payout_line AS l
    JOIN payout.payout AS p ON p.payout_id = l.payout_id
    WHERE l.payout_id = ANY(%s)
"""
