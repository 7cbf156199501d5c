"""post: flows become numbered, hash-chained journal entries and postings in PostgreSQL.

Ours is `etl.core.ledger.post`: accounts, entries, numbering, hash chain, the set-based check of references, and both
COPYs, in one transaction with all constraints. The floor is a bare COPY of the same posting rows, whose bytes are
already made and in memory, into the same table with the same constraints. Rows are postings: four a document (a sale
that is told and approved; the worlds of `pipeline` make 4.2), of 50,000 members.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import duckdb
import psycopg
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from bench.measure import Case, interleaved
from bench.result import Result
from etl.core.embedded import EmbeddedPostgres
from etl.core.ledger import FLOW, POSTING, post
from etl.core.warehouse import Warehouse, fetch, migrate

ROWS = 1_500_000
LEGS = 4
_POSTED_AT = datetime.fromisoformat("2026-10-02T06:30:00")

# Random documents, members and amounts from a hash of the row's number: the same on every machine.
_FLOWS = """
SELECT
    'awin_main:' || CAST(900000000 + d AS VARCHAR) AS document_id,
    ['commission_receivable', 'cashback_cost', 'border', 'cashback_pending'][leg + 1] AS debit_kind,
    CASE leg WHEN 2 THEN '' WHEN 3 THEN member ELSE 'awin_main' END AS debit_owner,
    ['commission_income', 'border', 'cashback_pending', 'cashback_confirmed'][leg + 1] AS credit_kind,
    CASE leg WHEN 0 THEN 'awin_main' WHEN 1 THEN '' ELSE member END AS credit_owner,
    CASE WHEN leg < 2 THEN 'EUR/4' ELSE 'EUR/2' END AS asset,
    CAST(1 + hash(d, leg) % 500000 AS BIGINT) AS amount,
    DATE '2026-01-01' + CAST(hash(d, 'day') % 270 AS INTEGER) AS effective_for,
    CASE leg WHEN 0 THEN 'commission' ELSE 'cashback' END AS component,
    CAST(CAST(1 + hash(d, leg) % 500000 AS BIGINT) AS DECIMAL(20, 4)) AS base_amount,
    CAST(1 AS DECIMAL(18, 12)) AS rate
FROM (SELECT d, 'm' || CAST(hash(d) % 50000 AS VARCHAR) AS member FROM range($documents) AS t(d)) AS s
CROSS JOIN range(4) AS l(leg)
ORDER BY hash(d, 'order'), leg
"""


def _server(folder: Path) -> EmbeddedPostgres:
    return EmbeddedPostgres(folder / "postgres")


def _fresh(folder: Path) -> None:
    server = _server(folder)
    server.drop_database("bench")
    server.create_database("bench", template="bench_template")


def _url(folder: Path) -> str:
    return _server(folder).url("bench")


_FLOW: list[pa.Table] = []


def _flows_ready(folder: Path) -> None:
    _fresh(folder)
    _FLOW.append(pq.read_table(folder / "flow.parquet"))


def ours(folder: Path) -> int:
    """Post the flows."""
    (flows,) = _FLOW
    with Warehouse(_url(folder)).transaction() as connection:
        posted = post(connection, "main", "sale", flows, run_id="bench", created_by="bench", posted_at=_POSTED_AT)
    return posted.postings


_PREPARED: list[bytes] = []


def bare_copy(folder: Path) -> int:
    """Copy the postings that `ours` made into the same table, and nothing else."""
    statement = f"COPY ledger.posting ({', '.join(POSTING.names)}) FROM STDIN (FORMAT csv)"
    with Warehouse(_url(folder)).transaction() as connection, connection.cursor() as cursor:
        with cursor.copy(statement) as copy:
            for piece in _PREPARED:
                copy.write(piece)
        return cursor.rowcount


def _bytes_ready(folder: Path) -> None:
    _fresh(folder)
    options = pa_csv.WriteOptions(include_header=False)
    for batch in pq.ParquetFile(folder / "posting.parquet").iter_batches(131_072):
        buffer = io.BytesIO()
        pa_csv.write_csv(pa.table(batch), buffer, write_options=options)
        _PREPARED.append(buffer.getvalue())


def _keep_postings(folder: Path) -> None:
    _flows_ready(folder)
    ours(folder)
    _FLOW.clear()
    columns = ", ".join(POSTING.names)
    with Warehouse(_url(folder)).transaction() as connection:
        order = "ORDER BY document_kind, document_id, entry_no, leg"
        table = fetch(connection, f"SELECT {columns} FROM ledger.posting {order}", POSTING)
    pq.write_table(table, folder / "posting.parquet")


def run(folder: Path, rows: int | None, repeat: int, told: Callable[[str], None]) -> Result:
    """Return how posting compares with a bare COPY of the same rows."""
    wanted = rows or ROWS
    told(f"{wanted:,} flows are generated")
    with duckdb.connect() as engine:
        flows: pa.Table = engine.sql(_FLOWS, params={"documents": wanted // LEGS}).to_arrow_table()
    pq.write_table(flows.cast(FLOW), folder / "flow.parquet")
    server = _server(folder)
    server.start()
    try:
        migrate(server.create_database("bench_template"))
        _keep_postings(folder)
        cases = [Case("ours", ours, _flows_ready), Case("bare COPY", bare_copy, _bytes_ready)]
        timings = interleaved(cases, folder, repeat, told)
        with psycopg.connect(server.url("bench")) as connection:
            constraints = connection.execute(
                "SELECT count(*) FROM pg_constraint WHERE conrelid = 'ledger.posting'::regclass"
            ).fetchone()
    finally:
        server.remove()
    mine, floor = timings["ours"], timings["bare COPY"]
    return Result(
        "post",
        mine.rows,
        mine,
        floor,
        notes={
            "postings_per_second": round(mine.rows / mine.seconds),
            "share_of_bare_copy_speed": round(floor.seconds / mine.seconds, 2),
            "constraints_of_the_table": int(str(constraints[0])) if constraints else 0,
        },
    )
