"""The warehouse: PostgreSQL in whole transactions, bulk-loaded and read by COPY, with exact types both ways."""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
from psycopg import sql

from etl.core.errors import Retry, Stop

MIGRATIONS = Path(__file__).resolve().parent.parent.parent / "sql" / "migrations"
PIPELINE = "tallyback_pipeline"
APPROVER = "tallyback_approver"

Connection = psycopg.Connection[tuple[object, ...]]


@dataclass(frozen=True, slots=True)
class Warehouse:
    """A PostgreSQL database by URL (never shown), entered as one of Tallyback's roles."""

    url: str = field(repr=False)
    role: str = PIPELINE

    @contextlib.contextmanager
    def transaction(self, role: str | None = None) -> Iterator[Connection]:
        """Yield a connection in one transaction that commits at the end, or not at all.

        Raises Retry if the server cannot be reached or ends the connection, Stop if the role or schema is missing.
        """
        with _answering(), psycopg.connect(self.url) as connection:
            _enter(connection, role or self.role)
            yield connection

    @contextlib.contextmanager
    def beside(self, connection: Connection) -> Iterator[Connection]:
        """Yield a second connection that reads what `connection` sees now, and nothing that it writes.

        So that a thread reads while another writes. Raises what `transaction` does. It waits for nobody long: who waits
        for both would wait for ever, as PostgreSQL does not know that they are one.
        """
        (snapshot,) = connection.execute("SELECT pg_export_snapshot()").fetchone() or ("",)
        with _answering(), psycopg.connect(self.url) as second:
            second.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            second.read_only = True
            second.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(snapshot)))
            _enter(second, self.role)
            second.execute("SET LOCAL lock_timeout = '30s'")
            yield second


def _enter(connection: Connection, role: str) -> None:
    connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role)))
    connection.execute("SET LOCAL TimeZone = 'UTC'")
    connection.execute("SET LOCAL DateStyle = 'ISO, YMD'")


@contextlib.contextmanager
def _answering() -> Iterator[None]:
    """Raise what psycopg says of a server that does not answer, or is not migrated, as what is to be done."""
    try:
        yield
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidParameterValue) as error:
        raise Stop(
            f"the warehouse is not migrated ({error.diag.message_primary}): run `tallyback db migrate`"
        ) from error
    except psycopg.OperationalError as error:
        raise _no_answer(error) from error


def _no_answer(error: BaseException | None) -> Retry:
    return Retry(f"the warehouse does not answer ({type(error).__name__}): is PostgreSQL up?")


def lock(connection: Connection, scope: str) -> None:
    """Hold the advisory lock of `scope` until the transaction ends; waits for whoever holds it."""
    number = int.from_bytes(hashlib.sha256(scope.encode()).digest()[:8], "big", signed=True)
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (number,))


@contextlib.contextmanager
def by_index(connection: Connection) -> Iterator[None]:
    """Have PostgreSQL find rows by an index meanwhile, wherever there is one.

    For those who look for few rows of many: by its own estimates it reads a table from end to end for a hundredth of
    its rows, which costs what exists and not what is looked for.
    """
    connection.execute("SET LOCAL enable_seqscan = off")
    connection.execute("SET LOCAL random_page_cost = 1.1")
    yield
    # An error ends the transaction, and this with it.
    connection.execute("SET LOCAL enable_seqscan TO DEFAULT")
    connection.execute("SET LOCAL random_page_cost TO DEFAULT")


def identifier(table: str) -> sql.Identifier:
    return sql.Identifier(*table.split("."))


def copy_in(connection: Connection, table: str, data: pa.Table) -> int:
    """Append the rows of `data` to `table` by COPY, columns by name; return how many."""
    if data.num_rows == 0:
        return 0
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv)").format(
        identifier(table), sql.SQL(", ").join(sql.Identifier(name) for name in data.column_names)
    )
    # A quoted empty text is '', an empty unquoted field is null: what PostgreSQL's csv format says too.
    options = pa_csv.WriteOptions(include_header=False, batch_size=65_536)
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for batch in data.to_batches(max_chunksize=131_072):
            buffer = io.BytesIO()
            pa_csv.write_csv(pa.table(batch), buffer, write_options=options)
            copy.write(buffer.getvalue())
    return int(data.num_rows)


_COLUMN_TYPES = {
    pa.string(): "text",
    pa.int32(): "integer",
    pa.date32(): "date",
    pa.timestamp("us"): "timestamp",
}


def stage(connection: Connection, name: str, data: pa.Table) -> None:
    """Hold `data` as the temporary table `name` until the transaction ends, in place of an earlier one of that name."""
    columns = [
        sql.SQL("{} {}").format(sql.Identifier(each.name), sql.SQL(_COLUMN_TYPES[each.type])) for each in data.schema
    ]
    table = sql.Identifier(name)
    connection.execute(sql.SQL("DROP TABLE IF EXISTS pg_temp.{}").format(table))
    connection.execute(sql.SQL("CREATE TEMP TABLE {} ({}) ON COMMIT DROP").format(table, sql.SQL(", ").join(columns)))
    copy_in(connection, name, data)
    # Nothing else tells the planner how many rows it has.
    connection.execute(sql.SQL("ANALYZE {}").format(table))


def fetch(
    connection: Connection,
    query: str,
    schema: pa.Schema,
    parameters: Sequence[object] | Mapping[str, object] = (),
) -> pa.Table:
    """Return the rows of `query` as an Arrow table of exactly `schema` (columns in that order), read by COPY."""
    buffer = io.BytesIO()
    copy_out(connection, query, buffer, parameters)
    return copied_table(buffer, schema)


def copy_out(
    connection: Connection,
    query: str,
    out: IO[bytes],
    parameters: Sequence[object] | Mapping[str, object] = (),
) -> None:
    """Write the rows of `query` to `out` as COPY gives them; without rows that is nothing."""
    text = psycopg.ClientCursor(connection).mogrify(query, parameters) if parameters else query
    statement = sql.SQL("COPY ({}) TO STDOUT (FORMAT csv)").format(sql.SQL(text))
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for piece in copy:
            out.write(piece)


def copied_table(source: IO[bytes], schema: pa.Schema) -> pa.Table:
    """Return what `copy_out` wrote, from its beginning, as a table of exactly `schema`."""
    if source.tell() == 0:
        return schema.empty_table()
    source.seek(0)
    table = pa_csv.read_csv(source, **_as_written(schema))
    return pa.table(_typed(table, schema), schema=schema)


def copied_batches(source: IO[bytes], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Yield the same a block at a time, for what is more than is to be in hand at once; there must be rows."""
    source.seek(0)
    with pa_csv.open_csv(source, **_as_written(schema)) as reader:
        for batch in reader:
            yield pa.record_batch(_typed(batch, schema), schema=schema)


def _as_written(schema: pa.Schema) -> dict[str, object]:
    """Return how to read what PostgreSQL writes as CSV."""
    # Booleans travel as t and f; read as text and compared, so that anything else is an error and not a null.
    wire = {item.name: pa.string() if pa.types.is_boolean(item.type) else item.type for item in schema}
    return {
        "read_options": pa_csv.ReadOptions(column_names=schema.names, block_size=1 << 24),
        "parse_options": pa_csv.ParseOptions(newlines_in_values=True),
        "convert_options": pa_csv.ConvertOptions(
            column_types=wire, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False
        ),
    }


def _typed(rows: pa.Table | pa.RecordBatch, schema: pa.Schema) -> list[pa.ChunkedArray | pa.Array]:
    return [pc.equal(rows[item.name], "t") if pa.types.is_boolean(item.type) else rows[item.name] for item in schema]


def migrate(url: str, revision: str = "head") -> None:
    """Bring the warehouse at `url` to the newest schema, or up to one revision; a second run changes nothing.

    Run as the owner. Raises Retry if the server cannot be reached or does not let the login in.
    """
    # Alembic is imported here: no stage but this one should pay for it.
    from alembic import command
    from alembic.config import Config
    from sqlalchemy.exc import OperationalError

    configuration = Config()
    configuration.set_main_option("script_location", str(MIGRATIONS / "alembic"))
    configuration.attributes["url"] = url
    try:
        command.upgrade(configuration, revision)
    except OperationalError as error:
        raise _no_answer(error.orig) from error
