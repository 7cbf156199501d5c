"""The engine: one instance a process, in which no run sees what another left."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from etl.core.engine import SMALL_ROWS_MAX, Derived, Engine, _answer, query_text, register
from etl.core.schemas import CLICK
from etl.core.target import POSTED


def test_a_connection_sees_nothing_of_another(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [5]}), tmp_path / "five.parquet")
    engine = Engine()
    with engine.connect() as first, engine.connect() as second:
        register(first, "table_given", pa.table({"x": [1]}))
        register(first, "file_given", tmp_path / "five.parquet")
        first.execute("CREATE TEMP TABLE kept AS SELECT 1 AS x")
        first.execute(query_text("parse/macros"))
        assert len(first.sql("SELECT money('1.50') FROM file_given").fetchall()) == 1
        for query in ("FROM table_given", "FROM file_given", "FROM kept", "SELECT money('1.50')"):
            with pytest.raises(duckdb.CatalogException):
                second.sql(query)


def test_runs_leave_nothing_behind() -> None:
    engine = Engine()
    flat = pa.table({"x": [1]})
    with engine.connect() as connection:
        register(connection, "flat", flat)
        connection.execute(query_text("parse/macros"))
    with engine.connect() as connection:
        left = connection.sql(
            "SELECT view_name FROM duckdb_views() WHERE NOT internal"
            " UNION ALL SELECT function_name FROM duckdb_functions() WHERE NOT internal"
            " UNION ALL SELECT table_name FROM duckdb_tables()"
        ).fetchall()
    assert left == []


def test_threads_do_not_meet() -> None:
    engine = Engine()

    def read(number: int) -> bool:
        with engine.connect() as connection:
            connection.execute(query_text("parse/macros"))
            register(connection, "given", pa.table({"x": [number]}))
            return connection.sql("SELECT x FROM given").fetchall() == [(number,)]

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(read, range(40)))


@pytest.mark.parametrize("row_count", [0, 3])
def test_a_small_query_and_a_large_one_give_the_same(row_count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        {field.name: str(n) for field in POSTED}
        | {"amount": 7 * (n + 1), "effective_for": date(2026, 3, n + 1), "rate": Decimal(n)}
        for n in range(row_count)
    ]
    columns = [pa.array([row[field.name] for row in rows]).cast(field.type) for field in POSTED]
    wanted = pa.table(columns, schema=POSTED)
    small = Engine().run("accrue/difference", {"target": wanted, "posted": POSTED.empty_table()})
    monkeypatch.setattr("etl.core.engine.SMALL_ROWS_MAX", -1)
    large = Engine().run("accrue/difference", {"target": wanted, "posted": POSTED.empty_table()})
    assert small.num_rows == row_count
    assert small.schema.equals(large.schema, check_metadata=True) and small.equals(large)


def test_parameters_are_those_of_each_run_though_the_statement_is_read_once() -> None:
    with Engine().connect() as connection:
        register(connection, "given", pa.table({"x": [1, 2]}))
        said = [_answer(connection, "SELECT x + $more AS y FROM given ORDER BY y", {"more": n}, is_small=is_small)
                for n in (1, 2) for is_small in (True, False)]  # fmt: skip
    assert [each["y"].to_pylist() for each in said] == [[2, 3], [2, 3], [3, 4], [3, 4]]


def test_the_memory_limit_and_the_place_to_spill_are_the_engines_own(tmp_path: Path) -> None:
    for limit in ("300MB", "1GB"):
        with Engine(limit, temporary=tmp_path / limit).connect() as connection:
            told = connection.sql(
                "SELECT current_setting('memory_limit'), current_setting('temp_directory')"
            ).fetchall()[0]
        assert told[1] == str(tmp_path / limit)
        assert told[0].startswith("286" if limit == "300MB" else "953")


def test_a_fork_has_instances_of_its_own_and_ends_none_of_its_parents() -> None:
    """To end an instance whose threads did not come along crashes: neither a fifth one nor the end may do it."""
    script = """
import os, sys
from etl.core.duckdb_process import INSTANCES_MAX
from etl.core.engine import Engine

def work(limit):
    with Engine(f"{300 + limit}MB").connect() as connection:
        return connection.sql("SELECT sum(x)::BIGINT FROM range(1000000) AS t (x)").fetchall()

for limit in range(INSTANCES_MAX):
    work(limit)
child = os.fork()
if child == 0:
    assert all(work(limit) == [(499999500000,)] for limit in range(2 * INSTANCES_MAX))
    sys.exit(0)
sys.exit(os.waitpid(child, 0)[1])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_what_is_derived_stays_with_the_engine_in_no_order_and_is_handed_out_in_its_querys() -> None:
    engine = Engine(threads=1)
    count = 2 * SMALL_ROWS_MAX
    ids = [f"c{number:06}" for number in reversed(range(count))]
    click = pa.table([ids, ids, ids, ids, pa.nulls(count, pa.timestamp("us"))], names=CLICK.names)
    derived = engine.derive("reconcile/click", {"tracked_click": pa.concat_tables([click, click])})
    assert isinstance(derived, Derived)
    assert engine.count(derived) == count
    again = engine.derive("reconcile/click", {"tracked_click": derived})
    schema = pa.schema([CLICK.field("click_id"), CLICK.field("member_id")])
    batches = list(engine.batches(again, schema))
    assert all(batch.schema.equals(schema) for batch in batches)
    assert pa.Table.from_batches(batches)["click_id"].to_pylist() == ids[::-1]
    assert engine.table(derived).equals(engine.run("reconcile/click", {"tracked_click": click}))

    def kept() -> list[tuple[str]]:
        with engine.connect() as connection:
            return connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()

    before = len(kept())
    del derived, again
    assert len(kept()) == before - 2
    ended = engine.derive("reconcile/click", {"tracked_click": click})
    for _ in range(2):
        engine.end(ended)
    assert len(kept()) == before - 2
    few = engine.derive("reconcile/click", {"tracked_click": click.slice(0, 10)})
    engine.end(few)
    assert isinstance(few, pa.Table)
    assert sum(batch.num_rows for batch in engine.batches(few, schema)) == 10


@pytest.mark.parametrize("count", [3, 2 * SMALL_ROWS_MAX])
def test_only_rows_that_differ_are_handed_out_wherever_they_are(count: int) -> None:
    engine = Engine(threads=1)
    ids = [f"c{number:06}" for number in range(count)]
    click = pa.table([ids, ids, ids, ids, pa.nulls(count, pa.timestamp("us"))], names=CLICK.names)
    computed = engine.derive("reconcile/click", {"tracked_click": click})
    assert isinstance(computed, pa.Table if count == 3 else Derived)
    schema = pa.schema([("click_id", pa.string()), ("clicked_at", pa.timestamp("us"))])
    # Nulls are alike, and what stands there in another order is there.
    stored = pa.table([[*ids[:0:-1], "gone"], pa.nulls(count, pa.timestamp("us"))], schema=schema)
    fresh, gone = engine.differing(computed, stored, schema)
    assert fresh.schema.equals(schema) and gone.schema.equals(schema)
    assert (fresh["click_id"].to_pylist(), gone["click_id"].to_pylist()) == (ids[:1], ["gone"])


def test_a_query_that_is_not_put_in_order_gives_the_rows_as_they_lay() -> None:
    numbers = [number * 7 % 1_009 for number in range(1_009)]
    texts = {"day": "2026-09-01", "revenue": "1.50", "custom1": "c", "media_type": "text/xml;country=fr;currency=EUR"}
    flat = pa.table(
        {name: [text] * len(numbers) for name, text in (texts | {"delivery_id": "d"}).items()}
        | {"row_number": pa.array(numbers, pa.int64()), "flatten_error": pa.nulls(len(numbers), pa.string())}
    )
    parameters = {"partner": "kelkoo", "partner_account": "k", "zone": "Europe/Paris"}
    ordered = Engine().run("parse/kelkoo", {"flat": flat}, parameters)
    found = Engine().run("parse/kelkoo", {"flat": flat}, parameters, is_ordered=False)
    assert ordered["row_number"].to_pylist() == sorted(numbers)
    assert found["row_number"].to_pylist() == numbers
    assert found.sort_by("row_number").equals(ordered)
