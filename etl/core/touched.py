"""Sales whose facts changed since accrual or remit last looked at them: told by the stages that change facts."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

from etl.core.schemas import TEXT
from etl.core.warehouse import Connection, copy_in, fetch, stage

TOUCHED = pa.schema([("sale_id", TEXT)])
TOUCHED_ROW = pa.schema([*TOUCHED, ("partner_account", TEXT), ("transaction_id", TEXT), ("payment_ref", TEXT)])
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


def is_told(connection: Connection) -> bool:
    """Return whether accrual or remit remembers anything: else what changed need not be named to them."""
    return _is_asked(connection) or _is_remitted(connection)


def _is_remitted(connection: Connection) -> bool:
    return connection.execute("SELECT 1 FROM ops.remitted").fetchone() is not None


def touch_rows(connection: Connection, rows: pa.Table, sales: pa.ChunkedArray) -> None:
    """Tell remit of rows that changed, as they were and are (schema TOUCHED_ROW), and of sales whose facts did."""
    if not _is_remitted(connection):
        return
    if rows.num_rows + len(sales) > _NAMED_MAX:
        connection.execute("DELETE FROM ops.remitted")
        forget_touched_rows(connection)
        return
    copy_in(connection, "ops.touched_row", rows.select(TOUCHED_ROW.names).cast(TOUCHED_ROW))
    copy_in(connection, "ops.touched_row", pa.table([sales], schema=TOUCHED))


def forget_touched_rows(connection: Connection) -> None:
    """Say that remit looked at what was touched; commits with what it found."""
    connection.execute("DELETE FROM ops.touched_row")


def due_sales(connection: Connection, since: date, until: date) -> pa.ChunkedArray:
    """Return the sales whose validation days are over on a day after `since` and up to `until`.

    A row without a status is approved then.
    """
    query = (
        "SELECT s.sale_id FROM (SELECT DISTINCT validation_days AS days FROM ref.program) AS p"
        " JOIN ops.sale AS s ON s.sale_on > %s - p.days AND s.sale_on <= %s - p.days"
    )
    return fetch(connection, query, TOUCHED, (since, until))["sale_id"]
