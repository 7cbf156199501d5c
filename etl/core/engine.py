"""The engine that runs the SQL of the stages over Arrow tables and Parquet files: DuckDB, embedded, out-of-core.

What a stage is handed is an `SqlEngine`. There are two: `Engine` here, and `etl.core.spark` for the queries of
sql/reconcile and sql/accrue.
"""

from __future__ import annotations

import itertools
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Protocol, TypeAlias

import duckdb
import pyarrow as pa

from etl.core.duckdb_process import instances, statements
from etl.core.errors import Stop
from etl.core.lake import Lake

# Folders of sql/ whose queries share macros, in a file of that name.
_WITH_MACROS = frozenset({"parse"})
SMALL_ROWS_MAX = 10_000
"""How many rows a query may read of Arrow tables to be a small one: one that is planned for longer than it runs."""
BATCH_ROWS = 122_880
"""How many rows of a result are in hand when it is read a batch at a time: a group of rows of its Parquet file."""
SQL_ROOT = Path(__file__).resolve().parent.parent.parent / "sql"
_ORDER = "\nORDER BY "
# Of small queries alone: see `_answer`.
warnings.filterwarnings("ignore", message="Arrow output on a DB-API result makes an extra copy", category=UserWarning)


@dataclass(frozen=True, slots=True)
class Files:
    """Parquet files, or none, read as one relation with all columns of `schema`: one that a file lacks is null."""

    paths: Sequence[Path]
    schema: pa.Schema


@dataclass(frozen=True, slots=True)
class Objects:
    """The same of objects of the lake: an engine asks for local copies, or reads them where the lake is."""

    lake: Lake
    paths: Sequence[str]
    schema: pa.Schema

    def files(self) -> Files:
        """Return local files with what they hold, good until the lake's `release`."""
        return Files([self.lake.local(path) for path in self.paths], self.schema)


@dataclass(frozen=True, slots=True)
class Derived:
    """The result of a query that stays where the engine is, as a relation for its next queries."""

    name: str
    handle: object
    schema: pa.Schema


# PyArrow has no types of its own here, so the alias is a string to the checker.
Relation: TypeAlias = "pa.Table | pa.RecordBatchReader | Path | Sequence[Path] | Files | Objects | Derived"
Parameter = str | int | bool | date | datetime | Decimal | None


class DoesNotFit(Stop):
    """A value left what its type can hold: a number with too many digits, a text that is no number."""


class SqlEngine(Protocol):
    """What runs the queries under sql/ over named relations; same rows and same types, whichever engine it is."""

    @property
    def sales_at_once(self) -> int:
        """How many sales are worth its while at a time, where a stage goes through all of them part by part."""
        ...

    def run(
        self,
        name: str,
        relations: Mapping[str, Relation],
        parameters: Mapping[str, Parameter] | None = None,
        *,
        is_ordered: bool = True,
    ) -> pa.Table:
        """Return the result of `sql/<name>.sql`, in the order it states; DoesNotFit if a value leaves its type.

        Not `is_ordered`: as the rows come, for those who see to their order; DuckDB keeps that of a single relation.
        """
        ...

    def derive(
        self,
        name: str,
        relations: Mapping[str, Relation],
        parameters: Mapping[str, Parameter] | None = None,
    ) -> Relation:
        """Return the same as a relation for the engine's next queries; good until `release`."""
        ...

    def table(self, relation: Relation) -> pa.Table:
        """Return the rows of a relation that `derive` gave, or that is a table already."""
        ...

    def rows(self, relation: Relation) -> pa.Table:
        """Return the same in any order, for those that put it in an order of their own."""
        ...

    def batches(self, relation: Relation, schema: pa.Schema, at_once: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
        """Yield the columns of `schema` of such a relation, in the order its query states, so many rows at a time."""
        ...

    def count(self, relation: Relation) -> int:
        """Return how many rows such a relation has."""
        ...

    def differing(self, computed: Relation, stored: pa.Table | Files, schema: pa.Schema) -> tuple[pa.Table, pa.Table]:
        """Return the rows of `computed` that are not stored, and those stored that are not computed, in no order.

        Compared and returned are the columns of `schema`; both may have more.
        """
        ...

    def end(self, relation: Relation) -> None:
        """Let go of what `derive` gave, whoever still refers to it: nobody is to read it any more."""
        ...

    def connect(self) -> duckdb.DuckDBPyConnection:
        """Return a fresh connection to DuckDB, for what runs there whichever engine is chosen."""
        ...

    def release(self) -> None:
        """Say that nothing from `derive` is needed any more."""
        ...


def query_text(name: str) -> str:
    """Return the text of `sql/<name>.sql`; Stop if there is none."""
    place = SQL_ROOT / f"{name}.sql"
    if not place.is_file():
        raise Stop(f"there is no query sql/{name}.sql: is the installation whole?")
    return place.read_text(encoding="utf-8")


def order_of(name: str) -> tuple[str, ...]:
    """Return the columns of its result that `sql/<name>.sql` is ordered by, which it ends with, or ALL."""
    _, _, order = query_text(name).rpartition(_ORDER)
    return tuple(column.strip().rpartition(".")[2] for column in order.split(","))


@dataclass(frozen=True, slots=True)
class Engine:
    """DuckDB with a memory limit and a place to spill; every run is a connection of its own.

    Connections of a process with equal settings share one instance, and with it the memory limit: to make one takes ten
    times as long as a small query. What a run registers or creates must be temporary, and so its connection's alone,
    but for the tables of `derive`, of which no two have the same name.
    """

    memory_limit: str = "2GB"
    threads: int = 2
    temporary: Path | None = None
    sales_at_once: int = 100_000

    def connect(self) -> duckdb.DuckDBPyConnection:
        """Return a fresh connection: UTC, no network extensions, spilling to `temporary`; nothing in it yet."""
        return self.instance(()).cursor()

    def run(
        self,
        name: str,
        relations: Mapping[str, Relation],
        parameters: Mapping[str, Parameter] | None = None,
        *,
        is_ordered: bool = True,
    ) -> pa.Table:
        """Return the result of `sql/<name>.sql` over the named relations, in the order the query states, if any."""
        query = query_text(name) if is_ordered else _unordered(name)
        with self._knowing(name, relations) as connection:
            return _answer(connection, query, parameters or {}, is_small=_is_small(relations.values()))

    def derive(
        self,
        name: str,
        relations: Mapping[str, Relation],
        parameters: Mapping[str, Parameter] | None = None,
    ) -> Relation:
        """Return the result as a table of the instance, which spills, and ends when nobody refers to it any more.

        A small query's is an Arrow table: to make one of the instance takes longer.
        """
        if _is_small(relations.values()):
            return self.run(name, relations, parameters)
        with self._knowing(name, relations) as connection:
            return _derived(self.instance(relations.values()), connection, name, parameters or {})

    def table(self, relation: Relation) -> pa.Table:
        """Return the rows of a relation: a table already, or in the order in which its query would have given them."""
        if isinstance(relation, Derived):
            with _kept(relation).instance.cursor() as connection:
                return connection.sql(_in_order(relation, "*")).to_arrow_table()
        if not isinstance(relation, pa.Table):
            raise TypeError(f"{relation!r} is not a table that a query gave")
        return relation

    def rows(self, relation: Relation) -> pa.Table:
        """Return the rows of a relation as they lie."""
        if not isinstance(relation, Derived):
            return self.table(relation)
        with _kept(relation).instance.cursor() as connection:
            return connection.sql(f"SELECT * FROM {_kept(relation).name}").to_arrow_table()

    def batches(self, relation: Relation, schema: pa.Schema, at_once: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
        """Yield the columns of `schema`, in the order in which its query would have given them."""
        if not isinstance(relation, Derived):
            yield from self.table(relation).select(schema.names).cast(schema).to_batches(at_once)
            return
        with _kept(relation).instance.cursor() as connection:
            query = _in_order(relation, ", ".join(schema.names))
            for batch in connection.sql(query).to_arrow_reader(at_once):
                yield batch.cast(schema)

    def count(self, relation: Relation) -> int:
        """Return how many rows it has."""
        return _kept(relation).count if isinstance(relation, Derived) else int(self.table(relation).num_rows)

    def differing(self, computed: Relation, stored: pa.Table | Files, schema: pa.Schema) -> tuple[pa.Table, pa.Table]:
        """Return the rows of `computed` that are not stored, and those stored that are not computed."""
        names = ", ".join(schema.names)
        with self.instance([computed]).cursor() as connection:
            register(connection, "computed", computed)
            register(connection, "stored", stored)
            fresh, gone = (
                connection.sql(f"SELECT {names} FROM {one} EXCEPT SELECT {names} FROM {other}").to_arrow_table()
                for one, other in (("computed", "stored"), ("stored", "computed"))
            )
        return fresh.cast(schema), gone.cast(schema)

    def end(self, relation: Relation) -> None:
        """Drop the table of a relation, if it is one of `derive`."""
        if isinstance(relation, Derived):
            _kept(relation).end()

    def release(self) -> None:
        """Do nothing: a table ends with its last reference."""

    def instance(self, relations: Iterable[Relation]) -> duckdb.DuckDBPyConnection:
        """Return the instance that holds results among the relations, else one of these settings; not to be closed."""
        for relation in relations:
            if isinstance(relation, Derived):
                return _kept(relation).instance
        if self.temporary is not None:
            self.temporary.mkdir(parents=True, exist_ok=True)
        return instances.instance(self.memory_limit, self.threads, self.temporary)

    @contextmanager
    def _knowing(self, name: str, relations: Mapping[str, Relation]) -> Iterator[duckdb.DuckDBPyConnection]:
        """Yield a connection that knows the relations of a query; DoesNotFit if a value leaves its type in it."""
        with self.instance(relations.values()).cursor() as connection:
            if (folder := name.split("/")[0]) in _WITH_MACROS:
                for macro in statements.parsed(connection, query_text(f"{folder}/macros")):
                    connection.execute(macro)
            for relation_name, relation in relations.items():
                register(connection, relation_name, relation)
            try:
                yield connection
            except (duckdb.OutOfRangeException, duckdb.ConversionException) as error:
                raise does_not_fit(name, error) from error


class _KeptResult:
    """A table of an instance that holds the result of a query; dropped when nothing refers to it any more."""

    def __init__(self, instance: duckdb.DuckDBPyConnection, name: str, count: int) -> None:
        self.instance, self.name, self.count = instance, name, count
        self._process = os.getpid()
        self._is_ended = False

    def __del__(self) -> None:
        self.end()

    def end(self) -> None:
        # In a fork the instance is not to be touched.
        if not self._is_ended and self._process == os.getpid():
            self._is_ended = True
            with self.instance.cursor() as connection:
                connection.execute(f"DROP TABLE {self.name}")


_numbers = itertools.count(1)


def _unordered(name: str) -> str:
    """Return the query without its order."""
    query, _, _ = query_text(name).rpartition(_ORDER)
    return query


def _derived(
    instance: duckdb.DuckDBPyConnection,
    connection: duckdb.DuckDBPyConnection,
    name: str,
    parameters: Mapping[str, Parameter],
) -> Derived:
    """Return the result of a query as a table that the connection's instance keeps, and which has no order."""
    table = f"derived_{next(_numbers)}"
    connection.execute(f"CREATE TABLE {table} AS {_unordered(name)}", dict(parameters))
    ((count,),) = connection.execute(f"SELECT count(*) FROM {table}").fetchall()
    schema = connection.sql(f"SELECT * FROM {table} LIMIT 0").to_arrow_table().schema
    return Derived(name, _KeptResult(instance, table, int(count)), schema)


def _kept(derived: Derived) -> _KeptResult:
    if not isinstance(derived.handle, _KeptResult):
        raise TypeError(f"what {derived.name} gave is with another engine: ask that one for its table")
    return derived.handle


def _in_order(derived: Derived, columns: str) -> str:
    """Return the query of some columns of a result, in the order that its own query ends with."""
    return f"SELECT {columns} FROM {_kept(derived).name} ORDER BY {', '.join(order_of(derived.name))}"


def does_not_fit(name: str, error: BaseException) -> DoesNotFit:
    """Return what to say of a query that met a value which leaves its type, on any engine."""
    return DoesNotFit(
        f"sql/{name}.sql: a value does not fit its type: look for a wrong one in what was delivered, or in the"
        f" reference data ({(str(error).splitlines() or [''])[0][:300]})"
    )


def register(connection: duckdb.DuckDBPyConnection, name: str, relation: Relation) -> None:
    """Make `relation` readable under `name`: an Arrow table or reader, a Parquet file, or several read as one."""
    if isinstance(relation, pa.Table | pa.RecordBatchReader):
        connection.register(name, relation)
        return
    if isinstance(relation, Objects):
        relation = relation.files()
    if isinstance(relation, Files):
        if not relation.paths:
            connection.register(name, relation.schema.empty_table())
            return
        connection.register(f"{name}_columns", relation.schema.empty_table())
        connection.execute(
            f'CREATE TEMP VIEW "{name}" AS SELECT * FROM "{name}_columns" UNION ALL BY NAME'
            f" SELECT * FROM {_parquet(relation.paths, is_by_name=True)}"
        )
        return
    if isinstance(relation, Derived):
        connection.execute(f'CREATE TEMP VIEW "{name}" AS SELECT * FROM {_kept(relation).name}')
        return
    paths = [relation] if isinstance(relation, Path) else list(relation)
    if not paths:
        raise Stop(f"relation {name} has no files: give an empty table with its schema instead")
    connection.execute(f'CREATE TEMP VIEW "{name}" AS SELECT * FROM {_parquet(paths)}')


def _answer(
    connection: duckdb.DuckDBPyConnection, text: str, parameters: Mapping[str, Parameter], *, is_small: bool
) -> pa.Table:
    """Return the result of a statement over what the connection knows.

    Of a small query most of the work is to read and to plan it. A relation plans it twice: to know its columns, and to
    run it. A cursor plans it once, but copies the rows once more before they are Arrow.
    """
    (statement,) = statements.parsed(connection, text)
    if is_small:
        return connection.execute(statement, dict(parameters)).to_arrow_table()
    return connection.sql(statement, params=dict(parameters)).to_arrow_table()


def _is_small(relations: Iterable[Relation]) -> bool:
    rows = [each.num_rows if isinstance(each, pa.Table) else None for each in relations]
    return None not in rows and sum(each or 0 for each in rows) <= SMALL_ROWS_MAX


def _parquet(paths: Sequence[Path], *, is_by_name: bool = False) -> str:
    listed = ", ".join("'" + str(path).replace("'", "''") + "'" for path in paths)
    by_name = ", union_by_name = true" if is_by_name else ""
    return f"read_parquet([{listed}], hive_partitioning = false{by_name})"


def keep(connection: duckdb.DuckDBPyConnection, name: str, query: str) -> None:
    """Keep the result of `sql/<query>.sql` in the connection as the relation `name`, for the next query to read."""
    connection.execute(f'CREATE OR REPLACE TEMP TABLE "{name}" AS {query_text(query)}')
