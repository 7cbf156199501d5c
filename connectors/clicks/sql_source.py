"""A tracker in any database that SQLAlchemy reaches: mapped tables, read forward by a watermark column.

Amounts are read as text, since some drivers make floats of decimals. A time without a zone is a clock in the table's
zone; of a time the clock showed twice the earlier is meant, and one it never showed is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pyarrow as pa
import sqlalchemy as sa

from etl.core.configuration import ClickSource, TrackedTable
from etl.core.errors import Retry, Stop
from etl.core.schemas import CLICK, CONVERSION, INSTANT

BATCH_ROWS = 50_000
_AMOUNT = re.compile(r"-?[0-9]{1,14}(\.[0-9]{1,4}0{0,16})?")
_LOGIN_REFUSED = re.compile(
    r"(?i)password|authenticat|access denied|login failed|not authorized|unknown database"
    r"|(?:role|user|database) [\"'`].*[\"'`] (?:does not exist|is not permitted)"
)
_REPEATED_HOUR = timedelta(hours=1)

PAYEE = pa.schema(
    [
        pa.field("member_id", pa.string(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("iban", pa.string(), nullable=False),
        pa.field("changed_at", INSTANT, nullable=False),
        pa.field("changed_by", pa.string(), nullable=False),
    ]
)


class SqlSource:
    """The tables of one tracker; `url` is a SQLAlchemy URL with its credentials and is never shown."""

    def __init__(self, source: ClickSource, url: str) -> None:
        self._source = source
        try:
            self._engine = sa.create_engine(url, hide_parameters=True)
        except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError, ImportError) as error:
            raise Stop(
                f"click source {source.name}: the address in the connection {source.connection} is no usable database "
                f"URL ({type(error).__name__}); write it as dialect+driver://user:password@host/database."
            ) from None

    def __repr__(self) -> str:
        return f"SqlSource({self._source.name})"

    def close(self) -> None:
        """Close the connections to the database."""
        self._engine.dispose()

    def clicks(self, since: datetime | None, until: datetime) -> Iterator[pa.Table]:
        """Yield the clicks (schema CLICK) whose watermark is in [since, until), by it; from the first if None."""
        yield from self._read(self._source.clicks, CLICK, since, until)

    def conversions(self, since: datetime | None, until: datetime) -> Iterator[pa.Table]:
        """Yield the conversions (schema CONVERSION) of [since, until), none if no table is mapped."""
        if self._source.conversions is not None:
            yield from self._read(self._source.conversions, CONVERSION, since, until)

    def payees(self, since: datetime | None, until: datetime) -> Iterator[pa.Table]:
        """Yield the members' payees (schema PAYEE) of [since, until), none if no table is mapped."""
        if self._source.payees is not None:
            yield from self._read(self._source.payees, PAYEE, since, until)

    def _read(
        self, mapped: TrackedTable, schema: pa.Schema, since: datetime | None, until: datetime
    ) -> Iterator[pa.Table]:
        what = f"click source {self._source.name}, table {mapped.table}"
        try:
            with self._engine.connect() as connection:
                query = self._query(connection, mapped, schema, since, until, what)
                streaming = connection.execution_options(stream_results=True, max_row_buffer=BATCH_ROWS)
                with streaming.execute(query) as result:
                    for rows in result.partitions(BATCH_ROWS):
                        yield _table([tuple(row) for row in rows], schema, ZoneInfo(mapped.zone), what)
        except (sa.exc.OperationalError, sa.exc.InterfaceError) as error:
            if _LOGIN_REFUSED.search(str(error.orig)):
                # Never Retry: repeated attempts are what locks an account. The text may hold the address, so it stays.
                raise Stop(
                    f"{what}: the database refuses the login or knows no such database; correct the url in the "
                    f"connection {self._source.connection}."
                ) from None
            raise Retry(f"{what}: the database does not answer ({type(error.orig).__name__}); try again.") from None
        except sa.exc.NoSuchTableError:
            raise Stop(f"{what}: there is no such table; correct config/clicks/{self._source.name}.yaml.") from None
        except sa.exc.SQLAlchemyError as error:
            orig = getattr(error, "orig", None)
            raise Stop(
                f"{what}: the database refuses the query ({type(orig or error).__name__}); check the mapping in "
                f"config/clicks/{self._source.name}.yaml and that the user may read the table."
            ) from None
        except ValueError as error:
            # A driver reads an instant from text and finds none.
            told = str(error)[:200]
            raise Stop(f"{what}: a value cannot be read ({told}); correct the row or the mapping.") from None

    def _query(
        self,
        connection: sa.Connection,
        mapped: TrackedTable,
        schema: pa.Schema,
        since: datetime | None,
        until: datetime,
        what: str,
    ) -> sa.Select[*tuple[object, ...]]:
        namespace, _, name = mapped.table.rpartition(".")
        table = sa.Table(name, sa.MetaData(), schema=namespace or None, autoload_with=connection)
        unmapped = [item.name for item in schema if item.name not in mapped.columns and not item.nullable]
        wanted = {mapped.watermark, *mapped.columns.values()}
        missing = sorted(column for column in wanted if column not in table.c)
        if unmapped or missing:
            raise Stop(
                f"{what}: not mapped: {', '.join(unmapped) or '-'}; mapped but not there: {', '.join(missing) or '-'}. "
                f"Correct config/clicks/{self._source.name}.yaml."
            )
        watermark = table.c[mapped.watermark]
        _refuse_unmarked(connection, mapped, watermark, what)
        columns = [
            _column(table.c[mapped.columns[item.name]], item).label(item.name)
            if item.name in mapped.columns
            else sa.null().label(item.name)
            for item in schema
        ]
        query = sa.select(*columns).where(watermark < _bound(until, watermark, mapped.zone, is_end=True))
        if since is not None:
            query = query.where(watermark >= _bound(since, watermark, mapped.zone, is_end=False))
        return query.order_by(watermark, columns[0])


def _refuse_unmarked(connection: sa.Connection, mapped: TrackedTable, watermark: sa.Column[object], what: str) -> None:
    """Raise Stop if a row has no watermark: read forward by it, that row would never come, and nobody would know.

    A member who never said where to pay may have no date of that; whoever has an account number must.
    """
    if not watermark.nullable:
        return
    query = sa.select(sa.func.count()).select_from(watermark.table).where(watermark.is_(None))
    if "iban" in mapped.columns:
        query = query.where(watermark.table.c[mapped.columns["iban"]].is_not(None))
    if count := connection.execute(query).scalar_one():
        raise Stop(
            f"{what}: {count:,} rows have no {watermark.name}, by which the table is read forward, so they would "
            "never be read. Fill it, forbid it to be null, or map a column that every row has."
        )


def _column(column: sa.Column[object], item: pa.Field) -> sa.ColumnElement[object]:
    """Return what is selected: as text for amounts and names, as it is for instants."""
    if pa.types.is_timestamp(item.type):
        return column
    return sa.cast(column, sa.String)


def _bound(instant: datetime, watermark: sa.Column[object], zone: str, *, is_end: bool) -> datetime:
    """Return a bound (naive UTC) as the column counts time, never so tight that a repeated hour is left out."""
    aware = instant.replace(tzinfo=UTC)
    if getattr(watermark.type, "timezone", False):
        return aware
    local = aware.astimezone(ZoneInfo(zone))
    if is_end:
        return local.replace(tzinfo=None) + _REPEATED_HOUR * local.fold
    return local.replace(tzinfo=None) - (timedelta(0) if zone == "UTC" else 2 * _REPEATED_HOUR)


def _table(rows: Sequence[tuple[object, ...]], schema: pa.Schema, zone: ZoneInfo, what: str) -> pa.Table:
    arrays = []
    for place, item in enumerate(schema):
        values = [row[place] for row in rows]
        if pa.types.is_timestamp(item.type):
            values = [_instant(value, zone, f"{what}, {item.name}") for value in values]
        elif pa.types.is_decimal(item.type):
            values = [_amount(value, f"{what}, {item.name}") for value in values]
        arrays.append(pa.array(values, item.type))
    return pa.Table.from_arrays(arrays, schema=schema)


def _instant(value: object, zone: ZoneInfo, what: str) -> datetime | None:
    if value is None:
        return None
    if not isinstance(value, datetime):
        kind = "a day" if isinstance(value, date) else type(value).__name__
        raise Stop(f"{what}: the column holds {kind}, not an instant; map a timestamp column.")
    if value.tzinfo is not None:
        return value.astimezone(UTC).replace(tzinfo=None)
    instant = value.replace(tzinfo=zone).astimezone(UTC)
    if instant.astimezone(zone).replace(tzinfo=None) != value:
        raise Stop(f"{what}: {value.isoformat()} was never shown by a clock in {zone.key}; is the table's zone right?")
    return instant.replace(tzinfo=None)


def _amount(value: object, what: str) -> Decimal | None:
    if value is None:
        return None
    text = str(value)
    if not _AMOUNT.fullmatch(text):
        raise Stop(f"{what}: {text[:40]!r} is no exact amount of at most 4 decimals; correct the row or the mapping.")
    return Decimal(text)
