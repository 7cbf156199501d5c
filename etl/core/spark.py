"""Apache Spark as the engine of sql/reconcile and sql/accrue: the same rows and types as DuckDB, on many machines.

Spark reads the lake's Parquet itself and keeps what one query hands to the next; tables from the warehouse go up as
Arrow, and only what a stage asks for comes back. PySpark is the extra tallyback[spark], imported when first needed.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pyarrow as pa
import pyarrow.parquet as pq

from etl.core import object_reader
from etl.core.configuration import SparkSettings
from etl.core.dialect import names_in, relations_of, to_spark
from etl.core.engine import (
    BATCH_ROWS,
    Derived,
    Engine,
    Files,
    Objects,
    Parameter,
    Relation,
    does_not_fit,
    order_of,
    query_text,
)
from etl.core.errors import Retry, Stop
from etl.core.lake import missing as missing_object
from etl.core.lake import other_bytes
from etl.core.s3_lake import S3Lake, promised_sha256
from etl.core.spark_session import MASTERS, first_line, open_session

if TYPE_CHECKING:
    import duckdb
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import StructType

_FOLDERS = ("reconcile/", "accrue/")
_PREPARED = "reconcile/prepare/"
# What is prepared may leave the subset: URLs are decoded, and what something new touches is found, on DuckDB alone.
PREPARED_ON_SPARK = frozenset(
    _PREPARED + name for name in ("observation", "sale_day", "file_row", "file_account", "termed_row", "repeated_click")
)
_MASTER = re.compile(r"local(\[[^\]]+\])?|spark://.+|sc://.+|k8s://.+|yarn")
_NO_FIT = frozenset(
    {
        "ARITHMETIC_OVERFLOW", "BINARY_ARITHMETIC_OVERFLOW", "CAST_INVALID_INPUT", "CAST_OVERFLOW", "DATETIME_OVERFLOW",
        "DECIMAL_PRECISION_EXCEEDS_MAX_PRECISION", "DIVIDE_BY_ZERO", "INTERVAL_ARITHMETIC_OVERFLOW",
        "NUMERIC_OUT_OF_SUPPORTED_RANGE", "NUMERIC_VALUE_OUT_OF_RANGE",
    }
)  # fmt: skip
_OBJECT_PROBLEM = re.compile(
    rf"object (\S+) ({object_reader.DAMAGED}|{object_reader.MISSING}|{object_reader.REFUSED})\."
)


class SparkEngine:
    """The engine that is handed to stages where Spark was chosen; all but sql/reconcile and sql/accrue run on `local`.

    One session a process, started by the first query. Not for use by several threads at once.
    """

    # A query costs it a second, however few rows it has.
    sales_at_once = 1_000_000

    def __init__(self, settings: SparkSettings, local: Engine) -> None:
        if not _MASTER.fullmatch(settings.master):
            raise Stop(f"{settings.master!r} is no master of Spark: give one of {MASTERS}")
        self.settings = settings
        self.local = local
        self._numbers = itertools.count(1)
        self._views: list[str] = []
        # By identity, with the relation itself so that no other gets its identity: several queries read the same one.
        self._uploaded: dict[int, tuple[pa.Table | Objects, DataFrame]] = {}

    def run(
        self,
        name: str,
        relations: Mapping[str, Relation],
        parameters: Mapping[str, Parameter] | None = None,
        *,
        is_ordered: bool = True,
    ) -> pa.Table:
        """Return the result of `sql/<name>.sql`, in the order it states, if any, and with DuckDB's types."""
        if not self.is_for_spark(name):
            return self.local.run(name, self._here(name, relations), parameters, is_ordered=is_ordered)
        frame, schema = self._frame(name, relations, parameters, is_ordered=is_ordered)
        return _collected(name, frame, schema)

    def derive(
        self,
        name: str,
        relations: Mapping[str, Relation],
        parameters: Mapping[str, Parameter] | None = None,
    ) -> Relation:
        """Return the result as a relation that stays with Spark until `release`, in no order."""
        if not self.is_for_spark(name):
            return self.local.run(name, self._here(name, relations), parameters)
        frame, schema = self._frame(name, relations, parameters, is_ordered=False)
        with _told(name):
            # Computed now and cut from what it came of: kept by name alone, each query would hold the plans of all
            # before it, as often as it reads them.
            frame = frame.localCheckpoint(eager=True)
        return Derived(name, frame, schema)

    def table(self, relation: Relation) -> pa.Table:
        """Return the rows of a relation, in the order in which its query would have given them."""
        if not isinstance(relation, Derived):
            return self.local.table(relation)
        frame = _frame_of(relation)
        keys = [frame[key].asc_nulls_last() for key in order_of(relation.name)]
        return _collected(relation.name, frame.orderBy(*keys), relation.schema)

    def rows(self, relation: Relation) -> pa.Table:
        """Return the rows of a relation as they come."""
        if not isinstance(relation, Derived):
            return self.local.rows(relation)
        return _collected(relation.name, _frame_of(relation), relation.schema)

    def batches(self, relation: Relation, schema: pa.Schema, at_once: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
        """Yield the columns of `schema`, in the order in which its query would have given them."""
        if not isinstance(relation, Derived):
            return self.local.batches(relation, schema, at_once)
        return iter(self.table(relation).select(schema.names).cast(schema).to_batches(at_once))

    def count(self, relation: Relation) -> int:
        """Return how many rows a relation has."""
        if not isinstance(relation, Derived):
            return self.local.count(relation)
        with _told(relation.name):
            return int(_frame_of(relation).count())

    def differing(self, computed: Relation, stored: pa.Table | Files, schema: pa.Schema) -> tuple[pa.Table, pa.Table]:
        """Return the rows of `computed` that are not stored, and those stored that are not computed.

        The stored rows go up, and only what differs comes back.
        """
        if not isinstance(computed, Derived):
            return self.local.differing(computed, stored, schema)
        session, wanted = self.session(), _schema_of(schema)
        # A file of this machine is none that a worker can read.
        table = pq.read_table(stored.paths) if isinstance(stored, Files) else stored
        with _told(computed.name):
            here = _frame_of(computed)
            frame = here.select(*[here[field.name].cast(field.dataType) for field in wanted])
            kept = session.createDataFrame(table.select(schema.names).cast(schema).combine_chunks(), wanted)
            fresh, gone = frame.subtract(kept).toArrow(), kept.subtract(frame).toArrow()
        return fresh.cast(schema), gone.cast(schema)

    def end(self, relation: Relation) -> None:
        """Let go of a relation that is with DuckDB; what is with Spark is kept until `release`."""
        if not isinstance(relation, Derived):
            self.local.end(relation)

    def connect(self) -> duckdb.DuckDBPyConnection:
        """Return a fresh connection to DuckDB."""
        return self.local.connect()

    def release(self) -> None:
        """Let Spark forget what it kept for this run."""
        self._uploaded = {}
        if not self._views:
            return
        session = self.session()
        for view in self._views:
            session.catalog.dropTempView(view)
        self._views = []

    def session(self) -> SparkSession:
        """Return the session, started if there is none; Stop or Retry with what to do if it can't be."""
        return open_session(self.settings, self.local.temporary)

    @staticmethod
    def is_for_spark(name: str) -> bool:
        """Return whether a query runs on Spark; all others run on DuckDB, here."""
        if name.startswith(_PREPARED):
            return name in PREPARED_ON_SPARK
        return name.startswith(_FOLDERS)

    def _here(self, name: str, relations: Mapping[str, Relation]) -> dict[str, Relation]:
        """Return the relations for a query that runs on DuckDB: of what is with Spark the columns that it names."""
        named = names_in(query_text(name))
        return {
            relation_name: self._columns(given, named) if isinstance(given, Derived) else given
            for relation_name, given in relations.items()
        }

    def _columns(self, derived: Derived, named: frozenset[str] | None) -> pa.Table:
        kept = [field for field in derived.schema if named is None or field.name in named]
        schema = pa.schema(kept or [derived.schema.field(0)])
        return _collected(derived.name, _frame_of(derived).select(*schema.names), schema)

    def _given(self, session: SparkSession, relation: Relation) -> tuple[DataFrame, pa.Schema]:
        """Return a relation as Spark's, and its schema."""
        if isinstance(relation, Derived):
            return _frame_of(relation), relation.schema
        if isinstance(relation, Objects):
            if relation.paths and isinstance(relation.lake, S3Lake):
                if id(relation) not in self._uploaded:
                    frame = _read_bucket(session, relation.lake, relation.paths, relation.schema)
                    # Fetched by the first query that reads it, and kept for the others.
                    self._uploaded[id(relation)] = (relation, frame.localCheckpoint(eager=False))
                return self._uploaded[id(relation)][1], relation.schema
            relation = relation.files()
        if isinstance(relation, Files) and not relation.paths:
            relation = relation.schema.empty_table()
        if isinstance(relation, pa.RecordBatchReader):
            relation = relation.read_all()
        if not isinstance(relation, pa.Table):
            return _read(session, relation)
        if id(relation) not in self._uploaded:
            # In one piece: PySpark reads no further than the first batch without rows, and says nothing.
            whole = relation.combine_chunks() if relation.num_rows else relation
            # With its schema: Connect takes no table without rows, else.
            self._uploaded[id(relation)] = (relation, session.createDataFrame(whole, _schema_of(relation.schema)))
        return self._uploaded[id(relation)][1], relation.schema

    def _frame(
        self,
        name: str,
        relations: Mapping[str, Relation],
        parameters: Mapping[str, Parameter] | None,
        *,
        is_ordered: bool,
    ) -> tuple[DataFrame, pa.Schema]:
        """Return the query as a frame that was not run yet, and the schema that DuckDB gives it."""
        session = self.session()
        views: dict[str, str] = {}
        empty: dict[str, Relation] = {}
        with _told(name):
            text = query_text(name)
            read = relations_of(text)
            for relation_name, relation in relations.items():
                if relation_name not in read:
                    continue
                frame, schema = self._given(session, relation)
                views[relation_name] = view = f"{relation_name}_{next(self._numbers)}"
                frame.createOrReplaceTempView(view)
                self._views.append(view)
                empty[relation_name] = schema.empty_table()
            # DuckDB is asked, with no rows, what types the result has.
            wanted = self.local.run(name, empty, parameters).schema
            query = to_spark(text, views, is_ordered=is_ordered)
            frame = session.sql(query, args=dict(parameters or {}))
            return _as_duckdb(name, frame, wanted), wanted


def _frame_of(derived: Derived) -> DataFrame:
    """Return what `derive` put there."""
    return cast("DataFrame", derived.handle)


def _schema_of(schema: pa.Schema) -> StructType:
    from pyspark.sql.pandas.types import from_arrow_schema

    return from_arrow_schema(schema, prefer_timestamp_ntz=True)


def _read(session: SparkSession, relation: Files | Path | Sequence[Path]) -> tuple[DataFrame, pa.Schema]:
    """Return Parquet files as Spark reads them, and their schema."""
    if isinstance(relation, Files):
        return session.read.schema(_schema_of(relation.schema)).parquet(*map(str, relation.paths)), relation.schema
    paths = [relation] if isinstance(relation, Path) else list(relation)
    if not paths:
        raise Stop("a relation has no files: give an empty table with its schema instead")
    from pyspark.sql.pandas.types import to_arrow_schema

    frame = session.read.parquet(*map(str, paths))
    return frame, to_arrow_schema(frame.schema)


def _read_bucket(session: SparkSession, lake: S3Lake, paths: Sequence[str], schema: pa.Schema) -> DataFrame:
    """Return objects of a bucket as rows that the workers fetch from there, with URLs that were signed here."""
    from pyspark import cloudpickle

    # The module goes to the workers as it is: they need not have Tallyback.
    cloudpickle.register_pickle_by_value(object_reader)
    signed = [(path, lake.signed_url(path), promised_sha256(path)) for path in paths]
    parts = min(len(signed), int(session.conf.get("spark.sql.shuffle.partitions") or 1))
    numbers = session.range(0, len(signed), 1, parts)
    return numbers.mapInArrow(object_reader.reader_of(signed, schema), _schema_of(schema))


def _as_duckdb(name: str, frame: DataFrame, wanted: pa.Schema) -> DataFrame:
    """Return the frame with DuckDB's types, by casts that lose nothing; Stop if there is no such cast."""
    from pyspark.sql.pandas.types import from_arrow_type, to_arrow_schema

    given = to_arrow_schema(frame.schema)
    if given.names != wanted.names:
        raise Stop(f"sql/{name}.sql has the columns {given.names} on Spark and {wanted.names} on DuckDB")
    columns = []
    for here, there in zip(given, wanted, strict=True):
        if here.type == there.type:
            columns.append(frame[here.name])
        elif _is_lossless(here.type, there.type):
            columns.append(frame[here.name].cast(from_arrow_type(there.type, True)).alias(here.name))
        else:
            raise Stop(f"sql/{name}.sql: {here.name} is {here.type} on Spark and {there.type} on DuckDB")
    return frame.select(*columns)


def _is_lossless(given: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether a cast keeps every value or, where it can't, is refused by Spark when it runs."""
    if pa.types.is_null(given):
        return True
    if pa.types.is_integer(given):
        return bool(pa.types.is_integer(wanted))
    if pa.types.is_decimal(given):
        return bool(pa.types.is_decimal(wanted)) and wanted.scale >= given.scale
    return False


def _collected(name: str, frame: DataFrame, schema: pa.Schema) -> pa.Table:
    with _told(name):
        return frame.toArrow().cast(schema)


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Turn what PySpark raises into the errors of this house."""
    from py4j.protocol import Py4JError
    from pyspark.errors import AnalysisException, PySparkException

    try:
        yield
    except AnalysisException as error:
        raise Stop(f"sql/{name}.sql does not run on Spark: {first_line(error)}") from error
    except PySparkException as error:
        if (found := _OBJECT_PROBLEM.search(str(error))) is not None:
            raise _object_problem(found[1], found[2]) from None
        if (error.getCondition() or "").split(".")[0] in _NO_FIT:
            raise does_not_fit(name, error) from error
        raise Retry(
            f"Spark did not finish sql/{name}.sql ({first_line(error)}): see its log, then run again"
        ) from error
    except (Py4JError, OSError) as error:
        raise Retry(f"the connection to Spark broke in sql/{name}.sql ({first_line(error)}): run again") from error


def _object_problem(path: str, amiss: str) -> Stop:
    """Return what to say of an object that a worker could not read; not its error, which may show a signed URL."""
    if amiss == object_reader.MISSING:
        return missing_object(path)
    if amiss == object_reader.DAMAGED:
        return other_bytes(path)
    return Stop(
        f"the bucket refuses Spark's workers the lake's object {path}: its credential may not read there, or ended "
        "since the stage began. Check the connection of the lake, then run again"
    )
