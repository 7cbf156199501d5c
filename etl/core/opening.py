"""Openings in force: what they should have in the ledger, and the sales they hold."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from etl.core.money import member_asset, partner_asset, to_minor
from etl.core.schemas import FX_RATE, TEXT
from etl.core.target import POSTED, Rates
from etl.core.warehouse import Connection, fetch

RECEIVABLE = "commission_receivable"
MEMBER_KINDS = ("cashback_pending", "cashback_confirmed", "cashback_payable")
KINDS = (*MEMBER_KINDS, RECEIVABLE)
"""What an opening may hold: balances of members, and what partners owe."""

_LINE = pa.schema(
    [
        ("document_id", TEXT),
        ("kind", TEXT),
        ("owner", TEXT),
        ("currency", TEXT),
        ("amount", pa.decimal128(18, 4)),
        ("as_of", pa.date32()),
    ]
)


def opening_target(connection: Connection, base_currency: str) -> pa.Table:
    """Return the signed flows (schema POSTED) that all openings in force should have, on the day they are as of."""
    lines = fetch(connection, _LINES, _LINE).to_pylist()
    if not lines:
        return POSTED.empty_table()
    return pa.Table.from_pylist(list(_flows(lines, read_rates(connection), base_currency)), schema=POSTED)


def read_rates(connection: Connection) -> Rates:
    """Return all published rates."""
    return Rates(fetch(connection, f"SELECT {', '.join(FX_RATE.names)} FROM ref.fx_rate", FX_RATE))


def _flows(lines: list[dict[str, object]], rates: Rates, base_currency: str) -> Iterator[dict[str, object]]:
    for line in lines:
        currency = str(line["currency"])
        is_receivable = line["kind"] == RECEIVABLE
        asset = partner_asset(currency) if is_receivable else member_asset(currency)
        own, other = (line["kind"], line["owner"]), ("opening", "")
        (debit_kind, debit_owner), (credit_kind, credit_owner) = (own, other) if is_receivable else (other, own)
        yield {
            "document_id": line["document_id"],
            "debit_kind": debit_kind,
            "debit_owner": debit_owner,
            "credit_kind": credit_kind,
            "credit_owner": credit_owner,
            "asset": str(asset),
            "amount": to_minor(line["amount"], asset.scale),  # type: ignore[arg-type]  # the schema says decimal
            "effective_for": line["as_of"],
            "component": "commission" if is_receivable else "cashback",
            "rate": rates.factor(currency, base_currency, line["as_of"]),  # type: ignore[arg-type]  # the schema says date
        }


_LINES = """
SELECT document_id, kind, owner, currency, amount, as_of FROM ops.opening_in_force
WHERE amount <> 0
ORDER BY document_id, currency
"""
