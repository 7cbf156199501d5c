"""The SQL of the engine keeps to docs/sql-subset.md, so that DuckDB and Spark can say the same."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
import sqlglot
from sqlglot import exp

from etl.core.engine import SQL_ROOT
from tests.reconcile.worlds import click, delivery, row, told, world

FILES = sorted(SQL_ROOT.glob("reconcile/*.sql"))
BANNED_FUNCTIONS = {
    "avg", "hash", "arg_max", "arg_min", "max_by", "min_by", "regexp_replace", "strftime", "list", "array_agg",
    "epoch_us", "now", "today", "random", "current_date", "url_decode", "try",
}  # fmt: skip
BANNED_NODES: tuple[type[exp.Expression], ...] = (
    exp.Div, exp.IntDiv, exp.Avg, exp.AtTimeZone, exp.TryCast, exp.ArgMax, exp.ArgMin, exp.RegexpReplace, exp.ArrayAgg,
    exp.CurrentDate, exp.CurrentTimestamp, exp.Rand, exp.Insert, exp.Update, exp.Delete, exp.Create,
)  # fmt: skip


def faults(text: str) -> list[str]:
    """Return what in a query is outside the subset."""
    statements = sqlglot.parse(text, read="duckdb")
    if len(statements) != 1 or not isinstance(tree := statements[0], exp.Query):
        return ["is not one SELECT"]
    found = [f"uses {type(node).__name__}" for node in tree.walk() if isinstance(node, BANNED_NODES)]
    found += [
        f"uses {node.sql_name().lower() if not isinstance(node, exp.Anonymous) else node.name.lower()}"
        for node in tree.find_all(exp.Func)
        if (node.name.lower() if isinstance(node, exp.Anonymous) else node.sql_name().lower()) in BANNED_FUNCTIONS
    ]
    found += [
        f"casts to {cast.to.sql()}"
        for cast in tree.find_all(exp.Cast)
        if cast.to.this in (exp.DataType.Type.DOUBLE, exp.DataType.Type.FLOAT, exp.DataType.Type.TIMESTAMPTZ)
    ]
    if any(isinstance(column, exp.Star) or column.is_star for column in tree.selects):
        found.append("selects a star")
    if tree.args.get("order") is None:
        found.append("has no ORDER BY")
    return found


def test_there_are_files_to_check() -> None:
    assert {path.stem for path in FILES} >= {"version", "sale_match", "sale", "match", "break"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_file_keeps_to_the_subset_and_says_what_it_is(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert faults(text) == []
    head = text.partition("WITH")[0].partition("SELECT")[0]
    assert all(f"-- {word}:" in head for word in ("purpose", "grain", "reads", "key"))


@pytest.mark.parametrize(
    "query",
    [
        "SELECT a / b AS c FROM t ORDER BY a",
        "SELECT avg(a) AS c FROM t ORDER BY c",
        "SELECT a AT TIME ZONE 'UTC' AS c FROM t ORDER BY c",
        "SELECT * FROM t ORDER BY a",
        "SELECT a FROM t",
        "SELECT TRY_CAST(a AS INTEGER) AS b FROM t ORDER BY b",
        "SELECT CAST(a AS DOUBLE) AS b FROM t ORDER BY b",
        "SELECT hash(a) AS b FROM t ORDER BY b",
        "SELECT arg_max(a, b) AS c FROM t ORDER BY c",
    ],
)
def test_what_is_outside_the_subset_is_found(query: str) -> None:
    assert faults(query)


def test_no_result_has_a_float_or_an_integer_wider_than_64_bits() -> None:
    result = told(world(delivery("d1", "03-02", row(click_ref="c1")), clicks=[click("c1")])).tables
    for table in (result.sale, result.match, result.breaks):
        for item in table.schema:
            assert not pa.types.is_floating(item.type), item
            assert not (pa.types.is_decimal(item.type) and item.type.scale == 0), item
