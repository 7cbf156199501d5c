"""Balance: any account, or all of them, as of a pair of days."""

from __future__ import annotations

import psycopg
import pyarrow as pa

from etl.core.as_of import AsOf, Basis
from etl.core.context import Context
from etl.core.engine import query_text
from etl.core.schemas import TEXT
from etl.core.warehouse import fetch

BALANCE = pa.schema(
    [
        ("kind", TEXT),
        ("owner", TEXT),
        ("asset", TEXT),
        ("balance_minor", pa.int64()),
        ("base_balance", pa.decimal128(20, 4)),
        ("without_base_minor", pa.int64()),
    ]
)


def balances(context: Context, as_of: AsOf, kind: str | None = None, owner: str | None = None) -> pa.Table:
    """Return the balances (schema BALANCE, a debit is positive) of all accounts, or of one kind or owner.

    An account that nothing touched by then is not there; one whose postings cancel is, with zero. `base_balance` is
    what the postings recorded; `without_base_minor` is the part whose value in the base currency is not known.
    """
    parameters = {
        "entity": context.entity.name,
        "base_currency": context.entity.base_currency,
        "is_booked": as_of.basis is Basis.BOOKED,
        "as_of": as_of.day,
        "known_at": as_of.known_at,
        "kind": kind,
        "owner": owner,
    }
    with context.warehouse.transaction() as connection:
        text = psycopg.ClientCursor(connection).mogrify(query_text("ledger/balance_as_of"), parameters)
        return fetch(connection, text, BALANCE)
