"""match: transactions find their clicks by all rules, with breaks, as ordered Parquet.

Ours is `etl.match.match_files`, what `tallyback match` runs. The floor is one bare DuckDB left join of the two files on
the click reference, written as ordered Parquet. Peers do much less than ours: the exact reference, then the last click
of the program before the sale for the rest (pandas: merge and merge_asof; polars: join and join_asof; PostgreSQL: one
query over tables that were loaded and indexed beforehand), written ordered.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from bench.generate import matching_world
from bench.match_postgres import loaded, with_postgres
from bench.measure import Case, interleaved
from bench.result import Result

TRANSACTIONS = 2_000_000
CLICKS_EACH = 10
MEMORY = "1700MB"
"""Of the engine. The process takes 0.2 GB beside it, and is to stay under 2 GB."""
_KEY = ["partner", "partner_account", "transaction_id", "line_id"]


def ready(_: Path) -> None:
    """Import what `ours` needs."""
    importlib.import_module("etl.match")


def ours(folder: Path, memory: str = MEMORY) -> int:
    """Match by all rules."""
    from etl.core.engine import Engine
    from etl.match import match_files

    counts = match_files(
        folder / "click.parquet",
        folder / "transaction.parquet",
        folder / "program.parquet",
        None,
        folder / "ours",
        Engine(memory, temporary=folder / "ours" / "spill"),
    )
    return dict(counts)["transactions"]


def bare_join(folder: Path, memory: str = MEMORY) -> int:
    """Join the two files on the click reference, and nothing else."""
    out = folder / "floor.parquet"
    with duckdb.connect(
        config={"memory_limit": memory, "threads": 2, "temp_directory": str(folder / "spill")}
    ) as engine:
        engine.execute("SET enable_progress_bar = false")
        engine.execute(f"""
            COPY (
                SELECT t.partner, t.partner_account, t.transaction_id, t.line_id, c.click_id, c.member_id, c.clicked_at
                FROM '{folder / "transaction.parquet"}' AS t
                LEFT JOIN '{folder / "click.parquet"}' AS c ON c.click_id = t.click_ref
                ORDER BY t.partner, t.partner_account, t.transaction_id, t.line_id
            ) TO '{out}' (FORMAT parquet, COMPRESSION zstd)
        """)
    return int(pq.ParquetFile(out).metadata.num_rows)


def _pandas_ready(_: Path) -> None:
    importlib.import_module("pandas")


def with_pandas(folder: Path) -> int:
    """Merge on the reference, then merge_asof the rest."""
    import pandas as pd

    program = pd.read_parquet(folder / "program.parquet", columns=["partner", "partner_program_id", "program_id"])
    click = pd.read_parquet(folder / "click.parquet")
    columns = [*_KEY, "partner_program_id", "click_ref", "occurred_at"]
    transaction = pd.read_parquet(folder / "transaction.parquet", columns=columns)
    transaction = transaction.merge(program, on=["partner", "partner_program_id"], how="left")
    exact = transaction.merge(click, left_on="click_ref", right_on="click_id", how="left", suffixes=("", "_click"))
    rest = exact[exact["click_id"].isna()][[*_KEY, "program_id", "occurred_at"]].sort_values("occurred_at")
    last = pd.merge_asof(
        rest,
        click[["program_id", "click_id", "member_id", "clicked_at"]].sort_values("clicked_at"),
        left_on="occurred_at",
        right_on="clicked_at",
        by="program_id",
        tolerance=pd.Timedelta(days=30),
    )
    found = pd.concat([exact[exact["click_id"].notna()], last])[[*_KEY, "click_id", "member_id", "clicked_at"]]
    found.sort_values(_KEY).to_parquet(folder / "pandas.parquet", compression="zstd")
    return len(found)


def _polars_ready(_: Path) -> None:
    importlib.import_module("polars")


def with_polars(folder: Path) -> int:
    """Join on the reference, then join_asof the rest."""
    import polars as pl

    program = pl.scan_parquet(folder / "program.parquet").select("partner", "partner_program_id", "program_id")
    click = pl.scan_parquet(folder / "click.parquet").select("click_id", "program_id", "member_id", "clicked_at")
    transaction = (
        pl.scan_parquet(folder / "transaction.parquet")
        .select(*_KEY, "partner_program_id", "click_ref", "occurred_at")
        .join(program, on=["partner", "partner_program_id"], how="left")
    )
    named = click.select(pl.col("click_id").alias("click_ref"), "click_id", "member_id", "clicked_at")
    exact = transaction.join(named, on="click_ref", how="left").collect()
    rest = exact.filter(pl.col("click_id").is_null()).select(*_KEY, "program_id", "occurred_at").sort("occurred_at")
    last = rest.join_asof(
        click.collect().sort("clicked_at").with_columns(pl.col("clicked_at").alias("at")),
        left_on="occurred_at",
        right_on="at",
        by="program_id",
        tolerance="30d",
    )
    kept = [*_KEY, "click_id", "member_id", "clicked_at"]
    found = pl.concat([exact.filter(pl.col("click_id").is_not_null()).select(kept), last.select(kept)])
    found.sort(_KEY).write_parquet(folder / "polars.parquet", compression="zstd")
    return found.height


def run_ours(folder: Path, rows: int | None, repeat: int, told: Callable[[str], None]) -> Result:
    """Return how matching compares with a bare join alone."""
    transactions = rows or TRANSACTIONS
    matching_world(folder, transactions * CLICKS_EACH, transactions, told)
    timings = interleaved([Case("ours", ours, ready), Case("bare join", bare_join)], folder, repeat, told)
    return Result("match", timings["ours"].rows, timings["ours"], timings["bare join"])


def run(folder: Path, rows: int | None, repeat: int, told: Callable[[str], None]) -> Result:
    """Return how matching compares with a bare join and with the peers on the same files."""
    transactions = rows or TRANSACTIONS
    matching_world(folder, transactions * CLICKS_EACH, transactions, told)
    cases = [
        Case("ours", ours, ready),
        Case("bare join", bare_join),
        Case("pandas", with_pandas, _pandas_ready),
        Case("polars", with_polars, _polars_ready),
        Case("postgresql", with_postgres),
    ]
    with loaded(folder) as load_seconds:
        timings = interleaved(cases, folder, repeat, told)
    peers = {name: timings[name] for name in ("pandas", "polars", "postgresql")}
    slower = {f"times_faster_than_{name}": round(peers[name].seconds / timings["ours"].seconds, 1) for name in peers}
    memory = {f"peak_mb_of_{name}": timings[name].peak_mb for name in ("pandas", "polars")}
    return Result(
        "match",
        timings["ours"].rows,
        timings["ours"],
        timings["bare join"],
        peers,
        {
            "clicks": transactions * CLICKS_EACH,
            **slower,
            **memory,
            # The time of the peer in PostgreSQL is that of the query alone.
            "postgresql_load_seconds": round(load_seconds, 1),
        },
    )
