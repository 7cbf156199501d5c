"""The servers come up together, say where they are, and leave nothing behind, however they are ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sandbox.__main__ import main
from sandbox.up import start

ROOT = Path(__file__).resolve().parents[2]
WAIT_SECONDS = 30.0


def children_of(process_id: int) -> list[int]:
    text = Path(f"/proc/{process_id}/task/{process_id}/children").read_text()
    return [int(number) for number in text.split()]


def is_alive(process_id: int) -> bool:
    try:
        state = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_for(condition: object) -> bool:
    assert callable(condition)
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.1)
    return False


def run_up(directory: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "sandbox", "up", "--dir", str(directory)]
    running = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    assert wait_for((directory / "addresses.json").exists)
    return running


def test_addresses_name_every_server_and_go_when_they_stop(tiny_folder: Path) -> None:
    with start(tiny_folder) as sandbox:
        assert json.loads((tiny_folder / "addresses.json").read_text()) == sandbox.addresses
        assert set(sandbox.addresses) == {"awin", "tradetracker", "rakuten", "bank"}
        processes = [child.pid for child in sandbox.processes]
        assert all(is_alive(number) for number in processes)
    assert not (tiny_folder / "addresses.json").exists()
    assert not any(is_alive(number) for number in processes)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_all_servers(tiny_folder: Path, number: signal.Signals) -> None:
    running = run_up(tiny_folder)
    servers = children_of(running.pid)
    assert len(servers) == 4
    running.send_signal(number)
    assert running.wait(WAIT_SECONDS) == 0
    assert not any(is_alive(server) for server in servers)
    assert not (tiny_folder / "addresses.json").exists()


def test_servers_do_not_outlive_a_parent_that_is_killed(tiny_folder: Path) -> None:
    running = run_up(tiny_folder)
    servers = children_of(running.pid)
    assert len(servers) == 4
    running.kill()
    running.wait(WAIT_SECONDS)
    assert wait_for(lambda: not any(is_alive(server) for server in servers))


def test_up_ends_when_the_process_that_started_it_dies(tiny_folder: Path) -> None:
    script = (
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-m', 'sandbox', 'up', '--dir', {str(tiny_folder)!r}],"
        " stdout=subprocess.DEVNULL)\n"
        "print(child.pid, flush=True)\ntime.sleep(600)\n"
    )
    starter = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert starter.stdout is not None
    running = int(starter.stdout.readline())
    assert wait_for((tiny_folder / "addresses.json").exists)
    servers = children_of(running)
    assert len(servers) == 4
    starter.kill()
    starter.wait(WAIT_SECONDS)
    starter.stdout.close()
    assert wait_for(lambda: not any(is_alive(number) for number in (running, *servers)))


def test_a_server_that_cannot_start_stops_the_others(tiny_folder: Path) -> None:
    before = set(children_of(os.getpid()))
    (tiny_folder / "keys" / "bank").unlink()
    with pytest.raises(RuntimeError, match="server bank did not start"):
        start(tiny_folder)
    assert set(children_of(os.getpid())) <= before
    assert not (tiny_folder / "addresses.json").exists()


def test_the_command_line_builds_moves_the_clock_and_tells_the_truth(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = ["--dir", str(tmp_path / "world")]
    assert main(["build", *world, "--seed", "3", "--size", "tiny"]) == 0
    assert "order" in capsys.readouterr().out
    assert main(["clock", *world, "--set", "2026-12-01T00:00:00Z"]) == 0
    assert capsys.readouterr().out.endswith("2026-12-01T00:00:00Z\n")
    assert main(["truth", *world, "--out", str(tmp_path / "owed.parquet")]) == 0
    assert "confirmed   EUR" in capsys.readouterr().out
    assert (tmp_path / "owed.parquet").exists()


def test_a_mistake_on_the_command_line_is_one_line_and_a_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = ["--dir", str(tmp_path / "world")]
    assert main(["build", *world, "--size", "tiny"]) == 0
    capsys.readouterr()
    for arguments, told in (
        (["build", *world], "not empty"),
        (["clock", *world, "--set", "2026-09-08T06:00:00"], "names no zone"),
        (["clock", *world, "--set", "2020-01-01T00:00:00Z"], "cannot go back"),
    ):
        assert main(arguments) == 1
        error = capsys.readouterr().err
        assert told in error and error.count("\n") == 1


def test_the_oracle_shares_no_code_with_what_it_judges() -> None:
    script = (
        "import sys\n"
        "import sandbox.__main__, sandbox.folder, sandbox.servers.start, sandbox.truth, sandbox.up, sandbox.world\n"
        "assert 'sandbox.defects' in sys.modules\n"
        "print([name for name in sys.modules if name.partition('.')[0] in ('etl', 'connectors')])\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"
