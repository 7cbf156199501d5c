"""A Spark cluster of this machine's own: a standalone master and workers, or a server of Connect, on loopback.

They are processes that are ended by their ids.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from etl.core.configuration import SparkSettings

START_SECONDS = 90
END_SECONDS = 15
_PACKAGE = "org.apache.spark.deploy"
_CONNECT = "org.apache.spark.sql.connect.service.SparkConnectServer"


class NoCluster(RuntimeError):
    """The master or a worker did not come up; the text holds the end of their logs."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running master, and how to use it."""

    url: str

    def settings(self, partitions: int = 4, cores: int | None = None) -> SparkSettings:
        """Return settings for a session here, with `cores` in all (one a worker) or all there are."""
        options = {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
        if cores is not None:
            options["spark.cores.max"] = str(cores)
        return SparkSettings(self.url, "1500m", "1500m", partitions, options)


@contextlib.contextmanager
def cluster(folder: Path, workers: int, cores: int = 1) -> Iterator[Cluster]:
    """Yield a cluster of `workers` with so many cores each; its logs and scratch files lie under `folder`."""
    port, screen = _free_port(), _free_port()
    started: list[subprocess.Popen[bytes]] = []
    with contextlib.ExitStack() as at_end:
        at_end.callback(lambda: _end(started))
        url = f"spark://127.0.0.1:{port}"
        started.append(_started(folder, "master.Master", "--port", str(port), "--webui-port", str(screen)))
        _wait(folder, started, screen, 0)
        for number in range(workers):
            place = folder / f"worker{number}"
            started.append(
                _started(
                    place, "worker.Worker", "--port", "0", "--webui-port", "0", "--cores", str(cores),
                    "--memory", f"{2 * cores}g", "--work-dir", str(place), url,
                )
            )  # fmt: skip
        _wait(folder, started, screen, workers)
        yield Cluster(url)


@contextlib.contextmanager
def connect_server(folder: Path) -> Iterator[str]:
    """Yield the address of a server of Spark Connect with one core; its logs and scratch files lie under `folder`."""
    port = _free_port()
    options = {
        "spark.connect.grpc.binding.address": "127.0.0.1",
        "spark.connect.grpc.binding.port": str(port),
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.ui.enabled": "false",
    }
    words = [word for name, value in options.items() for word in ("--conf", f"{name}={value}")]
    process = _process(
        folder,
        "connect",
        "spark-submit",
        *("--master", "local[1]", "--name", "connect", "--class", _CONNECT, *words),
        # It is started as the daemons are, and so takes its memory from there.
        memory="1500m",
    )
    try:
        until = time.monotonic() + START_SECONDS
        while not _is_listening(port):
            if time.monotonic() > until or process.poll() is not None:
                said = (folder / "connect.log").read_text(errors="replace")[-1500:]
                raise NoCluster(f"no server of Connect came up:\n{said}")
            time.sleep(0.3)
        yield f"sc://127.0.0.1:{port}"
    finally:
        _end([process])


def _is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _started(folder: Path, role: str, *arguments: str) -> subprocess.Popen[bytes]:
    return _process(folder, role, "spark-class", f"{_PACKAGE}.{role}", "--host", "127.0.0.1", *arguments)


def _process(folder: Path, name: str, program: str, *arguments: str, memory: str = "256m") -> subprocess.Popen[bytes]:
    found = find_spec("pyspark")
    if found is None or found.origin is None:
        raise NoCluster("PySpark is not installed: install the extra tallyback[spark]")
    home = Path(found.origin).parent
    folder.mkdir(parents=True, exist_ok=True)
    environment = {
        **os.environ,
        "SPARK_HOME": str(home),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_LOCAL_DIRS": str(folder / "local"),
        "SPARK_DAEMON_MEMORY": memory,
        # What runs Python for a query must be the Python that wrote it.
        "PYSPARK_PYTHON": sys.executable,
    }
    with (folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen(
            [str(home / "bin" / program), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )


def _wait(folder: Path, started: list[subprocess.Popen[bytes]], screen: int, workers: int) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and all(process.poll() is None for process in started):
        with (
            contextlib.suppress(OSError, ValueError),
            urllib.request.urlopen(f"http://127.0.0.1:{screen}/json/", timeout=5) as answer,
        ):
            if json.load(answer)["aliveworkers"] >= workers:
                return
        time.sleep(0.3)
    logs = [place.read_text(errors="replace")[-1500:] for place in folder.rglob("*.log")]
    raise NoCluster("no cluster came up:\n" + "\n".join(logs))


def _end(started: list[subprocess.Popen[bytes]]) -> None:
    """End what was started here, the workers (and their executors) before the master."""
    for process in reversed(started):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
    for process in reversed(started):
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(END_SECONDS)
