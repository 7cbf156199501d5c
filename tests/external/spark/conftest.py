"""A real standalone master with two workers on loopback, and the queries that the tests on DuckDB run, recorded."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.spark_cluster import Cluster
from bench.spark_cluster import cluster as started
from etl.core.engine import Engine
from etl.core.spark import SparkEngine
from tests.external.spark.cases import QueryCase, recorded
from tests.world.conftest import house_of

# A fixture of another folder, for the tests of this one.
__all__ = ["house_of"]

CHECKOUT = Path(__file__).parents[3]
# Where cases by hand and random worlds of Hypothesis are tried on DuckDB, with what they must say.
WORLDS = (
    "tests/reconcile",
    "tests/accrue/test_properties.py",
    "tests/accrue/test_worked_examples.py",
    "tests/accrue/test_contract.py",
    "tests/accrue/test_rule_groups.py",
)
ELSEWHERE = ("tests/reconcile/test_stage.py",)
RECORD_SECONDS = 400


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, subprocess.Popen[str]]]:
    """The folder that the recorded queries go to, and the process that runs the tests they are of."""
    folder = tmp_path_factory.mktemp("recorded")
    seed = "1" if os.environ.get("CI") else str(secrets.randbelow(1 << 31))
    command = [
        sys.executable, "-m", "pytest", "-q", "-n", "2", "-p", "tests.external.spark.recorder",
        f"--hypothesis-seed={seed}", *(f"--ignore={each}" for each in ELSEWHERE), *WORLDS,
    ]  # fmt: skip
    environment = {**os.environ, "TALLYBACK_RECORDED": str(folder)}
    process = subprocess.Popen(
        command, cwd=CHECKOUT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    print(f"recording with --hypothesis-seed={seed}")
    yield folder, process
    if process.poll() is None:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="session")
def loopback(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A standalone master and two workers, with room for a session of these tests and one of a command."""
    with started(tmp_path_factory.mktemp("cluster"), workers=2, cores=2) as running:
        yield running


@pytest.fixture(scope="session")
def spark(loopback: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkEngine]:
    """Spark on that cluster."""
    engine = SparkEngine(
        loopback.settings(partitions=2, cores=2), Engine("1GB", temporary=tmp_path_factory.mktemp("driver"))
    )
    yield engine
    engine.session().stop()


@pytest.fixture(scope="session")
def cases(recording: tuple[Path, subprocess.Popen[str]]) -> dict[str, list[QueryCase]]:
    """All recorded cases, by query, the larger first."""
    folder, process = recording
    said, _ = process.communicate(timeout=RECORD_SECONDS)
    assert process.returncode == 0, said[-3000:]
    return recorded(folder)
