"""Exposure: what members are owed for the sales of each partner account, against what the partner owes and has paid."""

from __future__ import annotations

import psycopg
import pyarrow as pa

from etl.core.context import Context
from etl.core.engine import query_text
from etl.core.schemas import AMOUNT, TEXT
from etl.core.warehouse import fetch

EXPOSURE = pa.schema(
    [
        ("partner_account", TEXT),
        ("currency", TEXT),
        ("expected", AMOUNT),
        ("receivable", AMOUNT),
        ("received", AMOUNT),
        ("carried_forward", AMOUNT),
        ("unallocated", AMOUNT),
        ("pending", AMOUNT),
        ("confirmed", AMOUNT),
        ("payable", AMOUNT),
        ("paid_out", AMOUNT),
        ("uncovered", AMOUNT),
    ]
)


def exposure(context: Context) -> pa.Table:
    """Return one row for each partner account and currency (schema EXPOSURE), amounts in whole currency.

    `uncovered` is what was paid out or is payable beyond what the partner paid: zero where cashback waits until it is
    funded. Where members are owed in another currency than the partner pays, each stands in a row of its own.
    """
    with context.warehouse.transaction() as connection:
        # COPY takes no parameters: the entity's name is written into the text as a literal.
        text = psycopg.ClientCursor(connection).mogrify(query_text("ledger/exposure"), {"entity": context.entity.name})
        return fetch(connection, text, EXPOSURE)
