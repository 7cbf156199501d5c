"""The accounts of the ledger: those that are there, and those that flows need, which are made and numbered.

A lane is a pair of accounts that flows move amounts between (`etl.core.journal.LANE`).
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from etl.core.engine import Engine
from etl.core.schemas import TEXT
from etl.core.warehouse import Connection, by_index, fetch, lock

ACCOUNT = pa.schema(
    [
        pa.field("account_id", pa.int64(), nullable=False),
        pa.field("entity", TEXT, nullable=False),
        pa.field("kind", TEXT, nullable=False),
        pa.field("owner", TEXT, nullable=False),
        pa.field("asset", TEXT, nullable=False),
    ]
)
_ENGINE = Engine()
_ACCOUNT_NUMBERS = "ledger.account_account_id_seq"
# Where there are so many times as many accounts as lanes, those that are named are looked up.
_FEW_SHARE = 8


def read_accounts(connection: Connection, entity: str) -> pa.Table:
    """Return the accounts of `entity`."""
    return fetch(
        connection, f"SELECT {', '.join(ACCOUNT.names)} FROM ledger.account WHERE entity = %s", ACCOUNT, (entity,)
    )


def are_few_of_all(connection: Connection, lane_count: int) -> bool:
    """Return whether the accounts of so many lanes are better looked up than all of them read."""
    highest = connection.execute("SELECT coalesce(max(account_id), 0) FROM ledger.account").fetchone()
    return lane_count * _FEW_SHARE < int(str((highest or (0,))[0]))


def named_accounts(connection: Connection, entity: str, lanes: pa.Table) -> pa.Table:
    """Return the accounts that lanes name, as far as they exist."""
    named = _ENGINE.run("ledger/new_account", {"lane": lanes, "account": ACCOUNT.empty_table()})
    # OFFSET 0 has each of them looked up.
    query = f"""
        SELECT {", ".join(f"a.{name}" for name in ACCOUNT.names)}
        FROM unnest(%(kind)s::text[], %(owner)s::text[], %(asset)s::text[]) AS n (kind, owner, asset)
        CROSS JOIN LATERAL (
            SELECT *
            FROM ledger.account
            WHERE entity = %(entity)s AND kind = n.kind AND owner = n.owner AND asset = n.asset
            OFFSET 0
        ) AS a
    """
    with by_index(connection):
        return fetch(connection, query, ACCOUNT, {"entity": entity, **named.to_pydict()})


def new_accounts(connection: Connection, entity: str, lanes: pa.Table, known: pa.Table) -> pa.Table:
    """Return the accounts that lanes name and that are not among `known` ones, with numbers of their own.

    They are numbered here and not by the COPY, so as not to have to be read back.
    """
    missing = _ENGINE.run("ledger/new_account", {"lane": lanes, "account": known})
    count = missing.num_rows
    first = _first_number(connection, count) if count else 0
    columns = [
        pa.array(np.arange(first, first + count)),
        pa.repeat(pa.scalar(entity, TEXT), count),
        *(missing[name] for name in ("kind", "owner", "asset")),
    ]
    return pa.table(columns, schema=ACCOUNT)


def _first_number(connection: Connection, count: int) -> int:
    """Take `count` numbers for accounts, one after the other, and return the first; waits for others who do so."""
    lock(connection, _ACCOUNT_NUMBERS)
    row = connection.execute(
        f"SELECT setval('{_ACCOUNT_NUMBERS}', nextval('{_ACCOUNT_NUMBERS}') + %s)", (count - 1,)
    ).fetchone()
    return int(str((row or (0,))[0])) - count + 1
