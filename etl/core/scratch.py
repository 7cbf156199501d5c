"""A warehouse and a lake beside the real ones, for a time: filled with inputs, so that all else can be derived."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import psycopg
import pyarrow as pa
from psycopg import sql

from etl.core.context import Context
from etl.core.embedded import EmbeddedPostgres
from etl.core.errors import Stop
from etl.core.lake import FolderLake, Lake, StoredObject
from etl.core.warehouse import Connection, Warehouse, migrate

# Nothing here need survive a power cut.
_FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
DERIVED_FOLDERS = ("parsed", "validated", "derived")
"""What stages write into the lake; a scratch lake never hands out the real one's."""


@dataclass(frozen=True, slots=True)
class ScratchLake:
    """Reads what was landed from the real lake; writes, and reads what is derived, in a folder of its own."""

    landed: Lake
    own: FolderLake

    def _of(self, path: str) -> Lake:
        return self.own if path.split("/")[0] in DERIVED_FOLDERS else self.landed

    def put_file(self, local: Path, prefix: str, suffix: str) -> StoredObject:
        return self.own.put_file(local, prefix, suffix)

    def put_table(self, table: pa.Table, path: str) -> None:
        self.own.put_table(table, path)

    def exists(self, path: str) -> bool:
        return self._of(path).exists(path)

    def local(self, path: str) -> Path:
        return self._of(path).local(path)

    def borrowed(self, path: str) -> AbstractContextManager[Path]:
        return self._of(path).borrowed(path)

    def release(self) -> None:
        self.landed.release()

    def open(self, path: str) -> BinaryIO:
        return self._of(path).open(path)

    def read_table(self, path: str) -> pa.Table:
        return self._of(path).read_table(path)


@contextlib.contextmanager
def scratch_warehouse(folder: Path, url: str | None = None) -> Iterator[str]:
    """Yield the URL of a migrated, empty warehouse; without a `url`, of a server in `folder` that ends with it.

    Stop if the database at `url` already holds a warehouse with something in it.
    """
    if url is not None:
        migrate(url)
        with psycopg.connect(url) as connection:
            row = connection.execute("SELECT EXISTS (SELECT 1 FROM ops.delivery)").fetchone()
        if row is None or row[0]:
            raise Stop("the scratch database is a warehouse with deliveries in it: name an empty database")
        yield url
        return
    server = EmbeddedPostgres(folder, settings=_FAST)
    try:
        made = server.start()
        migrate(made)
        yield made
    finally:
        server.remove()


@contextlib.contextmanager
def scratch_beside(context: Context, url: str | None = None) -> Iterator[Context]:
    """Yield a context whose warehouse is a scratch one and whose lake is beside the real one; both are for this time.

    The warehouse is the empty database at `url`, or that of a server of its own.
    """
    context.temporary.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="scratch-", dir=context.temporary) as name:
        folder = Path(name)
        with scratch_warehouse(folder / "postgres", url) as made:
            lake = ScratchLake(context.lake, FolderLake(folder / "lake"))
            yield replace(context, warehouse=Warehouse(made), lake=lake, temporary=folder / "temporary")


@contextlib.contextmanager
def snapshot(warehouse: Warehouse) -> Iterator[Connection]:
    """Yield a connection that reads one moment of a warehouse: a stage at work is not taken for a fault."""
    with warehouse.transaction() as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        yield connection


def tables_of(connection: Connection, schemas: Sequence[str]) -> list[str]:
    """Return the tables of some schemas, each behind those its foreign keys lead to."""
    names = [
        f"{schema}.{name}"
        for schema, name in connection.execute(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname = ANY(%s) ORDER BY 1, 2", (list(schemas),)
        ).fetchall()
    ]
    keys = connection.execute(
        "SELECT n.nspname || '.' || c.relname, m.nspname || '.' || r.relname FROM pg_constraint AS k"
        " JOIN pg_class AS c ON c.oid = k.conrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace"
        " JOIN pg_class AS r ON r.oid = k.confrelid JOIN pg_namespace AS m ON m.oid = r.relnamespace"
        " WHERE k.contype = 'f' AND k.conrelid <> k.confrelid"
    ).fetchall()
    ordered: list[str] = []
    while names:
        free = [name for name in names if not any(child == name and parent in names for child, parent in keys)]
        ordered += free
        names = [name for name in names if name not in free]
    return ordered


def copy_rows(source: Connection, target: psycopg.Connection, table: str, where: str = "true") -> None:
    """Copy the rows of a table from one warehouse to another, as they come, columns by name."""
    columns = [
        str(row[0])
        for row in source.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_schema || '.' || table_name = %s"
            " AND is_generated = 'NEVER' ORDER BY ordinal_position",
            (table,),
        ).fetchall()
    ]
    named = sql.SQL(", ").join(map(sql.Identifier, columns))
    place = sql.Identifier(*table.split("."))
    out = sql.SQL("COPY (SELECT {} FROM {} AS t WHERE {}) TO STDOUT (FORMAT binary)")
    into = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)")
    with (
        source.cursor().copy(out.format(named, place, sql.SQL(where))) as read,
        target.cursor().copy(into.format(place, named)) as write,
    ):
        for piece in read:
            write.write(piece)


def copy_inputs(
    source: Connection, target: psycopg.Connection, schemas: Sequence[str], without: Collection[str]
) -> None:
    """Copy all tables of some schemas but those named."""
    for table in tables_of(source, schemas):
        if table not in without:
            copy_rows(source, target, table)
