"""Spark as it is chosen: settings, what is missing, what is refused. No Java; that it runs: tests/external/spark."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from etl.cli.app import app
from etl.cli.stages import EngineName
from etl.cli.stages import chosen_engine as chosen
from etl.core import spark_session
from etl.core.configuration import SparkSettings, load, problems
from etl.core.engine import Derived, Engine, register
from etl.core.errors import Stop
from etl.core.spark import SparkEngine
from etl.core.spark_session import missing

ENTITY = "name: main\nbase_currency: EUR\nbooks_zone: Europe/Berlin\n"


def configured(folder: Path, text: str | None) -> Path:
    (folder / "entity.yaml").write_text(ENTITY)
    if text is not None:
        (folder / "engine.yaml").write_text(text)
    return folder


def test_the_engine_is_duckdb_unless_a_file_says_spark(tmp_path: Path) -> None:
    assert load(configured(tmp_path, None)).spark is None
    assert load(configured(tmp_path, "engine: duckdb\nmaster: yarn\n")).spark is None
    told = "engine: spark\nmaster: spark://h:7077\ndriver_memory: 4g\npartitions: 64\noptions: {spark.cores.max: '8'}\n"
    assert load(configured(tmp_path, told)).spark == SparkSettings(
        "spark://h:7077", "4g", "2g", 64, {"spark.cores.max": "8"}
    )


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("master: yarn", "engine"),
        ("engine: flink", "flink"),
        ("engine: spark\nmaster: h:7077", "master"),
        ("engine: spark\ndriver_memory: 2GB", "driver_memory"),
        ("engine: spark\npartitions: 0", "partitions"),
        ("engine: spark\noptions: {cores: '8'}", "options"),
        ("engine: spark\nname: x", "name"),
    ],
)
def test_what_is_wrong_in_it_is_named(tmp_path: Path, text: str, named: str) -> None:
    (found,) = problems(configured(tmp_path, text))
    assert "engine.yaml" in found and named in found


@pytest.mark.parametrize(
    "master", ["local", "local[*]", "local[2]", "spark://h:1", "sc://h", "k8s://https://h:443", "yarn"]
)
def test_masters_that_spark_knows_are_taken(master: str) -> None:
    assert SparkEngine(SparkSettings(master), Engine()).settings.master == master


@pytest.mark.parametrize("master", ["", "h:7077", "http://h", "local[]", "spark://"])
def test_another_master_is_refused_before_anything_starts(master: str) -> None:
    with pytest.raises(Stop, match="no master of Spark"):
        SparkEngine(SparkSettings(master), Engine())


def test_what_is_missing_is_said_with_the_next_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spark_session.importlib.util, "find_spec", lambda _: None)
    assert "tallyback[spark]" in missing("yarn")
    monkeypatch.setattr(spark_session.importlib.util, "find_spec", lambda _: object())
    monkeypatch.setattr(spark_session, "java_version", lambda: None)
    assert "no Java" in missing("local[*]")
    assert missing("sc://host") == ""
    monkeypatch.setattr(spark_session, "java_version", lambda: 11)
    assert "Java is 11" in missing("spark://h:1")
    monkeypatch.setattr(spark_session, "java_version", lambda: 17)
    assert missing("spark://h:1") == ""


@pytest.mark.parametrize(
    ("told", "version"),
    [('openjdk version "17.0.15" 2025-04-15', 17), ('java version "1.8.0_292"', 8), ("no such thing", None)],
)
def test_java_is_asked_which_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str, version: int | None
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "java").write_text(f"#!/bin/sh\necho '{told}' >&2\n")
    (tmp_path / "bin" / "java").chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert spark_session.java_version() == version
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "nowhere"))
    assert spark_session.java_version() is None


def test_what_stays_with_an_engine_is_not_read_by_another() -> None:
    derived = Derived("reconcile/click", object(), pa.schema([("click_id", pa.string())]))
    with Engine().connect() as connection, pytest.raises(TypeError, match="another engine"):
        register(connection, "click", derived)


def test_all_but_reconcile_and_accrue_runs_here_and_starts_no_spark() -> None:
    engine = SparkEngine(SparkSettings("spark://nowhere:1"), Engine())
    rows = engine.run(
        "reconcile/prepare/folded_ref",
        {
            "grouped_sale": pa.table({"sale_id": ["s"], "click_ref": ["A%2Bb "]}),
            "exact_click": pa.table({"click_id": pa.array([], pa.string())}),
        },
    )
    assert rows["ref_folded"].to_pylist() == ["a+b"]
    engine.release()


def test_options_may_hold_a_secret_and_are_not_shown() -> None:
    assert "hidden" not in repr(SparkSettings(options={"spark.hadoop.fs.s3a.secret.key": "hidden"}))


def test_the_command_line_chooses_it_and_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("clicks", "transactions", "programs"):
        (tmp_path / name).touch()
    monkeypatch.setattr(spark_session, "missing", lambda _: "PySpark is not installed")
    named = [word for name in ("clicks", "transactions", "programs") for word in (f"--{name}", str(tmp_path / name))]
    command = ["match", *named, "--out", str(tmp_path / "out")]
    with pytest.raises(Stop, match="add --engine spark"):
        chosen(EngineName.DUCKDB, "local[1]", "2GB")
    engine = chosen(EngineName.SPARK, None, "1500 MiB")
    assert isinstance(engine, SparkEngine)
    assert engine.settings == SparkSettings("local[*]", "1500m", "1500m")
    with pytest.raises(Stop, match="PySpark is not installed"):
        engine.session()
    refused = CliRunner().invoke(app, [*command, "--engine", "flink"])
    assert refused.exit_code == 2
