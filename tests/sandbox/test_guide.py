"""Whoever tries the demo can type on its world, end it at any moment, and ends nothing else."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sandbox import demo
from sandbox.guide import write_environment
from sandbox.house import Place

ROOT = Path(__file__).resolve().parents[2]
WAIT_SECONDS = 120.0


def test_a_shell_reads_the_environment_as_it_was_and_nobody_else_does(tmp_path: Path) -> None:
    place = Place(tmp_path, "world")
    place.home.mkdir()
    wanted = {
        "TALLYBACK_CONNECTION_AWIN": json.dumps({"token": 'it\'s $HOME "quoted" `x`\n;'}),
        "TALLYBACK_LAKE": "/a b",
    }
    path = write_environment(place, wanted)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    show = f"{sys.executable} -c 'import json, os; print(json.dumps(dict(os.environ)))'"
    done = subprocess.run(
        ["sh", "-euc", f'. "{path}"; command -v tallyback >&2; {show}'],
        env={"PATH": os.defpath},
        capture_output=True,
        text=True,
        check=True,
    )
    assert wanted.items() <= json.loads(done.stdout).items()
    assert done.stderr.strip() == str(Path(sys.executable).with_name("tallyback"))


@pytest.mark.parametrize("text", ["", "no number", "4194304", "a process of somebody else"])
def test_down_ends_nothing_that_is_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(demo, "ROOT", tmp_path)
    with subprocess.Popen(["sleep", "60"]) as other:
        (tmp_path / "up.pid").write_text(str(other.pid) if " of " in text else text)
        assert demo.who_is_up() is None
        assert demo.down() == 0
        assert other.poll() is None
        other.kill()


def _of(folder: Path) -> list[str]:
    """Return the command lines of all processes that work in a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if str(folder) in command:
                found.append(command)
    return found


@pytest.mark.parametrize(
    ("number", "after"), [(signal.SIGINT, "partners start"), (signal.SIGTERM, "PostgreSQL starts")]
)
def test_the_demo_ends_at_once_and_leaves_no_process(tmp_path: Path, number: signal.Signals, after: str) -> None:
    environment = {**os.environ, "TALLYBACK_DEMO": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "sandbox.demo", "run", "--size", "small"]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        told = ""
        while after not in told:
            line = running.stdout.readline()
            assert line, told
            told += line
        running.send_signal(number)
        time.sleep(0.5)
        # Somebody impatient: the second one must not stop the cleaning up.
        running.send_signal(number)
        told += running.communicate(timeout=WAIT_SECONDS)[0]
    assert running.returncode == 130, told
    assert "nothing is left running" in told
    assert _of(tmp_path) == []
