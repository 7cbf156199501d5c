"""The session with Apache Spark: what it needs, how it is set, and what is said where it cannot be had."""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, cast

from etl.core.configuration import SparkSettings
from etl.core.errors import Retry, Stop

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

JAVA_MIN = 17
MASTERS = "local[N], spark://host:port, sc://host:port (Connect), k8s://https://host:port, yarn"
# What makes Spark say what DuckDB says. A decimal that needs more than 38 digits is an error, never a rounded one.
_SEMANTICS = {
    "spark.sql.ansi.enabled": "true",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.timestampType": "TIMESTAMP_NTZ",
    "spark.sql.decimalOperations.allowPrecisionLoss": "false",
    "spark.sql.parquet.inferTimestampNTZ.enabled": "true",
    "spark.sql.variable.substitute": "false",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
}


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says."""
    return (str(error).splitlines() or [type(error).__name__])[0][:300]


def open_session(settings: SparkSettings, temporary: Path | None) -> SparkSession:
    """Return this process's session; Stop if Java or the extra is missing, Retry if no master answers."""
    if (active := _active_session()) is not None:
        return active
    if step := missing(settings.master):
        raise Stop(step)
    with warnings.catch_warnings():
        # The parts of PySpark that do not yet know pandas 3 are not used here.
        warnings.filterwarnings("ignore", message="PySpark does not yet fully support pandas")
        from py4j.protocol import Py4JError
        from pyspark.errors import PySparkException
        from pyspark.sql import SparkSession

        # What it logs is raised, too.
        logging.getLogger("SQLQueryContextLogger").setLevel(logging.CRITICAL)
        builder = SparkSession.builder.appName("tallyback")
        if settings.master.startswith("sc://"):
            builder = builder.remote(settings.master)
            options = {**_SEMANTICS, **settings.options}
        else:
            builder = builder.master(settings.master)
            options = {**_SEMANTICS, **_resources(settings, temporary), **settings.options}
        for key, value in options.items():
            builder = builder.config(key, value)
        # PySpark asks the environment alone which Python the workers run.
        if python := settings.options.get("spark.pyspark.python"):
            os.environ["PYSPARK_PYTHON"] = python
        elif settings.master.startswith("local"):
            os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        try:
            session = builder.getOrCreate()
            if settings.partitions is not None:
                session.conf.set("spark.sql.shuffle.partitions", settings.partitions)
            elif not settings.master.startswith("sc://"):
                session.conf.set("spark.sql.shuffle.partitions", 3 * session.sparkContext.defaultParallelism)
        except (PySparkException, Py4JError, OSError) as error:
            raise Retry(f"Spark at {settings.master} does not answer ({first_line(error)}): is it up?") from error
    return session


def _active_session() -> SparkSession | None:
    """Return the session that was started here; each query asks for it, so nothing is looked up or imported anew."""
    for name in ("pyspark.sql", "pyspark.sql.connect.session"):
        sessions = sys.modules.get(name)
        if sessions is not None and (found := sessions.SparkSession.getActiveSession()) is not None:
            return cast("SparkSession", found)
    return None


def _resources(settings: SparkSettings, temporary: Path | None) -> dict[str, str]:
    resources = {
        "spark.driver.memory": settings.driver_memory,
        "spark.driver.maxResultSize": settings.driver_memory,
        "spark.executor.memory": settings.executor_memory,
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.log.level": "OFF",
    }
    if temporary is not None:
        resources["spark.local.dir"] = str(temporary / "spark")
        resources["spark.sql.warehouse.dir"] = str(temporary / "spark-warehouse")
    if settings.master.startswith("local"):
        resources["spark.driver.host"] = "127.0.0.1"
        resources["spark.driver.bindAddress"] = "127.0.0.1"
    return resources


def missing(master: str) -> str:
    """Return what to install before Spark at `master` can be used, '' if all is there."""
    if importlib.util.find_spec("pyspark") is None or importlib.util.find_spec("grpc_status") is None:
        return "PySpark is not installed: install the extra tallyback[spark] (docs/spark.md)"
    if master.startswith("sc://"):
        return ""
    found = java_version()
    if found is None:
        return f"there is no Java: Spark needs Java {JAVA_MIN} or later, on the PATH or in JAVA_HOME"
    if found < JAVA_MIN:
        return f"Java is {found}: Spark needs {JAVA_MIN} or later, on the PATH or in JAVA_HOME"
    return ""


def java_version() -> int | None:
    """Return the major version of the Java that Spark would start, None if there is none."""
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if java is None:
        return None
    try:
        told = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30, check=False).stderr
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r'version "(?:1\.)?(\d+)', told)
    return int(found[1]) if found else None
