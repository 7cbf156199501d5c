"""The peer of `match` in PostgreSQL: exact references, then the last click of the program, in one query of its tables.

Loading and indexing come before the clock and are told apart. The result leaves by COPY, ordered, as text.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import psycopg

from etl.core.embedded import EmbeddedPostgres

_TABLES = {
    "program": "partner text, partner_program_id text, program_id text",
    "click": "click_id text, program_id text, member_id text, clicked_at timestamp",
    "transaction": "partner text, partner_account text, transaction_id text, line_id text, partner_program_id text,"
    " click_ref text, occurred_at timestamp",
}
_QUERY = """
WITH exact AS (
    SELECT t.partner, t.partner_account, t.transaction_id, t.line_id, t.occurred_at, p.program_id,
        c.click_id, c.member_id, c.clicked_at
    FROM transaction AS t
    LEFT JOIN program AS p ON p.partner = t.partner AND p.partner_program_id = t.partner_program_id
    LEFT JOIN click AS c ON c.click_id = t.click_ref
)
SELECT partner, partner_account, transaction_id, line_id, click_id, member_id, clicked_at
FROM exact
WHERE click_id IS NOT NULL
UNION ALL
SELECT e.partner, e.partner_account, e.transaction_id, e.line_id, k.click_id, k.member_id, k.clicked_at
FROM exact AS e
LEFT JOIN LATERAL (
    SELECT c.click_id, c.member_id, c.clicked_at
    FROM click AS c
    WHERE c.program_id = e.program_id AND c.clicked_at BETWEEN e.occurred_at - INTERVAL '30 days' AND e.occurred_at
    ORDER BY c.clicked_at DESC
    LIMIT 1
) AS k ON TRUE
WHERE e.click_id IS NULL
ORDER BY partner, partner_account, transaction_id, line_id
"""


@contextmanager
def loaded(folder: Path) -> Iterator[float]:
    """Yield how many seconds it took to load and index the files of `folder`, with the server up for as long."""
    server = EmbeddedPostgres(folder / "postgres")
    url = server.start()
    try:
        begun = time.perf_counter()
        _load(folder, url)
        yield time.perf_counter() - begun
    finally:
        server.remove()


def _load(folder: Path, url: str) -> None:
    text = folder / "postgres.csv"
    with psycopg.connect(url, autocommit=True) as connection:
        for name, columns in _TABLES.items():
            connection.execute(f"CREATE UNLOGGED TABLE {name} ({columns})")
            names = ", ".join(each.split()[0] for each in columns.split(", "))
            with duckdb.connect(config={"memory_limit": "1GB", "threads": 2}) as engine:
                # A text that is empty is quoted, and so is not null.
                engine.execute(
                    f"COPY (SELECT {names} FROM '{folder / name}.parquet') TO '{text}' (FORMAT csv, HEADER FALSE)"
                )
            with text.open("rb") as told, connection.cursor().copy(f"COPY {name} FROM STDIN (FORMAT csv)") as copy:
                while part := told.read(1 << 20):
                    copy.write(part)
        text.unlink()
        connection.execute("CREATE INDEX ON click (program_id, clicked_at)")
        connection.execute("VACUUM ANALYZE")


def with_postgres(folder: Path) -> int:
    """Join on the reference, then look for the last click of the rest; return how many rows came."""
    url = EmbeddedPostgres(folder / "postgres").start()
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("SET work_mem = '512MB'")
        with (folder / "postgres.csv").open("wb") as out, cursor.copy(f"COPY ({_QUERY}) TO STDOUT") as copy:
            for part in copy:
                out.write(part)
        return cursor.rowcount
