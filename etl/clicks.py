"""Load tracked clicks, conversions and payees from a tracker: new rows once, by day, with how far they are complete."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from etl.core.configuration import ClickSource
from etl.core.context import Context, StageResult
from etl.core.errors import Stop
from etl.core.schemas import CLICK, CONVERSION
from etl.core.warehouse import Connection, copy_in, lock
from etl.core.warehouse import fetch as fetch_table

_DAY_MINUTES = 24 * 60

_SEAL = pa.schema([pa.field("watermark", pa.timestamp("us"))])
_FILE = pa.schema([pa.field("day", pa.date32()), pa.field("object_path", pa.string())])


class TrackerReader(Protocol):
    """What reads a tracker: canonical rows whose watermark is in [since, until), in its order."""

    def clicks(self, since: datetime | None, until: datetime) -> Iterator[pa.Table]:
        """Yield tables of schema CLICK."""
        ...

    def conversions(self, since: datetime | None, until: datetime) -> Iterator[pa.Table]:
        """Yield tables of schema CONVERSION."""
        ...


@dataclass(frozen=True, slots=True)
class _Relation:
    """One kind of tracked rows: its name, schema, key, and the column that says its day."""

    name: str
    schema: pa.Schema
    key: str
    instant: str


_CLICK = _Relation("click", CLICK, "click_id", "clicked_at")
_CONVERSION = _Relation("conversion", CONVERSION, "conversion_id", "occurred_at")


@dataclass(slots=True)
class _Days:
    """The files that exist, by day, those this run adds, and the ids of days that were looked at last."""

    known: dict[date, list[str]]
    added: list[tuple[date, str, int]] = field(default_factory=list)
    ids: dict[date, pa.ChunkedArray] = field(default_factory=dict)


def load_clicks(context: Context, source: ClickSource, reader: TrackerReader, until: datetime) -> StageResult:
    """Return how many clicks and conversions were new. `until` (naive UTC) is how far the tracker is read.

    Reads from the last watermark less the source's overlap, as rows may commit late, and leaves out what is known.
    Writes one file for each day with new rows, and seals the days before `until` less the overlap. All in one
    transaction; what is read twice writes nothing twice. Stop for a row that lacks what it needs, or whose id is known
    with other content on its day or on one that lies within the overlap (one day at least) before or after it. Days
    further off are not read for that: a load costs what is new, not what there is.
    """
    overlap = timedelta(minutes=source.overlap_minutes)
    with context.warehouse.transaction() as connection:
        lock(connection, f"clicks:{source.name}")
        watermark = _watermark(connection, source)
        if watermark is not None and until < watermark:
            raise Stop(
                f"click source {source.name}: asked to read until {until}, but {watermark} was reached before; a "
                "tracker is read forward only."
            )
        since = None if watermark is None else watermark - overlap
        click_count = _load(context, connection, source, _CLICK, reader.clicks(since, until))
        conversion_count = _load(context, connection, source, _CONVERSION, reader.conversions(since, until))
        connection.execute(
            """
            INSERT INTO ops.click_seal (source, watermark, sealed_until) VALUES (%(source)s, %(until)s, %(sealed)s)
            ON CONFLICT (source) DO UPDATE SET watermark = excluded.watermark, sealed_until = excluded.sealed_until
            WHERE ops.click_seal.watermark < excluded.watermark
            """,
            {"source": source.name, "until": until, "sealed": until - overlap},
        )
    counts = (("clicks", click_count), ("conversions", conversion_count))
    note = f"{click_count:,} new clicks, {conversion_count:,} new conversions until {until:%Y-%m-%d %H:%M} UTC"
    return StageResult("clicks", source.name, counts, note)


def _watermark(connection: Connection, source: ClickSource) -> datetime | None:
    table = fetch_table(connection, "SELECT watermark FROM ops.click_seal WHERE source = %s", _SEAL, (source.name,))
    value: datetime | None = table["watermark"][0].as_py() if table.num_rows else None
    return value


def _load(
    context: Context, connection: Connection, source: ClickSource, relation: _Relation, tables: Iterator[pa.Table]
) -> int:
    """Write what is new of `tables` to the lake and name the files in the warehouse; return how many rows."""
    days = _Days(_known_files(connection, source, relation))
    for table in tables:
        _check(table, source, relation)
        day_column = pc.cast(table[relation.instant], pa.date32())
        for day in sorted(set(day_column.to_pylist())):
            rows = table.filter(pc.equal(day_column, pa.scalar(day, pa.date32())))
            _check_days_near(context, rows, days, day, source, relation)
            new = _new_rows(context, rows, days.known.get(day, ()), source, relation)
            if new.num_rows:
                path = _path(new, source, relation, day)
                context.lake.put_table(new, path)
                days.known.setdefault(day, []).append(path)
                days.ids.pop(day, None)
                days.added.append((day, path, new.num_rows))
    copy_in(connection, "ops.tracked_file", _file_rows(context, source, relation, days))
    return sum(count for _day, _path, count in days.added)


def _known_files(connection: Connection, source: ClickSource, relation: _Relation) -> dict[date, list[str]]:
    query = (
        "SELECT day, object_path FROM ops.tracked_file WHERE relation = %s AND source = %s ORDER BY day, object_path"
    )
    known: dict[date, list[str]] = {}
    for row in fetch_table(connection, query, _FILE, (relation.name, source.name)).to_pylist():
        known.setdefault(row["day"], []).append(row["object_path"])
    return known


def _check(table: pa.Table, source: ClickSource, relation: _Relation) -> None:
    """Raise Stop showing the first row that lacks a value it needs, or has an empty text for one."""
    for item in relation.schema:
        column = table[item.name]
        is_wrong = pc.is_null(column)
        if pa.types.is_string(item.type):
            is_empty = pc.fill_null(pc.equal(column, ""), False)
            is_wrong = pc.or_(is_wrong, is_empty) if not item.nullable else is_empty
        elif item.nullable:
            continue
        if pc.any(is_wrong).as_py():
            row = table.filter(is_wrong).slice(0, 1).to_pylist()[0]
            raise Stop(
                f"click source {source.name}: a {relation.name} has no {item.name}: {row}. Nothing was loaded; correct "
                "the row in the tracker or the mapping."
            )


def _check_days_near(
    context: Context, rows: pa.Table, days: _Days, day: date, source: ClickSource, relation: _Relation
) -> None:
    """Raise Stop if the id of a row of `day` is known on a day near it: its instant is content too."""
    reach = max(1, -(-source.overlap_minutes // _DAY_MINUTES))
    near = [day + timedelta(days=distance) for distance in range(-reach, reach + 1) if distance]
    days.ids = {other: ids for other, ids in days.ids.items() if other in near}
    for other in near:
        if other not in days.ids:
            columns = [_ids(context, path, relation) for path in days.known.get(other, ())]
            days.ids[other] = pa.chunked_array([chunk for ids in columns for chunk in ids.chunks], pa.string())
        is_known = pc.is_in(rows[relation.key], days.ids[other])
        if pc.any(is_known).as_py():
            doubled = rows.filter(is_known)[relation.key][0].as_py()
            raise Stop(
                f"click source {source.name}: {relation.name} {doubled!r} has two contents, one of {day} and one of "
                f"{other}. An id names one row for ever; nothing was loaded. Correct it in the tracker."
            )


def _ids(context: Context, path: str, relation: _Relation) -> pa.ChunkedArray:
    with context.lake.borrowed(path) as local:
        return pq.ParquetFile(local).read(columns=[relation.key])[relation.key]


def _new_rows(
    context: Context, rows: pa.Table, paths: tuple[str, ...] | list[str], source: ClickSource, relation: _Relation
) -> pa.Table:
    """Return the rows of one day that no file of it holds, sorted by key; Stop if one is known with other content."""
    names = relation.schema.names
    told = rows.group_by(names).aggregate([]).select(names).cast(relation.schema)
    known = [context.lake.read_table(path).select(names) for path in paths]
    before = pa.concat_tables([table.cast(relation.schema) for table in known]) if known else None
    new = told if before is None else told.filter(pc.invert(pc.is_in(told[relation.key], before[relation.key])))
    again = None if before is None else pa.concat_tables([told, before]).group_by(names).aggregate([])
    keys = told[relation.key] if again is None else again[relation.key]
    doubled = keys.value_counts().filter(pc.greater(pc.struct_field(keys.value_counts(), "counts"), 1))
    if len(doubled):
        raise Stop(
            f"click source {source.name}: {relation.name} {doubled[0].as_py()['values']!r} has two contents. An id "
            "names one row for ever; nothing was loaded. Correct it in the tracker."
        )
    return new.sort_by(relation.key)


def rows_digest(table: pa.Table, relation: str) -> str:
    """Return what the file of clicks or conversions with these rows is called: a hash of all that they say."""
    digest = hashlib.sha256()
    for name in {_CLICK.name: _CLICK, _CONVERSION.name: _CONVERSION}[relation].schema.names:
        for value in table[name].to_pylist():
            digest.update(f"{value!s}\x1f".encode())
        digest.update(b"\x1e")
    return digest.hexdigest()


def _path(table: pa.Table, source: ClickSource, relation: _Relation, day: date) -> str:
    return f"tracked/{relation.name}/{source.name}/{day.isoformat()}/{rows_digest(table, relation.name)}.parquet"


def _file_rows(context: Context, source: ClickSource, relation: _Relation, days: _Days) -> pa.Table:
    added = days.added
    return pa.table(
        {
            "relation": pa.array([relation.name for _ in added], pa.string()),
            "source": pa.array([source.name for _ in added], pa.string()),
            "day": pa.array([day for day, _path, _count in added], pa.date32()),
            "object_path": pa.array([path for _day, path, _count in added], pa.string()),
            "row_count": pa.array([count for _day, _path, count in added], pa.int64()),
            "run_id": pa.array([context.run_id for _ in added], pa.string()),
        }
    )
