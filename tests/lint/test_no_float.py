"""Money never passes through a float: not in our Python, a result of our SQL, or a column of the warehouse."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeGuard

import duckdb
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from etl.core.alias import MOVED_KEY
from etl.core.engine import SQL_ROOT, Engine, Relation
from etl.core.schemas import CLICK, PROGRAM, TRANSACTION
from etl.match import SALE_LINK, match_files, run_step
from etl.reconcile import reconcile
from etl.shortfall import shortfall
from etl.verify import verify
from tests.kill.life import DAY, FACTS, STAGES, Life, small_world
from tests.parse.answers import (
    cj_answer,
    cj_row,
    kelkoo_answer,
    kelkoo_row,
    parsed,
    tradetracker_answer,
    tradetracker_row,
)
from tests.reconcile.worlds import click, program, row

CHECKOUT = Path(__file__).parents[2]
PACKAGES = ("etl", "connectors", "dags")
# Where a float is no money, and what it is.
NO_MONEY = {
    "connectors/transport": "seconds to wait",
    "connectors/partners/awin.py": "seconds to wait",
    "etl/breaks.py": "hours before a sale, shown to a person beside a candidate",
    "etl/core/bucket.py": "seconds to wait",
    "etl/core/embedded.py": "seconds to wait",
    "etl/core/duckdb_process.py": "a setting of DuckDB may be one",
    "etl/core/lake_cache.py": "how much of a full cache is kept",
    "etl/core/unprivileged.py": "seconds to wait",
    "etl/doctor.py": "bytes of a disk, shown in gigabytes",
}
FLOATS = {"float", "float16", "float32", "float64", "double", "Float", "Double", "FLOAT", "DOUBLE"}
INEXACT = {"DOUBLE", "FLOAT", "HUGEINT", "UHUGEINT"}


def floats_in(source: str) -> Iterator[str]:
    """Yield what in a module is, or makes, a float: a literal, the type, a division of numbers."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, float | complex):
            yield f"line {node.lineno}: {node.value}"
        elif _names_a_float(node) or (
            isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and _is_of_numbers(node)
        ):
            yield f"line {node.lineno}: {ast.unparse(node)}"


def _names_a_float(node: ast.AST) -> TypeGuard[ast.expr]:
    return (isinstance(node, ast.Name) and node.id in FLOATS) or (
        isinstance(node, ast.Attribute) and node.attr in FLOATS
    )


def _is_of_numbers(division: ast.BinOp) -> bool:
    """Return whether what is divided is a number for sure; a path is divided by texts and names."""
    for side in (division.left, division.right):
        if isinstance(side, ast.Constant) and isinstance(side.value, int):
            return True
        if (
            isinstance(side, ast.Call)
            and isinstance(side.func, ast.Name)
            and side.func.id in ("int", "len", "sum", "abs")
        ):
            return True
        if isinstance(side, ast.Call) and isinstance(side.func, ast.Attribute) and side.func.attr == "total_seconds":
            return True
    return False


def test_no_module_that_money_passes_through_knows_a_float() -> None:
    found, seen = {}, set()
    paths = [path for package in PACKAGES for path in sorted((CHECKOUT / package).rglob("*.py"))]
    assert len(paths) > 60
    for path in paths:
        name = path.relative_to(CHECKOUT).as_posix()
        told = list(floats_in(path.read_text()))
        excused = [place for place in NO_MONEY if name == place or name.startswith(f"{place}/")]
        seen.update(excused if told else ())
        if told and not excused:
            found[name] = told
    assert found == {}
    # An exemption that nothing needs would excuse the next float unseen.
    assert seen == NO_MONEY.keys()


@pytest.mark.parametrize(
    "source", ["x = 1.5", "def f(amount: float): ...", "pa.float64()", "total / 100", "len(rows) / n", "float(text)"]
)
def test_a_float_is_found(source: str) -> None:
    assert list(floats_in(source))


def test_a_path_and_a_quotient_of_decimals_are_none() -> None:
    assert list(floats_in("folder / 'name'\nbase_to_target / base_to_source\n7 // 2")) == []


class Watched:
    """A connection that writes down which columns of its queries are inexact."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, seen: dict[str, list[str]]) -> None:
        self._connection, self._seen = connection, seen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def __enter__(self) -> Watched:
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.close()

    def sql(self, query: str | duckdb.Statement, *arguments: Any, **named: Any) -> duckdb.DuckDBPyRelation:
        found = self._connection.sql(query, *arguments, **named)
        kinds = zip(found.columns, map(str, found.types), strict=True)
        self._seen[_said(query)] = [f"{column} {kind}" for column, kind in kinds if _is_inexact(kind)]
        return found

    def execute(self, query: str | duckdb.Statement, parameters: Any = None) -> duckdb.DuckDBPyConnection:
        # A small query, and one whose result is kept, has no relation that would tell its columns: it is made one, and
        # not run.
        if isinstance(query, duckdb.Statement) and query.type == duckdb.StatementType.SELECT:
            self.sql(query, params=parameters)
        elif isinstance(query, str) and query.startswith("CREATE TABLE derived_"):
            self.sql(query.partition(" AS ")[2], params=parameters)
        return self._connection.execute(query, parameters)


class WatchedInstance:
    """An instance of DuckDB whose connections are watched."""

    def __init__(self, instance: duckdb.DuckDBPyConnection, seen: dict[str, list[str]]) -> None:
        self._instance, self._seen = instance, seen

    def cursor(self) -> Watched:
        return Watched(self._instance.cursor(), self._seen)


def _said(query: str | duckdb.Statement) -> str:
    """Return what a query says, without the comment before it and its order: what is kept has none."""
    text = query.query if isinstance(query, duckdb.Statement) else query
    return re.sub(r"\A(--[^\n]*\n)+|\nORDER BY [^\n]*\s*\Z", "", text).strip()


def test_no_query_of_the_engine_has_an_inexact_column(
    warehouse_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, list[str]] = {}
    instance = Engine.instance
    monkeypatch.setattr(Engine, "instance", lambda engine, given: WatchedInstance(instance(engine, given), seen))
    (tmp_path / "home").mkdir()
    life = Life(warehouse_url, tmp_path / "home", small_world())
    for name, stage in STAGES.items():
        stage(life)
        if name == "reference":
            _term(warehouse_url)
    shortfall(life.context, DAY)
    _narrow(life)
    assert [check for check in verify(life.context, DAY) if not check.is_ok] == []
    parsed("tradetracker", tmp_path, tradetracker_answer(tradetracker_row()))
    parsed("kelkoo", tmp_path, kelkoo_answer(kelkoo_row()))
    parsed("cj", tmp_path, cj_answer(cj_row()))
    _match_alone(tmp_path)
    assert {query: columns for query, columns in seen.items() if columns} == {}
    queries = {
        path.relative_to(SQL_ROOT).with_suffix("").as_posix(): path.read_text()
        for folder in ("accrue", "ledger", "parse", "reconcile", "validate")
        for path in (SQL_ROOT / folder).rglob("*.sql")
    }
    unseen = {name for name, text in queries.items() if _said(text) not in seen}
    # The journal's own; what closing asks of it besides is not part of this life.
    journal = ("new_account", "lane_account", "unsound_lane", "border", "numbering")
    proof = ("unsound_posting", "stored_entry", "stored_posting")
    assert {f"ledger/{name}" for name in (*journal, *proof)} <= set(queries) - unseen
    assert {name for name in unseen if not name.startswith("ledger/")} == {"parse/macros"}


def _is_inexact(kind: str) -> bool:
    return not INEXACT.isdisjoint(re.findall("[A-Z]+", kind.upper()))


def _narrow(life: Life) -> None:
    """Reconcile once more as if all were new to a house that looks at what is new alone."""
    for _ in range(2):
        reconcile(life.context, DAY, FACTS, narrow_from=1)
        with psycopg.connect(life.context.warehouse.url) as connection:
            connection.execute("DELETE FROM ops.reconciled_input")
    rare: dict[str, dict[str, Relation]] = {
        "prepare/every_link": {"sale_link": SALE_LINK.empty_table()},
        "prepare/moved_row_key": {"transaction_row": TRANSACTION.empty_table(), "moved_key": MOVED_KEY.empty_table()},
        "click": {"tracked_click": CLICK.empty_table()},
    }
    for name, relations in rare.items():
        run_step(life.context.engine, name, relations, {})


def _term(url: str) -> None:
    """Give a program a contract, which the life has none of."""
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO ref.contract_term (term_id, program_id, basis, value, currency, valid_from)"
            " VALUES ('c1', 'p1', 'rate', 0.1, 'EUR', '2026-01-01')"
        )


def _match_alone(folder: Path) -> None:
    """Run what matches files without a warehouse."""
    tables = {
        "click": pa.Table.from_pylist([click("c1")], schema=CLICK),
        "transaction": pa.Table.from_pylist([row(click_ref="c1") | {"delivery_id": "d"}], schema=TRANSACTION),
        "program": pa.Table.from_pylist([program()], schema=PROGRAM),
    }
    for name, table in tables.items():
        pq.write_table(table, folder / f"{name}.parquet")
    paths = [folder / f"{name}.parquet" for name in tables]
    match_files(paths[0], paths[1], paths[2], None, folder / "out", Engine())


def test_an_inexact_column_is_found() -> None:
    with duckdb.connect() as connection:
        kinds = connection.sql("SELECT 1::DOUBLE AS a, sum(1::BIGINT) AS b, [0.5::FLOAT] AS c, 1::DECIMAL(18, 4)").types
    assert [_is_inexact(str(kind)) for kind in kinds] == [True, True, True, False]


def test_no_column_of_the_warehouse_is_inexact(warehouse_url: str) -> None:
    query = (
        "SELECT table_schema, table_name, column_name, data_type FROM information_schema.columns"
        " WHERE table_schema IN ('ref', 'ops', 'ledger', 'payout', 'pii', 'mart')"
    )
    with psycopg.connect(warehouse_url) as connection:
        columns = connection.execute(query).fetchall()
    assert len(columns) > 200
    assert [told for told in columns if told[3] in ("real", "double precision", "money")] == []
