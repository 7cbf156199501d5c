"""What open items in other currencies are worth at the closing rate of a month, against what they are carried at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, localcontext

import psycopg
import pyarrow as pa

from etl.core.engine import query_text
from etl.core.exchange import Rates
from etl.core.ledger import FLOW
from etl.core.money import Asset, Rounding, from_minor, partner_asset, round_to_minor
from etl.core.period import last_day, next_month
from etl.core.schemas import FX_RATE, TEXT
from etl.core.warehouse import Connection, fetch

ROUNDING = Rounding.HALF_EVEN
"""The one rounding of a revaluation: values in the base currency at its partner scale."""

REVALUED_KINDS = (
    "commission_receivable",
    "partner_clearing",
    "bank",
    "cashback_confirmed",
    "cashback_payable",
    "payout_reserved",
    "payout_in_flight",
)
"""Money owed to us, by us, or held. What is pending is a memorandum or an expectation and is not revalued."""

BY_OWNER = frozenset({"commission_receivable", "partner_clearing", "bank"})
"""Kinds revalued for each owner; members are revalued together."""

VALUATION, UNREALISED = "open_item_valuation", "fx_unrealised"

_OPEN_ITEM = pa.schema(
    [
        ("kind", TEXT),
        ("owner", TEXT),
        ("currency", TEXT),
        ("balance", pa.decimal128(28, 4)),
        ("priced", pa.decimal128(28, 4)),
        ("priced_base", pa.decimal128(28, 4)),
    ]
)
_POSTED = pa.schema(
    [
        ("debit_kind", TEXT),
        ("debit_owner", TEXT),
        ("credit_kind", TEXT),
        ("credit_owner", TEXT),
        ("amount", pa.int64()),
        ("effective_for", pa.date32()),
    ]
)


@dataclass(frozen=True, slots=True)
class OpenItem:
    """One revalued balance: in its currency, as it is carried, at the closing rate. A debit is positive."""

    kind: str
    owner: str
    currency: str
    balance: Decimal
    carried: Decimal
    rate: Decimal | None
    value: Decimal | None

    @property
    def difference(self) -> Decimal:
        """Return what the closing rate adds to what is carried; zero while there is no rate."""
        return Decimal(0) if self.value is None else self.value - self.carried

    @property
    def name(self) -> str:
        """Return the owner of its valuation account."""
        return ":".join(part for part in (self.kind, self.owner, self.currency) if part)


def open_items(connection: Connection, entity: str, base_currency: str, starts_on: date) -> list[OpenItem]:
    """Return the open items in other currencies at the end of the month, by kind, owner and currency.

    The rate is that of the month's last day, None until a later day's rate is known. What sales, openings and
    adjustments brought in carries its own base amount; what remittances and payouts took away goes at the average.
    """
    parameters = {
        "entity": entity,
        "base_currency": base_currency,
        "until_on": next_month(starts_on),
        "kinds": list(REVALUED_KINDS),
        "by_owner": sorted(BY_OWNER),
    }
    text = psycopg.ClientCursor(connection).mogrify(query_text("ledger/open_item"), parameters)
    rates = Rates(fetch(connection, f"SELECT {', '.join(FX_RATE.names)} FROM ref.fx_rate", FX_RATE))
    scale = partner_asset(base_currency).scale
    found = []
    for row in fetch(connection, text, _OPEN_ITEM).to_pylist():
        rate = rates.factor(row["currency"], base_currency, last_day(starts_on))
        with localcontext() as context:
            context.prec = 60
            value = None if rate is None else _rounded(row["balance"] * rate, scale)
            carried = value or Decimal(0)
            # Nothing that carries a rate: what it is worth today is all that can be said.
            if row["priced"]:
                carried = _rounded(row["priced_base"] * row["balance"] / row["priced"], scale)
        found.append(OpenItem(row["kind"], row["owner"], row["currency"], row["balance"], carried, rate, value))
    return found


def revaluation_flows(
    connection: Connection, entity: str, base_currency: str, starts_on: date, items: list[OpenItem]
) -> pa.Table:
    """Return the flows (schema FLOW) still to be posted for the month: target minus posted, and the same back after it.

    One document a month. Its first entry is for the last day of the month, its second, for the first day of the next,
    takes all of it back. Empty if it is posted already.
    """
    document, asset = f"revaluation-{entity}-{starts_on:%Y-%m}", partner_asset(base_currency)
    signed: dict[tuple[str, date], int] = {}
    for item in items:
        minor = round_to_minor(item.difference, asset.scale, ROUNDING)
        for day, sign in ((last_day(starts_on), 1), (next_month(starts_on), -1)):
            signed[item.name, day] = signed.get((item.name, day), 0) + sign * minor
    for row in fetch(connection, _POSTED_QUERY, _POSTED, (entity, document)).to_pylist():
        is_gain = row["debit_kind"] == VALUATION
        key = (row["debit_owner"] if is_gain else row["credit_owner"], row["effective_for"])
        signed[key] = signed.get(key, 0) - (row["amount"] if is_gain else -row["amount"])
    rows = [_flow(document, name, day, minor, asset) for (name, day), minor in sorted(signed.items()) if minor]
    return pa.Table.from_pylist(rows, schema=FLOW)


def _flow(document: str, name: str, day: date, minor: int, asset: Asset) -> dict[str, object]:
    sides = [(VALUATION, name), (UNREALISED, "")]
    (debit_kind, debit_owner), (credit_kind, credit_owner) = sides if minor > 0 else reversed(sides)
    return {
        "document_id": document,
        "debit_kind": debit_kind,
        "debit_owner": debit_owner,
        "credit_kind": credit_kind,
        "credit_owner": credit_owner,
        "asset": str(asset),
        "amount": abs(minor),
        "effective_for": day,
        "component": _component(name),
        "base_amount": from_minor(abs(minor), asset.scale),
        "rate": Decimal(1),
    }


def _component(name: str) -> str:
    prefix = name.partition("_")[0]
    return prefix if prefix in ("cashback", "payout") else "commission"


def _rounded(value: Decimal, scale: int) -> Decimal:
    return from_minor(round_to_minor(value, scale, ROUNDING), scale)


def unpriced(items: list[OpenItem]) -> Iterator[str]:
    """Yield each currency whose closing rate is not known yet."""
    yield from sorted({item.currency for item in items if item.rate is None})


_POSTED_QUERY = """
    SELECT d.kind, d.owner, c.kind, c.owner, p.amount, p.effective_for
    FROM ledger.journal_entry AS j
    JOIN ledger.posting AS p ON p.entity = j.entity AND p.year = j.year AND p.number = j.number
    JOIN ledger.account AS d ON d.account_id = p.debit
    JOIN ledger.account AS c ON c.account_id = p.credit
    WHERE j.entity = %s AND j.document_kind = 'revaluation' AND j.document_id = %s
    ORDER BY j.entry_no, p.leg
"""
