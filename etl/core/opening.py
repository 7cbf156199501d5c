"""Openings in force: what they should have in the ledger, and the sales they hold."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import pyarrow as pa
from psycopg.rows import class_row

from etl.core.flow import Flow, flow_target
from etl.core.money import member_asset, partner_asset, to_minor
from etl.core.warehouse import Connection

RECEIVABLE = "commission_receivable"
PAYABLE = "cashback_payable"
MEMBER_KINDS = ("cashback_pending", "cashback_confirmed", PAYABLE)
KINDS = (*MEMBER_KINDS, RECEIVABLE)
"""What an opening may hold: balances of members, and what partners owe."""


@dataclass(frozen=True, slots=True)
class _Line:
    """A row of `ops.opening_in_force`."""

    document_id: str
    kind: str
    owner: str
    currency: str
    amount: Decimal
    as_of: date

    def flow(self) -> Flow:
        is_receivable = self.kind == RECEIVABLE
        asset = partner_asset(self.currency) if is_receivable else member_asset(self.currency)
        own, other = (self.kind, self.owner), ("opening", "")
        debit, credit = (own, other) if is_receivable else (other, own)
        component = "commission" if is_receivable else "cashback"
        return Flow(self.document_id, debit, credit, asset, to_minor(self.amount, asset.scale), self.as_of, component)


def opening_target(connection: Connection, base_currency: str) -> pa.Table:
    """Return the signed flows (schema POSTED) that all openings in force should have, on the day they are as of."""
    with connection.cursor(row_factory=class_row(_Line)) as cursor:
        lines = cursor.execute(_LINES).fetchall()
    return flow_target(connection, (line.flow() for line in lines), base_currency)


_LINES = f"""
SELECT {", ".join(_Line.__dataclass_fields__)} FROM ops.opening_in_force
WHERE amount <> 0
ORDER BY document_id, currency
"""
