"""DuckDB and Spark agree row for row, types included: every query over every recorded case, many worlds at once."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from bench.generate import matching_world
from etl.core import engine as engines
from etl.core import spark_session
from etl.core.engine import SQL_ROOT, DoesNotFit, Engine, Files, SqlEngine, order_of
from etl.core.schemas import CLICK
from etl.core.spark import SparkEngine
from etl.match import match_files
from tests.external.spark.cases import QueryCase, together

# A JVM is cold at first, and the machine may be busy: what hangs ends, what is slow does not.
pytestmark = pytest.mark.timeout(900)
DUCKDB = Engine("1GB", threads=1)
QUERIES = sorted(
    name
    for folder in ("reconcile", "accrue")
    for path in (SQL_ROOT / folder).rglob("*.sql")
    if SparkEngine.is_for_spark(name := path.relative_to(SQL_ROOT).with_suffix("").as_posix())
)
# What is said of a break hangs on the hash of what is told of it, so these are asked as recorded, too.
AS_RECORDED = ("reconcile/break", "reconcile/sale")


def rows(table: pa.Table) -> list[str]:
    """Return the rows in an order that does not depend on theirs."""
    return sorted(repr(row) for row in table.to_pylist())


def assert_equal(case: QueryCase, engine: SqlEngine) -> pa.Table:
    """Assert that both engines give the same types, the same rows, and the order that the query states."""
    wanted = DUCKDB.run(case.name, case.relations, case.parameters)
    given = engine.run(case.name, case.relations, case.parameters)
    engine.release()
    assert given.schema.equals(wanted.schema), case.name
    assert rows(given) == rows(wanted), case.name
    keys = list(order_of(case.name))
    assert given.select(keys).to_pylist() == wanted.select(keys).to_pylist(), case.name
    return given


def fitting(cases: list[QueryCase]) -> tuple[list[QueryCase], list[QueryCase]]:
    """Return the cases that DuckDB answers, and those in which a value does not fit."""
    sound: list[QueryCase] = []
    refused: list[QueryCase] = []
    for case in cases:
        try:
            DUCKDB.run(case.name, case.relations, case.parameters)
            sound.append(case)
        except DoesNotFit:
            refused.append(case)
    return sound, refused


@pytest.mark.usefixtures("recording", "spark")
def test_there_are_queries_and_cases(cases: dict[str, list[QueryCase]]) -> None:
    assert len(QUERIES) >= 28
    assert sum(len(each) for each in cases.values()) > 500
    assert set(QUERIES) - set(cases) <= {
        "reconcile/click",
        "reconcile/conversion",
        "reconcile/prepare/repeated_click",
        "reconcile/prepare/termed_row",
    }


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_says_the_same_on_both_engines(
    name: str, cases: dict[str, list[QueryCase]], spark: SparkEngine
) -> None:
    known = [*cases.get(name, []), *by_hand(name, cases)]
    sound, refused = fitting(known)
    # The largest group of cases with equal parameters; the others have few rows.
    largest = max(together(sound), key=lambda case: case.row_count)
    assert assert_equal(largest, spark).num_rows > 0, f"no case of {name} has a row to compare"
    if name in AS_RECORDED:
        assert_equal(sound[0], spark)
    for case in refused[:1]:
        with pytest.raises(DoesNotFit):
            spark.run(case.name, case.relations, case.parameters)


def by_hand(name: str, cases: dict[str, list[QueryCase]]) -> list[QueryCase]:
    """Return cases of queries that the tests recorded do not ask, or ask with no rows."""
    if name == "reconcile/conversion":
        told = [case.relations["conversion"] for case in cases["reconcile/missing_conversion"]]
        return [QueryCase(name, {"tracked_conversion": pa.concat_tables([each, each])}, {}) for each in told]
    if name in ("reconcile/click", "reconcile/prepare/repeated_click"):
        tracked = [case.relations["click"] for case in cases["reconcile/exact_click"]]
        return [QueryCase(name, {"tracked_click": pa.concat_tables([each, each])}, {}) for each in tracked]
    if name == "reconcile/prepare/termed_row":
        said = [case for case in cases["reconcile/several_row"] if case.relations["current_row"].num_rows]
        sold = {
            tuple(sorted(case.relations["grouped_sale"]["sale_id"].to_pylist())): case
            for case in cases["reconcile/duplicate"]
        }
        found = []
        for case in said:
            rows_ = case.relations["current_row"]
            key = tuple(sorted(set(rows_["sale_id"].to_pylist())))
            if key in sold:
                relations = {"current_row": rows_, "sale_match": sold[key].relations["sale_match"]}
                relations["row_term"] = rows_.select(["sale_id"])
                found.append(QueryCase(name, relations, {"day": date(2026, 3, 1)}))
        return found
    return []


EXPRESSIONS = """
SELECT k, CAST(amount AS VARCHAR) AS amount_text, CAST(instant AS VARCHAR) AS at_text,
    CAST(CAST(instant AS DATE) AS VARCHAR) AS day,
    CAST(instant AT TIME ZONE 'UTC' AT TIME ZONE $zone AS DATE) AS local_day, date_trunc('hour', instant) AS hour_at,
    instant + INTERVAL 1 SECOND * n AS later_at, instant - INTERVAL 1 DAY * n AS earlier_at,
    CAST(instant AS DATE) + n AS later_on,
    sha256(concat_ws('|', told, CAST(amount AS VARCHAR), other)) AS hash, lower(told) AS low, length(told) AS length,
    substr(told, 2, 3) AS part, right(told, 1) AS last, told || other AS both, told < other AS is_less,
    ROUND(CAST(amount AS DECIMAL(28, 10)) * CAST(0.125 AS DECIMAL(9, 6)), 4) AS rounded,
    FLOOR(amount) AS whole, ABS(amount) AS size, GREATEST(n, m) AS most, n % 7 AS rest, n // 7 AS part_count,
    told IS DISTINCT FROM other AS differs, COALESCE(n, m) AS one_of, CAST(CAST(n AS BIGINT) * 10000 AS BIGINT) AS many,
    ROW_NUMBER() OVER (PARTITION BY n ORDER BY told DESC, amount, k) AS place,
    LAG(amount) OVER (ORDER BY instant DESC, k) AS before,
    CAST(SUM(amount) OVER (PARTITION BY n) AS DECIMAL(28, 4)) AS total
FROM given
ORDER BY told, amount DESC, k
"""
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
AMOUNT = st.decimals(-(10**13), 10**13, places=4) | st.sampled_from([Decimal("0.0000"), Decimal("-0.5")])
ROW = st.fixed_dictionaries(
    {
        "amount": st.none() | AMOUNT,
        "instant": st.none() | st.datetimes(datetime(1990, 1, 1), datetime(2037, 12, 31)),
        "told": st.none() | TEXT | st.sampled_from(["", "a", "A", "ä"]),
        "other": st.none() | st.sampled_from(["", "a", "b", "B", "ß", "€"]),
        "n": st.none() | st.integers(-50, 50),
        "m": st.none() | st.integers(-5, 5),
    }
)  # fmt: skip
GIVEN = pa.schema(
    [
        ("k", pa.int64()), ("amount", pa.decimal128(18, 4)), ("instant", pa.timestamp("us")), ("told", pa.string()),
        ("other", pa.string()), ("n", pa.int32()), ("m", pa.int32()),
    ]
)  # fmt: skip


@settings(
    max_examples=4,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(
    rows_=st.lists(ROW, min_size=40, max_size=80),
    zone=st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Kolkata", "UTC"]),
)
def test_values_nulls_and_ties_are_the_same(
    spark: SparkEngine, tmp_path_factory: pytest.TempPathFactory, rows_: list[dict[str, object]], zone: str
) -> None:
    folder = tmp_path_factory.mktemp("sql")
    (folder / "reconcile").mkdir()
    (folder / "reconcile" / "expression.sql").write_text(EXPRESSIONS)
    table = pa.Table.from_pylist([{"k": k, **row} for k, row in enumerate(rows_)], schema=GIVEN)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engines, "SQL_ROOT", folder)
        case = QueryCase("reconcile/expression", {"given": table}, {"zone": zone})
        wanted = DUCKDB.run(case.name, case.relations, case.parameters)
        said = spark.run(case.name, case.relations, case.parameters)
        spark.release()
    assert said.schema.equals(wanted.schema)
    assert said.to_pylist() == wanted.to_pylist()


def test_java_is_asked_for_once_and_not_for_each_query(spark: SparkEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    session = spark.session()
    monkeypatch.setattr(spark_session, "missing", lambda _: "asked again")
    assert spark.session() is session


def test_no_row_is_lost_behind_a_batch_without_rows(spark: SparkEngine) -> None:
    """PySpark reads a table no further than its first batch without rows."""
    click = pa.table(
        {
            "click_id": ["a", "b"], "partner": ["p", "p"], "program_id": ["g", "g"], "member_id": ["m", "m"],
            "clicked_at": pa.array([datetime(2026, 1, 1)] * 2, pa.timestamp("us")),
        }
    )  # fmt: skip
    other = click.set_column(0, "click_id", pa.array(["c", "d"]))
    gaped = pa.concat_tables([click, click.slice(0, 0), other])
    assert spark.run("reconcile/click", {"tracked_click": gaped}).num_rows == 4
    spark.release()


def test_what_differs_from_stored_rows_is_the_same_of_a_table_and_of_a_file(spark: SparkEngine, tmp_path: Path) -> None:
    ids = [f"c{number}" for number in range(5)]
    click = pa.table([ids, ids, ids, ids, pa.nulls(5, pa.timestamp("us"))], names=CLICK.names)
    schema = pa.schema([("click_id", pa.string()), ("clicked_at", pa.timestamp("us"))])
    stored = pa.table([[*ids[1:], "gone"], pa.nulls(5, pa.timestamp("us"))], schema=schema)
    pq.write_table(stored, tmp_path / "rows.parquet")
    for told in (stored, Files([tmp_path / "rows.parquet"], schema)):
        fresh, gone = spark.differing(spark.derive("reconcile/click", {"tracked_click": click}), told, schema)
        assert fresh.schema.equals(schema) and gone.schema.equals(schema)
        assert (fresh["click_id"].to_pylist(), gone["click_id"].to_pylist()) == (["c0"], ["gone"])
        spark.release()


def test_files_matched_on_both_engines_are_the_same_files(spark: SparkEngine, tmp_path: Path) -> None:
    matching_world(tmp_path, 20_000, 2_000, lambda _: None)
    counts = [
        match_files(
            tmp_path / "click.parquet", tmp_path / "transaction.parquet", tmp_path / "program.parquet", None,
            tmp_path / name, engine,
        )
        for name, engine in (("duckdb", DUCKDB), ("spark", spark))
    ]  # fmt: skip
    assert counts[0] == counts[1]
    assert dict(counts[0])["transactions"] == 2_000
    for name in ("match", "break"):
        one, other = (pq.read_table(tmp_path / place / f"{name}.parquet") for place in ("duckdb", "spark"))
        assert one.num_rows > 50
        assert one.equals(other), name


def test_an_instant_is_not_moved_by_a_zone_of_the_machine(spark: SparkEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    at = datetime(2026, 3, 29, 1, 30)
    table = pa.table({"sale_id": ["s"], "occurred_at": pa.array([at], pa.timestamp("us"))})
    said = spark.run("reconcile/prepare/sale_day", {"grouped_sale": table}, {"books_zone": "Asia/Tokyo"})
    assert said["sale_on"].to_pylist() == [(at + timedelta(hours=9)).date()]
    spark.release()
