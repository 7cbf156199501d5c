"""Start the four servers of a world as child processes, say where they are, and stop them all."""

from __future__ import annotations

import json
import select
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from sandbox import credentials, files
from sandbox.model import AWIN_PUBLISHER_ID, TRADETRACKER_SITE_IDS
from sandbox.servers import process
from sandbox.servers.bank import DIRECTORY as BANK_DIRECTORY
from sandbox.servers.rakuten import DIRECTORY as RAKUTEN_DIRECTORY
from sandbox.servers.start import SERVERS
from sandbox.servers.tradetracker import PATH as TRADETRACKER_PATH

ADDRESSES_FILE = "addresses.json"
START_TIMEOUT_SECONDS = 120.0
STOP_TIMEOUT_SECONDS = 5.0

Addresses = dict[str, dict[str, "str | int | list[str]"]]


@dataclass(frozen=True, slots=True)
class Sandbox:
    """The running servers of a world; a context manager that leaves no process behind."""

    directory: Path
    addresses: Addresses
    processes: tuple[subprocess.Popen[str], ...]

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End every server and take the addresses away."""
        (self.directory / ADDRESSES_FILE).unlink(missing_ok=True)
        _stop(self.processes)


def start(directory: Path, *, awin_calls_per_minute: int = 20) -> Sandbox:
    """Start the servers of a world and return them once all listen and `addresses.json` says where.

    `awin_calls_per_minute` is Awin's documented 20 unless a caller in a hurry says otherwise; 0 allows any number.
    RuntimeError if a server does not come up.
    """
    directory = directory.resolve()
    started: list[subprocess.Popen[str]] = []
    with ExitStack() as undone:
        # Whatever goes wrong, also an interrupt: what was started is ended.
        undone.callback(_stop, started)
        for name in SERVERS:
            started.append(_child(name, directory, awin_calls_per_minute))
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        ports = {name: _port(name, child, deadline) for name, child in zip(SERVERS, started, strict=True)}
        undone.pop_all()
    addresses = _addresses(directory, ports)
    files.write_atomically(directory / ADDRESSES_FILE, json.dumps(addresses, indent=2) + "\n")
    return Sandbox(directory, addresses, tuple(started))


def _child(name: str, directory: Path, awin_calls_per_minute: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "sandbox", "serve", name, "--dir", str(directory)]
    command += ["--awin-calls-per-minute", str(awin_calls_per_minute)]
    # A child ends when its standard input closes, so it cannot outlive this process. A session of its own keeps the
    # terminal's Ctrl-C away: this process stops its children itself, in order.
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).resolve().parent.parent,
        text=True,
        start_new_session=True,
    )


def _port(name: str, child: subprocess.Popen[str], deadline: float) -> int:
    assert child.stdout is not None
    wait = max(0.0, deadline - time.monotonic())
    readable, _, _ = select.select([child.stdout], [], [], wait)
    line = child.stdout.readline() if readable else ""
    if not line.strip().isdecimal():
        raise RuntimeError(f"server {name} did not start; run `python -m sandbox serve {name}` by hand to see why")
    return int(line)


def _stop(processes: tuple[subprocess.Popen[str], ...] | list[subprocess.Popen[str]]) -> None:
    for child in processes:
        child.terminate()
    for child in processes:
        try:
            child.wait(STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                pipe.close()


def _addresses(directory: Path, ports: dict[str, int]) -> Addresses:
    service = f"http://{process.HOST}:{ports['tradetracker']}{TRADETRACKER_PATH}"
    return {
        "awin": {"url": f"http://{process.HOST}:{ports['awin']}", "publisher_id": AWIN_PUBLISHER_ID},
        "tradetracker": {"url": service, "wsdl": f"{service}?wsdl", "site_ids": list(TRADETRACKER_SITE_IDS)},
        "rakuten": _sftp(directory, "rakuten", ports["rakuten"], RAKUTEN_DIRECTORY),
        "bank": _sftp(directory, "bank", ports["bank"], BANK_DIRECTORY),
    }


def _sftp(directory: Path, server: str, port: int, folder: str) -> dict[str, str | int | list[str]]:
    key = credentials.public_host_key(directory, server)
    return {"host": process.HOST, "port": port, "directory": folder, "host_key": key}
