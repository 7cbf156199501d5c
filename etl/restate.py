"""Restate: what changed for a month since it was closed, by partner account, kind of account and cause."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import psycopg
import pyarrow as pa

from etl.core.context import Context
from etl.core.engine import query_text
from etl.core.errors import Stop
from etl.core.money import Asset, from_minor
from etl.core.period import PeriodState, next_month, period_states, require_month
from etl.core.safe_csv import Cell, csv_bytes
from etl.core.schemas import INSTANT, TEXT
from etl.core.warehouse import fetch

CAUSES = {
    "new_sale": "a sale first reported after the close",
    "late_reversal": "declined, reduced or refunded after the close",
    "late_approval": "approved after the close",
    "partner_paid": "the partner said after the close that it paid",
    "late_change": "another change by the partner after the close",
    "decision": "what a person decided after the close",
    "rate": "an exchange rate that came after the close",
    "match_or_rule": "a click or rule that came after the close",
    "validation_over": "validation days that were over in the month, booked after the close",
    "remittance": "money from a partner",
    "payout": "a payout or its return",
    "adjustment": "an adjustment",
    "opening": "an opening balance",
    "revaluation": "revaluation",
    "write_off": "a write-off",
    "other": "a change of configuration or of what sales are made of",
}
"""The words for each cause."""

DOCUMENT = pa.schema(
    [
        ("partner_account", TEXT),
        ("kind", TEXT),
        ("asset", TEXT),
        ("cause", TEXT),
        ("document_kind", TEXT),
        ("document_id", TEXT),
        ("year", pa.int32()),
        ("number", pa.int64()),
        ("booked_on", pa.date32()),
        ("posted_at", INSTANT),
        ("effective_from", pa.date32()),
        ("amount_minor", pa.int64()),
        ("base_amount", pa.decimal128(20, 4)),
    ]
)
_AS_CLOSED = pa.schema([("partner_account", TEXT), ("kind", TEXT), ("asset", TEXT), ("amount_minor", pa.int64())])


@dataclass(frozen=True, slots=True)
class RestatedBalance:
    """One kind of account at one partner: what was closed, what changed since, and what the month says now."""

    partner_account: str
    kind: str
    currency: str
    closed: Decimal
    change: Decimal

    @property
    def now(self) -> Decimal:
        """Return what the books now say of the month."""
        return self.closed + self.change


@dataclass(frozen=True, slots=True)
class RestatedCause:
    """How much of the change of one kind of account at one partner has one cause, and in how many documents."""

    partner_account: str
    kind: str
    currency: str
    cause: str
    change: Decimal
    document_count: int


@dataclass(frozen=True, slots=True)
class Restatement:
    """What changed for one month. `documents` (schema DOCUMENT) are the entries the sums are made of."""

    starts_on: date
    state: PeriodState
    balances: tuple[RestatedBalance, ...]
    causes: tuple[RestatedCause, ...]
    documents: pa.Table

    def as_json(self) -> dict[str, object]:
        """Return all of it as plain values; amounts are text."""
        return {
            "period": f"{self.starts_on:%Y-%m}",
            "state": str(self.state),
            "balances": [
                {**_fields(each), "closed": str(each.closed), "change": str(each.change), "now": str(each.now)}
                for each in self.balances
            ],
            "causes": [{**_fields(each), "change": str(each.change)} for each in self.causes],
            "documents": [
                {name: value if isinstance(value, int | str | None) else str(value) for name, value in row.items()}
                for row in self.documents.to_pylist()
            ],
        }

    def as_csv(self) -> bytes:
        """Return the documents as CSV, an amount with the digits of its asset."""
        return csv_bytes(_CSV_HEADER, self._csv_rows())

    def _csv_rows(self) -> Iterator[list[Cell]]:
        for row in self.documents.to_pylist():
            asset = Asset.parse(row["asset"])
            row |= {"currency": asset.currency, "amount": from_minor(row["amount_minor"], asset.scale)}
            row["posted_at"] = row["posted_at"].isoformat()
            yield [row[name] for name in _CSV_HEADER]


_CSV_HEADER = (
    "partner_account kind currency cause document_kind document_id year number effective_from booked_on posted_at"
    " amount base_amount"
).split()


def restate(context: Context, starts_on: date) -> Restatement:
    """Return what was booked for the month since it was closed to sales; Stop if it is open."""
    entity = context.entity.name
    parameters = {"entity": entity, "from_on": require_month(starts_on), "until_on": next_month(starts_on)}
    with context.warehouse.transaction() as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        state = period_states(connection, entity).get(starts_on, PeriodState.OPEN)
        if state is PeriodState.OPEN:
            raise Stop(f"{starts_on:%Y-%m} is open: what comes is booked in it, and nothing of it is restated")
        cursor = psycopg.ClientCursor(connection)
        documents, closed = (
            fetch(connection, cursor.mogrify(query_text(f"ledger/{name}"), parameters), schema)
            for name, schema in (("restatement", DOCUMENT), ("as_closed", _AS_CLOSED))
        )
    return Restatement(starts_on, state, tuple(_balances(documents, closed)), tuple(_causes(documents)), documents)


def _balances(documents: pa.Table, closed: pa.Table) -> Iterator[RestatedBalance]:
    """Yield what changed: sums that were closed and stayed are no restatement."""
    sums: dict[tuple[str, str, str], list[Decimal]] = {}
    for place, table in enumerate((closed, documents)):
        for row in table.to_pylist():
            asset = Asset.parse(row["asset"])
            key = (row["partner_account"], row["kind"], asset.currency)
            sums.setdefault(key, [Decimal(0), Decimal(0)])[place] += from_minor(row["amount_minor"], asset.scale)
    for key in sorted(sums):
        if sums[key][1]:
            yield RestatedBalance(*key, *sums[key])


def _causes(documents: pa.Table) -> Iterator[RestatedCause]:
    sums: dict[tuple[str, str, str, str], Decimal] = {}
    named: dict[tuple[str, str, str, str], set[tuple[str, str]]] = {}
    for row in documents.to_pylist():
        asset = Asset.parse(row["asset"])
        key = (row["partner_account"], row["kind"], asset.currency, row["cause"])
        sums[key] = sums.get(key, Decimal(0)) + from_minor(row["amount_minor"], asset.scale)
        named.setdefault(key, set()).add((row["document_kind"], row["document_id"]))
    for key in sorted(sums):
        yield RestatedCause(*key, sums[key], len(named[key]))


def _fields(item: RestatedBalance | RestatedCause) -> dict[str, object]:
    return {name: getattr(item, name) for name in item.__slots__}
