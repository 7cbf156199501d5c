"""pipeline: deliveries of a year become posted books, through all stages, from bytes to ledger.

Ours lands, parses, validates, reconciles, remits and accrues what four partners deliver in four dialects: a file for
each of 400 days, or windows of 25 days, in pages where the partner has pages; one row in a thousand is a reject. Clicks
(ten a sale), programs, rules and rates are there before. The floor is a bare COPY of all rows that the stages wrote for
transactions (versions, sales, matches, breaks, journal entries, postings), as prepared bytes into tables without keys.
`again` is the same run once more, with nothing new.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import psycopg

from bench.measure import Case, Timing, better, once
from bench.result import Result
from bench.world import TABLES, House, answers_about, first_load, keep_waiting, postgres_memory, run_day

ROWS = 1_000_000
LOAD = "load"
MODULES = ("etl.parse", "etl.validate", "etl.reconcile", "etl.remit", "etl.accrue", "etl.remittances", "etl.opening")


def ready(_: Path) -> None:
    """Import what the stages import when they run first, Great Expectations among it."""
    import importlib

    for name in MODULES:
        importlib.import_module(name)
    from etl.core.expectations import _great_expectations  # Its set-up costs seconds once a process.

    _great_expectations()


def _fresh(folder: Path) -> None:
    ready(folder)
    House(folder).refresh()


def measured(folder: Path, name: str, told_as: str) -> int:
    """Run the stages over the answers of that name and return how many rows were delivered.

    What they took and counted is written to `<told_as>.json`.
    """
    house = House(folder)
    with postgres_memory(house.server) as peak:
        counts = run_day(house, name)
    counts["postgres_peak_mb"] = peak[0]
    (folder / f"{told_as}.json").write_text(json.dumps(counts), encoding="utf-8")
    return int(counts["parse_rows"])


def ours(folder: Path) -> int:
    """Run all stages over all deliveries."""
    return measured(folder, LOAD, "ours")


def again(folder: Path) -> int:
    """Run all stages over the same deliveries once more."""
    return measured(folder, LOAD, "again")


def keep_rows(folder: Path) -> None:
    """Keep what the stages wrote as bytes for COPY, and make tables without keys for them."""
    with psycopg.connect(House(folder).url) as connection:
        for table in TABLES:
            with (
                (folder / f"{table}.copy").open("wb") as out,
                connection.cursor() as cursor,
                cursor.copy(f"COPY {table} TO STDOUT (FORMAT binary)") as copy,
            ):
                for piece in copy:
                    out.write(piece)


def _bare_tables(folder: Path) -> None:
    with psycopg.connect(House(folder).url) as connection:
        connection.execute("DROP SCHEMA IF EXISTS bare CASCADE")
        connection.execute("CREATE SCHEMA bare")
        for table in TABLES:
            connection.execute(f"CREATE TABLE bare.{table.split('.')[1]} (LIKE {table})")


def bare_copy(folder: Path) -> int:
    """Copy all those rows into tables without keys."""
    with psycopg.connect(House(folder).url) as connection, connection.cursor() as cursor:
        for table in TABLES:
            with (
                (folder / f"{table}.copy").open("rb") as source,
                cursor.copy(f"COPY bare.{table.split('.')[1]} FROM STDIN (FORMAT binary)") as copy,
            ):
                while piece := source.read(1 << 20):
                    copy.write(piece)
    return 0


def run(folder: Path, rows: int | None, repeat: int, told: Callable[[str], None]) -> Result:
    """Return how long all stages take for `rows` delivered rows, and again when nothing is new."""
    answers = answers_about(rows or ROWS)
    told(f"{answers} are generated")
    keep_waiting(folder, LOAD, answers.days, first_load(answers, folder / "answers"))
    house = House(folder)
    best: dict[str, Timing] = {}
    notes: dict[str, float | int | str] = {}
    cases = [Case("ours", ours, _fresh), Case("again", again, ready), Case("bare COPY", bare_copy, _bare_tables)]
    try:
        house.build(answers)
        for number in range(1, repeat + 1):
            for case in cases:
                if case.work is bare_copy and number == 1:
                    keep_rows(folder)
                timing = once(case, folder)
                told(f"round {number} of {repeat}: {case.name} {timing.seconds:.2f} s, {timing.peak_mb} MB")
                known = best.get(case.name)
                if case.work is ours and (known is None or timing.seconds < known.seconds):
                    notes = _told_of(folder, house)
                best[case.name] = timing if known is None else better(known, timing)
        notes |= {f"again_{name}": value for name, value in _seconds(folder / "again.json").items()}
    finally:
        house.server.remove()
    notes["again_seconds"] = round(best["again"].seconds, 2)
    notes["again_share"] = round(best["again"].seconds / best["ours"].seconds, 3)
    return Result("pipeline", best["ours"].rows, best["ours"], best["bare COPY"], notes=notes)


def _seconds(path: Path) -> dict[str, float]:
    told = json.loads(path.read_text(encoding="utf-8"))
    return {name: value for name, value in told.items() if name.endswith("_seconds")}


def _told_of(folder: Path, house: House) -> dict[str, float | int | str]:
    counts = json.loads((folder / "ours.json").read_text(encoding="utf-8"))
    with psycopg.connect(house.url) as connection:
        size = connection.execute("SELECT pg_database_size(current_database()) / 1048576").fetchone()
    postings = int(counts["accrue_postings"])
    return {
        **_seconds(folder / "ours.json"),
        **{name: count for name, count in counts.items() if name.startswith("peak_mb_until_")},
        "deliveries": counts["land_new_deliveries"],
        "landed_mb": counts["land_bytes"] // 2**20,
        "rejects": counts["parse_rejects"] + counts["validate_rejects"],
        "sales": counts["reconcile_sales"],
        "open_breaks": counts["reconcile_open_breaks"],
        "postings": postings,
        "postings_a_row": round(postings / max(counts["parse_rows"], 1), 2),
        "postgres_peak_mb": counts["postgres_peak_mb"],
        "warehouse_mb": int(str(size[0])) if size else 0,
    }
