"""The engine that runs the SQL of the stages over Arrow tables and Parquet files: DuckDB, embedded, out-of-core."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TypeAlias

import duckdb
import pyarrow as pa

from etl.core.errors import Stop

# Folders of sql/ whose queries share macros, in a file of that name.
_WITH_MACROS = frozenset({"parse", "ledger"})
SQL_ROOT = Path(__file__).resolve().parent.parent.parent / "sql"

# PyArrow has no types of its own here, so the alias is a string to the checker.
Relation: TypeAlias = "pa.Table | pa.RecordBatchReader | Path | Sequence[Path]"
Parameter = str | int | bool | date | datetime | Decimal | None


def query_text(name: str) -> str:
    """Return the text of `sql/<name>.sql`; Stop if there is none."""
    place = SQL_ROOT / f"{name}.sql"
    if not place.is_file():
        raise Stop(f"there is no query sql/{name}.sql: is the installation whole?")
    return place.read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Engine:
    """DuckDB with a memory limit and a place to spill; every run is a connection of its own."""

    memory_limit: str = "2GB"
    threads: int = 2
    temporary: Path | None = None

    def connect(self) -> duckdb.DuckDBPyConnection:
        """Return a fresh in-memory DuckDB: UTC, no network extensions, spilling to `temporary`."""
        settings: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": self.memory_limit,
            "threads": self.threads,
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
        }
        if self.temporary is not None:
            self.temporary.mkdir(parents=True, exist_ok=True)
            settings["temp_directory"] = str(self.temporary)
        connection = duckdb.connect(":memory:", config=settings)
        connection.execute("SET preserve_insertion_order = true")
        return connection

    def run(
        self, name: str, relations: Mapping[str, Relation], parameters: Mapping[str, Parameter] | None = None
    ) -> pa.Table:
        """Return the result of `sql/<name>.sql` over the named relations, in the order the query states."""
        with self.connect() as connection:
            if (folder := name.split("/")[0]) in _WITH_MACROS:
                connection.execute(query_text(f"{folder}/macros"))
            for relation_name, relation in relations.items():
                register(connection, relation_name, relation)
            return connection.sql(query_text(name), params=dict(parameters or {})).to_arrow_table()


def register(connection: duckdb.DuckDBPyConnection, name: str, relation: Relation) -> None:
    """Make `relation` readable under `name`: an Arrow table or reader, a Parquet file, or several read as one."""
    if isinstance(relation, pa.Table | pa.RecordBatchReader):
        connection.register(name, relation)
        return
    paths = [relation] if isinstance(relation, Path) else list(relation)
    if not paths:
        raise Stop(f"relation {name} has no files: give an empty table with its schema instead")
    listed = ", ".join("'" + str(path).replace("'", "''") + "'" for path in paths)
    connection.execute(f'CREATE VIEW "{name}" AS SELECT * FROM read_parquet([{listed}], hive_partitioning = false)')


def keep(connection: duckdb.DuckDBPyConnection, name: str, query: str) -> None:
    """Keep the result of `sql/<query>.sql` in the connection as the relation `name`, for the next query to read."""
    connection.execute(f'CREATE OR REPLACE TEMP TABLE "{name}" AS {query_text(query)}')
