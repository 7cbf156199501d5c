"""spark: the same match on one and on two workers of a loopback cluster of Apache Spark, start-up apart.

Ours is what `tallyback match --engine spark` runs, on two workers of one core each; the peer is the same on one, the
floor what it does on DuckDB with two threads. All must write the same rows. `peak_mb` is that of our own process; what
the Java of the driver and of the workers' executors took is told apart. Each run is a session of its own: its Java is
cold.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq

from bench.generate import matching_world
from bench.match import CLICKS_EACH
from bench.match import ours as on_duckdb
from bench.measure import Case, CaseFailed, interleaved
from bench.result import Result
from bench.spark_cluster import Cluster, NoCluster, cluster
from etl.core.engine import Engine
from etl.core.spark import SparkEngine
from etl.core.spark_session import missing
from etl.match import match_files

TRANSACTIONS = 200_000
PARTITIONS = 8
_MASTER = "master"
_ENGINES: dict[int, SparkEngine] = {}
_PROCESSES = Path("/proc")


def _begun(folder: Path, cores: int) -> None:
    began = time.perf_counter()
    master = Cluster((folder / _MASTER).read_text(encoding="utf-8"))
    engine = SparkEngine(master.settings(PARTITIONS, cores), Engine(temporary=folder / f"driver{cores}"))
    # The first job waits for the executors.
    engine.session().range(1000).count()
    _tell(folder, cores, "startup_seconds", round(time.perf_counter() - began, 1))
    _ENGINES[cores] = engine


def _tell(folder: Path, cores: int, name: str, figure: float) -> None:
    (folder / f"{name}{cores}").write_text(str(figure), encoding="utf-8")


def _told(folder: Path, cores: int, name: str) -> float:
    return float((folder / f"{name}{cores}").read_text(encoding="utf-8"))


def _java_peak_mb(engine: SparkEngine) -> int:
    """Return the largest resident memory of the driver's Java and of its executors, added up."""
    context = engine.session().sparkContext
    driver_url = f"@127.0.0.1:{context.getConf().get('spark.driver.port')}"
    total = 0
    for place in _PROCESSES.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (place / "cmdline").read_text(encoding="utf-8", errors="replace")
            status = dict(
                line.split(":\t", 1)
                for line in (place / "status").read_text(encoding="utf-8").splitlines()
                if ":\t" in line
            )
            is_driver = status.get("PPid") == str(os.getpid()) and "java" in command
            is_executor = "--driver-url" in command and driver_url in command
            if is_driver or is_executor:
                total += int(status["VmHWM"].split()[0]) // 1024
    return total


def ours(folder: Path, cores: int) -> int:
    """Match on so many workers of one core each."""
    files = [folder / f"{name}.parquet" for name in ("click", "transaction", "program")]
    counts = match_files(files[0], files[1], files[2], None, folder / f"spark{cores}", _ENGINES[cores])
    _tell(folder, cores, "java_peak_mb", _java_peak_mb(_ENGINES[cores]))
    return dict(counts)["transactions"]


def run(folder: Path, rows: int | None, repeat: int, told: Callable[[str], None]) -> Result:
    """Return how matching on two workers compares with one, and with DuckDB; CaseFailed if their rows differ."""
    if step := missing("spark://"):
        raise CaseFailed(step)
    transactions = rows or TRANSACTIONS
    matching_world(folder, transactions * CLICKS_EACH, transactions, told)
    cases = [
        Case("two workers", partial(ours, cores=2), partial(_begun, cores=2)),
        Case("one worker", partial(ours, cores=1), partial(_begun, cores=1)),
        Case("DuckDB", on_duckdb),
    ]
    try:
        with cluster(folder / "cluster", workers=2) as running:
            (folder / _MASTER).write_text(running.url, encoding="utf-8")
            timings = interleaved(cases, folder, repeat, told)
    except NoCluster as error:
        raise CaseFailed(str(error)) from error
    for name in ("match", "break"):
        one, two, duckdb = (pq.read_table(folder / place / f"{name}.parquet") for place in ("spark1", "spark2", "ours"))
        if not (one.equals(two) and two.equals(duckdb)):
            raise CaseFailed(f"{name}.parquet differs between one worker, two workers and DuckDB")
    return Result(
        "spark",
        timings["two workers"].rows,
        timings["two workers"],
        timings["DuckDB"],
        {"one worker": timings["one worker"]},
        {
            "clicks": transactions * CLICKS_EACH,
            "rows_equal": "yes",
            "startup_seconds_two_workers": _told(folder, 2, "startup_seconds"),
            "startup_seconds_one_worker": _told(folder, 1, "startup_seconds"),
            "java_peak_mb_two_workers": int(_told(folder, 2, "java_peak_mb")),
            "java_peak_mb_one_worker": int(_told(folder, 1, "java_peak_mb")),
            "times_faster_on_two_workers": round(timings["one worker"].seconds / timings["two workers"].seconds, 2),
        },
    )
