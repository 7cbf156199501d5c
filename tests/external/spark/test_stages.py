"""Reconcile and accrue as a person runs them, on a cluster: a sandbox's warehouse gets the rows that DuckDB gives it.

The world is lived once, up to reconcile; then a copy of its database goes on with Spark, and the first with DuckDB.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pyarrow.parquet as pq
import pytest
import yaml

from bench.generate import matching_world
from bench.spark_cluster import Cluster, connect_server
from etl.core.configuration import SparkSettings
from etl.core.context import StageResult
from etl.core.s3_lake import S3Lake
from etl.core.spark import SparkEngine
from etl.core.warehouse import Warehouse
from etl.installation import clock, credentials_from_environment
from etl.pipeline import Task, run_stage
from sandbox.house import advance
from tests.lake.store import SECRET, keys_of, serving_buckets, values_of
from tests.world.conftest import House

pytestmark = pytest.mark.timeout(1800)
COMMAND_SECONDS = 900
MORNING = "2026-11-20T06:30:00"
# All that both stages write; what a run is called differs, and the hash of an entry holds its run.
TABLES = {
    "ops.transaction_version": (),
    "ops.sale": (),
    "ops.match": (),
    "ops.break": ("opened_run",),
    "ledger.account": (),
    "ledger.journal_entry": ("run_id", "previous_hash", "hash"),
    "ledger.posting": (),
}


@pytest.fixture(scope="module")
def in_a_bucket() -> Iterator[dict[str, str]]:
    """The settings of a lake in a bucket, of a real S3 server on loopback."""
    with serving_buckets() as endpoint:
        yield {
            "TALLYBACK_LAKE": "s3://tallyback/books",
            "TALLYBACK_LAKE_CONNECTION": "lake",
            "TALLYBACK_CONNECTION_LAKE": json.dumps(values_of(endpoint)),
        }


def run(variables: dict[str, str], *words: str) -> str:
    """Run a command of Tallyback's in a process of its own, and return what it says."""
    done = subprocess.run(
        [sys.executable, "-m", "etl.cli", *words],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert SECRET not in said and "X-Amz-Signature" not in said
    return said


def on_spark(house: House, url: str, options: SparkSettings) -> House:
    """Return the same house with a warehouse of its own, configured to use a cluster."""
    folder = house.place.home / "config_spark"
    folder.mkdir()
    for path in sorted((house.place.home / "config").iterdir()):
        (folder / path.name).symlink_to(path)
    # What a command asks of Java is little: it need not be compiled well.
    brief = {f"spark.{role}.extraJavaOptions": "-XX:TieredStopAtLevel=1" for role in ("driver", "executor")}
    chosen = {
        "engine": "spark",
        "master": options.master,
        "driver_memory": options.driver_memory,
        "executor_memory": options.executor_memory,
        "partitions": options.partitions,
        "options": {**options.options, **brief, "spark.pyspark.python": sys.executable},
    }
    (folder / "engine.yaml").write_text(yaml.safe_dump(chosen))
    variables = {
        "TALLYBACK_WAREHOUSE_URL": url,
        "TALLYBACK_CONFIGURATION": str(folder),
        # Of its own, so that no local copy is there that the other made.
        "TALLYBACK_TEMPORARY": str(house.place.home / "temporary_spark"),
    }
    return replace(house, variables={**house.variables, **variables})


@contextmanager
def copied(house: House) -> Iterator[str]:
    """Yield the URL of a copy of a house's warehouse."""
    server, name = house.place.postgres, f"spark_{house.place.name}"
    yield server.create_database(name, template=f"tallyback_{house.place.name}")
    server.drop_database(name)


def rows_of(url: str) -> dict[str, list[tuple[object, ...]]]:
    """Return all rows of TABLES, by table, in an order of their own."""
    found: dict[str, list[tuple[object, ...]]] = {}
    with psycopg.connect(url) as connection:
        for table, apart in TABLES.items():
            schema, name = table.split(".")
            columns = [
                str(row[0])
                for row in connection.execute(
                    "SELECT column_name FROM information_schema.columns WHERE table_schema = %s AND table_name = %s"
                    " ORDER BY ordinal_position",
                    (schema, name),
                )
                if row[0] not in apart
            ]
            found[table] = connection.execute(f"SELECT {', '.join(columns)} FROM {table}").fetchall()
            found[table].sort(key=repr)
    return found


def live_until_reconcile(house: House) -> None:
    """Run what comes before reconcile, late enough that partners have validated."""
    advance(house.place, MORNING)
    configuration = house.installation.configuration
    for stage, key in (
        ("reference", "main"),
        ("rates", "main"),
        *(("clicks", source.name) for source in configuration.click_sources),
        *((stage, each.name) for each in configuration.accounts for stage in ("fetch", "parse", "validate")),
    ):
        house.stage(stage, key)


def assert_same(house: House, url: str, least: int) -> None:
    """Assert that both warehouses hold the same rows, and how many there are at least of what every world has."""
    wanted, given = rows_of(house.variables["TALLYBACK_WAREHOUSE_URL"]), rows_of(url)
    for table in TABLES:
        assert given[table] == wanted[table], table
    assert min(len(wanted[table]) for table in TABLES if table not in ("ops.break", "ledger.account")) >= least


def test_commands_on_a_cluster_fill_a_warehouse_with_the_same_rows_of_a_lake_in_a_bucket(
    house_of: Callable[[str, int], House],
    loopback: Cluster,
    in_a_bucket: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    house = house_of("small", 3)
    house.variables |= in_a_bucket
    for name, value in in_a_bucket.items():
        monkeypatch.setenv(name, value)
    run(house.variables, "lake", "create")
    live_until_reconcile(house)
    with copied(house) as url:
        other = on_spark(house, url, loopback.settings(partitions=2, cores=2))
        for each in (house, other):
            for stage in ("reconcile", "accrue"):
                run(each.variables, stage, "main")
        assert_same(house, url, least=400)
        assert len(rows_of(url)["ops.break"]) > 5
        opened = other.installation
        assert isinstance(opened.engine, SparkEngine)
        assert isinstance(opened.lake, S3Lake)
        assert len(keys_of(opened.lake)) > 5
        # The workers fetched what Spark reads: no copy was made here.
        assert list((opened.settings.temporary / "lake" / "files").glob("*/*")) == []


def test_stages_on_a_cluster_write_the_same_rows_of_a_lake_in_a_folder_and_again_none(
    house_of: Callable[[str, int], House], spark: SparkEngine
) -> None:
    house = house_of("tiny", 5)
    live_until_reconcile(house)
    with copied(house) as url:
        opened = replace(house.installation, engine=spark, warehouse=Warehouse(url))

        def stage(name: str) -> StageResult:
            day, now = clock(opened.settings).date(), clock(opened.settings)
            task, credentials = Task(name, "main", day), credentials_from_environment(house.variables)
            return run_stage(opened, task, run_id="test", known_at=now, actor="robin", credentials=credentials)

        for name in ("reconcile", "accrue"):
            house.stage(name, "main")
            stage(name)
        assert_same(house, url, least=5)
        again = stage("reconcile")
        assert again.count("looked_at") >= 5
        assert [count for name, count in again.counts if name.startswith(("new_", "changed_", "gone_"))] == [0] * 12


def test_match_from_the_shell_writes_the_same_files_on_a_cluster(loopback: Cluster, tmp_path: Path) -> None:
    assert_matched(tmp_path, "--master", loopback.url, "--memory-limit", "1500MB")


def test_match_from_the_shell_writes_the_same_files_through_a_server_of_connect(tmp_path: Path) -> None:
    with connect_server(tmp_path / "server") as address:
        assert_matched(tmp_path, "--master", address)


def assert_matched(folder: Path, *words: str) -> None:
    """Assert that `tallyback match` writes on Spark what it writes on DuckDB, and says the same."""
    matching_world(folder, 5_000, 500, lambda _: None)
    files = [
        word for name in ("click", "transaction", "program") for word in (f"--{name}s", str(folder / f"{name}.parquet"))
    ]
    said = {
        engine: run({"SPARK_LOCAL_IP": "127.0.0.1"}, "match", *files, "--out", str(folder / engine), *chosen)
        for engine, chosen in (("duckdb", ()), ("spark", ("--engine", "spark", *words)))
    }
    for each in said.values():
        assert "500 transactions, 500 sales" in each
    for name in ("match", "break"):
        one, two = (pq.read_table(folder / engine / f"{name}.parquet") for engine in said)
        assert one.num_rows > 10
        assert one.equals(two), name
