"""What a table of the warehouse holds, read for a comparison: in memory if it is little, else as a file."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from etl.core.engine import Files
from etl.core.warehouse import Connection, copied_batches, copied_table, copy_out

IN_MEMORY_BYTES = 64 * 2**20
"""Of so many bytes of text a table is made; several times as many are in hand while it is."""

Stored: TypeAlias = "pa.Table | Files"


@contextmanager
def stored_rows(connection: Connection, query: str, schema: pa.Schema, temporary: Path) -> Iterator[Stored]:
    """Yield the rows of a query: a table, or a file under `temporary`, which is gone afterwards."""
    temporary.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="stored-", dir=temporary) as folder,
        tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES, dir=folder) as text,
    ):
        copy_out(connection, query, text)
        if text.tell() <= IN_MEMORY_BYTES:
            yield copied_table(text, schema)
            return
        path = Path(folder) / "rows.parquet"
        with pq.ParquetWriter(path, schema, compression="zstd") as writer:
            for batch in copied_batches(text, schema):
                writer.write_batch(batch)
        text.close()
        yield Files([path], schema)
