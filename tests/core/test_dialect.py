"""What is said to Spark: pure text, no Java. That it means the same is tried in tests/external/spark."""

from __future__ import annotations

import pytest
import sqlglot
from hypothesis import given
from hypothesis import strategies as st

from etl.core.dialect import names_in, relations_of, to_spark
from etl.core.engine import SQL_ROOT, order_of
from etl.core.errors import Stop
from etl.core.spark import PREPARED_ON_SPARK, SparkEngine

FILES = sorted(path for folder in ("reconcile", "accrue") for path in (SQL_ROOT / folder).rglob("*.sql"))


def test_every_query_that_runs_on_spark_can_be_said() -> None:
    asked = set()
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        name = path.relative_to(SQL_ROOT).with_suffix("").as_posix()
        if not SparkEngine.is_for_spark(name):
            assert "/prepare/" in name
            continue
        asked.add(name)
        said = to_spark(text, {relation: f"{relation}_1" for relation in relations_of(text)})
        assert sqlglot.parse_one(said, dialect="spark") is not None
        assert "QUALIFY" not in said and "$" not in said
    assert len(asked) > 25
    assert asked >= PREPARED_ON_SPARK


def test_the_order_of_a_query_is_what_it_ends_with() -> None:
    assert len(FILES) > 40
    for path in FILES:
        (tree,) = sqlglot.parse(path.read_text(encoding="utf-8"), dialect="duckdb")
        assert tree is not None
        # Ascending, by columns of its result: so that whoever puts the result in order need not know more.
        ordered = tree.args["order"].expressions
        assert not any(each.args.get("desc") for each in ordered), path
        name = path.relative_to(SQL_ROOT).with_suffix("").as_posix()
        assert order_of(name) == tuple(each.this.name for each in ordered)


def test_a_condition_on_windows_is_a_filter_around_them() -> None:
    text = "SELECT k, v FROM t QUALIFY ROW_NUMBER() OVER (PARTITION BY k ORDER BY v DESC) = 1 ORDER BY t.k"
    assert to_spark(text, {}) == (
        "SELECT k, v FROM (SELECT k, v, ROW_NUMBER() OVER (PARTITION BY k ORDER BY v DESC) = 1 AS _kept FROM t) AS _all"
        " WHERE _kept ORDER BY k NULLS LAST"
    )


def test_of_a_star_the_condition_is_taken_out_again() -> None:
    text = "WITH a AS (SELECT t.*, 1 AS one FROM t QUALIFY lag(v) OVER (ORDER BY k) IS NULL) SELECT k FROM a ORDER BY k"
    assert "(SELECT * EXCEPT (_kept) FROM (SELECT t.*, 1 AS one, LAG(v)" in to_spark(text, {})


def test_relations_go_by_other_names_and_ctes_do_not() -> None:
    text = "WITH a AS (SELECT t.x FROM t) SELECT a.x FROM a JOIN u ON u.x = a.x ORDER BY a.x"
    assert relations_of(text) == {"t", "u"}
    said = to_spark(text, {"t": "t_7", "u": "u_8", "a": "never"})
    assert (
        said
        == "WITH a AS (SELECT t.x FROM t_7 AS t) SELECT a.x FROM a JOIN u_8 AS u ON u.x = a.x ORDER BY a.x NULLS LAST"
    )


def test_the_names_in_a_query_are_those_of_its_columns_and_more_unless_it_reads_all() -> None:
    text = "SELECT s.a, count(*) AS n FROM s LEFT JOIN t USING (b) WHERE s.c IS NULL GROUP BY s.a ORDER BY s.a"
    assert (names_in(text) or frozenset()) >= {"a", "b", "c"} and "d" not in (names_in(text) or "d")
    assert names_in("SELECT s.*, 1 AS one FROM s ORDER BY s.a") is None
    assert names_in("SELECT * EXCLUDE (a) FROM s ORDER BY b") is None


def test_a_result_that_only_queries_read_has_no_order() -> None:
    text = "SELECT k FROM t QUALIFY ROW_NUMBER() OVER (ORDER BY k) = 1 ORDER BY k"
    assert to_spark(text, {}, is_ordered=False).endswith("WHERE _kept")


@pytest.mark.parametrize(
    ("duckdb", "spark"),
    [
        ("a // b", "a DIV b"),
        ("sha256(a)", "SHA2(a, 256)"),
        ("date_trunc('hour', a)", "CAST(DATE_TRUNC('HOUR', a) AS TIMESTAMP_NTZ)"),
        (
            "CAST(a AT TIME ZONE 'UTC' AT TIME ZONE $z AS DATE)",
            "CAST(CAST(FROM_UTC_TIMESTAMP(a, :z) AS TIMESTAMP_NTZ) AS DATE)",
        ),
        (
            "make_timestamp(epoch_us(a) - 1)",
            "CAST(TIMESTAMP_MICROS(UNIX_MICROS(CAST(a AS TIMESTAMP_LTZ)) - 1) AS TIMESTAMP_NTZ)",
        ),
        ("string_agg(DISTINCT a, ' ' ORDER BY a)", "LISTAGG(DISTINCT a, ' ') WITHIN GROUP (ORDER BY a NULLS LAST)"),
        ("'it''s \\n'", "'it\\'s \\\\n'"),
    ],
)
def test_what_is_said_otherwise(duckdb: str, spark: str) -> None:
    assert to_spark(f"SELECT {duckdb} AS x FROM t", {}) == f"SELECT {spark} AS x FROM t"


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("SELECT url_decode(a) AS x FROM t", "no such function"),
        ("SELECT fold_it(a) AS x FROM t", "no such function"),
        ("SELECT a AT TIME ZONE 'Europe/Berlin' AS x FROM t", "AT TIME ZONE 'UTC'"),
        ("SELECT TRY(a) AS x FROM t", "no counterpart"),
        ("DELETE FROM t", "not one SELECT"),
        ("SELECT 1; SELECT 2", "not one SELECT"),
        ("SELECT FROM", "not one SELECT"),
    ],
)
def test_what_cannot_be_said_is_a_stop(query: str, why: str) -> None:
    with pytest.raises(Stop, match=why):
        to_spark(query, {})


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30))
def test_a_text_in_a_query_stays_what_it_is(text: str) -> None:
    quoted = text.replace("'", "''")
    said = to_spark(f"SELECT '{quoted}' AS x FROM t", {})
    literal = sqlglot.parse_one(said, dialect="spark").selects[0].this
    assert literal.this == text


def test_only_the_engine_s_folders_are_asked_of_spark() -> None:
    assert SparkEngine.is_for_spark("reconcile/version") and SparkEngine.is_for_spark("accrue/target")
    assert not SparkEngine.is_for_spark("ledger/border")
    assert not SparkEngine.is_for_spark("reconcile/prepare/folded_ref")
