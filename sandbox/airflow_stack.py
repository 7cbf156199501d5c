"""A private Airflow for the demo: api-server, scheduler and DAG processor in one folder, ended with their starter.

Nothing here imports Airflow: its programs are processes, each in a session of its own, spoken to over REST
(`sandbox.airflow_api`). The metadata lies in a PostgreSQL database; tasks run in the scheduler's LocalExecutor. No
triggerer runs: since Airflow 3.3 a task that waits for a person needs none. `airflow.cfg`, keys and passwords are made
once a folder and readable by their owner alone; `AIRFLOW_HOME=<folder> airflow ...` works with them.
"""

import configparser
import ctypes
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TextIO

import httpx
import psycopg

from etl.core.errors import Stop
from sandbox.airflow_api import AirflowClient
from sandbox.process_group import STOP_SECONDS, Component, guarded, members, started

PEOPLE = {"robin": "op", "alex": "user"}
"""Who may log in, with their roles: robin releases batches and runs the house, alex approves."""

START_SECONDS = 300.0
_PR_SET_PDEATHSIG = 1


@dataclass(slots=True)
class AirflowStack:
    """Airflow in `home`, with its metadata at `metadata_url` and the DAGs of `dags_folder`.

    `environment` is added to that of every task (connections, settings). With `detached` the stack outlives the process
    that started it (`make up`), and whoever calls `stop()` for the same home ends it.
    """

    home: Path
    metadata_url: str
    dags_folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    parallelism: int = 4
    detached: bool = False
    _processes: list[subprocess.Popen[bytes]] = field(default_factory=list, init=False)
    _clients: dict[str, AirflowClient] = field(default_factory=dict, init=False)
    _guard: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self, say: Callable[[str], None] = lambda _: None) -> None:
        """Start the stack and return when it is healthy; an earlier one of the same home is ended first."""
        if not self.dags_folder.is_dir():
            raise Stop(f"There is no folder {self.dags_folder} with DAGs.")
        self.stop()
        for folder in (self.home, self.logs):
            folder.mkdir(parents=True, exist_ok=True)
        self._configure()
        if not self._is_migrated():
            say("Airflow makes its tables")
            self._migrate()
        say("Airflow starts")
        port = str(self.port)
        self._launch("api-server", "--host", "127.0.0.1", "--port", port, "--workers", "1")
        self._launch("dag-processor")
        self._launch("scheduler", "--skip-serve-logs")
        if not self.detached:
            self._guard = guarded(self.components())
        deadline = time.monotonic() + START_SECONDS
        while not self.healthy:
            ended = [component.name for component in self.components() if not component.alive]
            if ended or time.monotonic() > deadline:
                self.stop()
                name = ended[0] if ended else "scheduler"
                raise Stop(
                    f"Airflow's {name} did not start. Its last words, from {self.logs / name}.log:\n"
                    f"{self._last_words(name)}"
                )
            time.sleep(0.25)

    def stop(self) -> None:
        """End the stack of this home, whoever started it, with all the processes its tasks began."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()
        for component in self.components():
            if component.alive:
                os.killpg(component.pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline and self.processes():
            self._reap()
            time.sleep(0.1)
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in self._processes:
            process.wait()
        self._processes.clear()
        self._pid_file.unlink(missing_ok=True)
        if self._guard is not None:
            # There is nothing left to end, so it goes at once.
            self._guard.communicate()
            self._guard = None

    def processes(self) -> list[int]:
        """Return the ids of all processes of the stack, those of running tasks included."""
        return [pid for component in self.components() for pid in members(component)]

    @property
    def healthy(self) -> bool:
        """Whether the API answers and says that database, scheduler and DAG processor are healthy."""
        if not self._pid_file.exists() or not all(component.alive for component in self.components()):
            return False  # Otherwise an orphan on the same port could answer for us.
        try:
            answer = httpx.get(f"{self.url}/api/v2/monitor/health", timeout=5)
        except httpx.TransportError:
            return False
        if answer.status_code != httpx.codes.OK:
            return False
        told = answer.json()
        return all(told[part]["status"] == "healthy" for part in ("metadatabase", "scheduler", "dag_processor"))

    def client(self, person: str) -> AirflowClient:
        """Return the client that speaks as this person; it is closed when the stack stops."""
        if person not in self._clients:
            self._clients[person] = AirflowClient(self.url, person, self.passwords()[person])
        return self._clients[person]

    def passwords(self) -> dict[str, str]:
        """Return the password of each person."""
        told: dict[str, str] = json.loads(self.password_file.read_text())
        return told

    def components(self) -> list[Component]:
        """Return the processes this home's stack was last started with."""
        try:
            return [Component(**one) for one in json.loads(self._pid_file.read_text())]
        except FileNotFoundError:
            return []

    @property
    def url(self) -> str:
        """Where the screens and the API are."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def port(self) -> int:
        """The port of the api-server, chosen at each start."""
        return self._configuration().getint("api", "port")

    @property
    def logs(self) -> Path:
        """Where the components and the tasks log."""
        return self.home / "logs"

    @property
    def password_file(self) -> Path:
        """People and passwords, as JSON."""
        return self.home / "passwords.json"

    # --- configuration ----------------------------------------------------------------------------------------------

    @property
    def _pid_file(self) -> Path:
        return self.home / "stack.json"

    def _configuration(self) -> configparser.ConfigParser:
        known = configparser.ConfigParser(interpolation=None)
        known.read(self.home / "airflow.cfg")
        return known

    def _configure(self) -> None:
        """Write airflow.cfg; the keys of an earlier one are kept, as what they encrypted still lies in the database."""
        known = self._configuration()
        url = self.metadata_url.replace("postgresql://", "postgresql+psycopg://", 1).replace("%", "%%")
        port = _free_port()
        wanted: dict[str, dict[str, str]] = {
            "core": {
                "dags_folder": str(self.dags_folder.resolve()),
                "executor": "LocalExecutor",
                "parallelism": str(self.parallelism),
                "load_examples": "False",
                "dags_are_paused_at_creation": "False",
                "fernet_key": known.get(
                    "core", "fernet_key", fallback=urlsafe_b64encode(secrets.token_bytes(32)).decode()
                ),
                "simple_auth_manager_users": ",".join(f"{name}:{role}" for name, role in PEOPLE.items()),
                "simple_auth_manager_passwords_file": str(self.password_file),
                "execution_api_server_url": f"http://127.0.0.1:{port}/execution/",
            },
            "database": {
                "sql_alchemy_conn": url,
                "sql_alchemy_conn_async": url,
                "load_default_connections": "False",
            },
            "api": {
                "host": "127.0.0.1",
                "port": str(port),
                "base_url": f"http://127.0.0.1:{port}",
                "secret_key": known.get("api", "secret_key", fallback=secrets.token_urlsafe(32)),
                "expose_config": "False",
            },
            "api_auth": {"jwt_secret": known.get("api_auth", "jwt_secret", fallback=secrets.token_urlsafe(64))},
            "scheduler": {"scheduler_idle_sleep_time": "0.2", "scheduler_heartbeat_sec": "2"},
            # A changed DAG file is seen by its time stamp; parsing what did not change only warms the room.
            "dag_processor": {"parsing_processes": "2", "min_file_process_interval": "600", "refresh_interval": "10"},
            "logging": {
                "base_log_folder": str(self.logs),
                "remote_logging": "False",
                "colored_console_log": "False",
            },
        }
        written = configparser.ConfigParser(interpolation=None)
        written.read_dict(wanted)
        with _private(self.home / "airflow.cfg") as handle:
            written.write(handle)
        passwords = self.passwords() if self.password_file.exists() else {}
        with _private(self.password_file) as handle:
            json.dump({name: passwords.get(name) or secrets.token_urlsafe(12) for name in PEOPLE}, handle)

    # --- the metadata database --------------------------------------------------------------------------------------

    def _is_migrated(self) -> bool:
        """Whether the database stands where this version of Airflow left it; asking Airflow takes two seconds."""
        try:
            noted = (self.home / "migrated").read_text()
        except FileNotFoundError:
            return False
        return noted == f"{version('apache-airflow-core')} {self._revision()}"

    def _revision(self) -> str | None:
        with psycopg.connect(self.metadata_url) as connection:
            if connection.execute("SELECT to_regclass('alembic_version')").fetchone() == (None,):
                return None
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            return None if row is None else str(row[0])

    def _migrate(self) -> None:
        with (self.logs / "migrate.log").open("wb") as log:
            command = [sys.executable, "-m", "airflow", "db", "migrate"]
            done = subprocess.run(command, env=self._environment(), stdout=log, stderr=log, check=False)
        if done.returncode != 0:
            raise Stop(f"Airflow could not make its tables ({log.name}):\n{self._last_words('migrate')}")
        (self.home / "migrated").write_text(f"{version('apache-airflow-core')} {self._revision()}")

    # --- processes --------------------------------------------------------------------------------------------------

    def _environment(self) -> dict[str, str]:
        """Return the caller's environment without another Airflow's settings, with this home and what tasks need.

        A coverage measurement of the caller is kept out too: in processes that fork and catch signals it can hang them.
        """
        ours = {name: text for name, text in os.environ.items() if not name.startswith(("AIRFLOW", "COVERAGE_"))}
        ours.pop("PYTHONDONTWRITEBYTECODE", None)  # Each task would compile the DAG's modules anew.
        path = os.pathsep.join([str(Path(sys.executable).parent), ours.get("PATH", os.defpath)])
        return {**ours, "PATH": path, "AIRFLOW_HOME": str(self.home.resolve()), "NO_COLOR": "1", **self.environment}

    def _launch(self, name: str, *arguments: str) -> None:
        with (self.logs / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "airflow", name, *arguments],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=None if self.detached else _end_with_parent(os.getpid()),
            )
        self._processes.append(process)
        known = [*self.components(), Component(name, process.pid, started(process.pid))]
        text = json.dumps([{"name": one.name, "pid": one.pid, "started": one.started} for one in known])
        partial = self._pid_file.with_suffix(".partial")
        partial.write_text(text)
        partial.rename(self._pid_file)

    def _reap(self) -> None:
        for process in self._processes:
            process.poll()

    def _last_words(self, name: str) -> str:
        log = self.logs / f"{name}.log"
        return "\n".join(log.read_text(errors="replace").splitlines()[-20:]) if log.exists() else "(none)"


def _private(path: Path) -> TextIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _end_with_parent(parent: int) -> Callable[[], None]:
    """Return what a child does before it becomes Airflow, to get SIGTERM when its parent dies, however it dies."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None

    def before_exec() -> None:
        if libc is not None:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:
                os._exit(1)  # It died before we asked.

    return before_exec
