"""Sales whose facts changed since they were last accrued: told by the stages that change facts, asked by accrual."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from etl.core.schemas import TEXT
from etl.core.warehouse import Connection, fetch, stage

TOUCHED = pa.schema([("sale_id", TEXT)])
# Beyond this many it is cheaper to look at all sales than to name these.
_NAMED_MAX = 1_000_000


def touch(connection: Connection, sales: Iterable[pa.ChunkedArray]) -> None:
    """Say that facts of these sales changed; commits with the change."""
    if not _is_asked(connection):
        return
    chunks = [chunk for each in sales for chunk in each.chunks]
    ids = pc.unique(pa.chunked_array(chunks, TEXT)).drop_null()
    if len(ids) > _NAMED_MAX:
        touch_all(connection)
    elif len(ids):
        stage(connection, "newly_touched", pa.table([ids.sort()], schema=TOUCHED))
        connection.execute(
            "INSERT INTO ops.touched_sale SELECT sale_id FROM newly_touched ORDER BY sale_id ON CONFLICT DO NOTHING"
        )


def touch_all(connection: Connection) -> None:
    """Say that facts of any sale may have changed: the next accrual looks at all."""
    connection.execute("DELETE FROM ops.accrued")
    connection.execute("DELETE FROM ops.touched_sale")


def touch_transactions(connection: Connection, transactions: pa.Table) -> None:
    """Say that facts of the sales of these transactions (partner_account, transaction_id) changed."""
    if transactions.num_rows == 0 or not _is_asked(connection):
        return
    stage(connection, "changed_transaction", transactions)
    query = (
        "SELECT DISTINCT v.sale_id FROM changed_transaction AS t JOIN ops.transaction_version AS v"
        " USING (partner_account, transaction_id)"
    )
    touch(connection, [fetch(connection, query, TOUCHED)["sale_id"]])


def read_touched(connection: Connection) -> pa.Table:
    """Return the sales that were touched since `forget_touched`."""
    return fetch(connection, "SELECT sale_id FROM ops.touched_sale ORDER BY sale_id", TOUCHED)


def forget_touched(connection: Connection) -> None:
    """Say that what was touched is accrued; commits with the postings."""
    connection.execute("DELETE FROM ops.touched_sale")


def _is_asked(connection: Connection) -> bool:
    """Return whether accrual remembers anything: else it looks at all sales, whatever is said here."""
    return connection.execute("SELECT 1 FROM ops.accrued").fetchone() is not None
