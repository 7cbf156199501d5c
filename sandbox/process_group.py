"""The processes of a stack: which are its own, and a guard that ends them when whoever started it is gone.

`python -m sandbox.process_group SECONDS` is the guard. It is told the components in one line of JSON and waits until
its standard input ends, as it does however the starter dies. What has not ended by itself so long after that, it ends.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

STOP_SECONDS = 20.0
_LOOK_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Component:
    """One process of the stack: its leader, and when that started, so that a pid used again is not taken for it."""

    name: str
    pid: int
    started: str

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        return started(self.pid) == self.started


def guarded(components: Iterable[Component], seconds: float = STOP_SECONDS) -> subprocess.Popen[bytes]:
    """Start a guard of `components` and return it; it acts so long after its standard input ended."""
    guard = subprocess.Popen(
        [sys.executable, "-m", "sandbox.process_group", str(seconds)],
        cwd=Path(__file__).parent.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert guard.stdin is not None
    guard.stdin.write(json.dumps([asdict(each) for each in components]).encode() + b"\n")
    guard.stdin.flush()
    return guard


def end(components: Iterable[Component], seconds: float) -> None:
    """Wait for the processes of `components` to end, at most so long, and kill what remains."""
    components = list(components)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and any(members(each) for each in components):
        time.sleep(_LOOK_SECONDS)
    for pid in (pid for each in components for pid in members(each)):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def main() -> None:
    """Guard what the first line of standard input names."""
    components = [Component(**each) for each in json.loads(sys.stdin.readline() or "[]")]
    sys.stdin.read()
    end(components, float(sys.argv[1]))


def stat(pid: int) -> list[str]:
    """Return the fields of /proc/<pid>/stat from the state on, or nothing if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def started(pid: int) -> str:
    """Return when a process started, in the words of the system, or '' if it is gone."""
    if Path("/proc/self/stat").exists():
        fields = stat(pid)
        return "" if not fields or fields[0] == "Z" else fields[19]
    shown = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return shown.stdout.strip()


def members(component: Component) -> list[int]:
    """Return the processes in the session of a component, and those it left there when it was killed."""
    leader_started = started(component.pid)
    if leader_started not in ("", component.started):
        return []  # The pid is somebody else's by now.
    if not Path("/proc/self/stat").exists():
        return [component.pid] if leader_started else []
    found = []
    for pid in (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()):
        fields = stat(pid)
        if fields and fields[0] != "Z" and int(fields[3]) == component.pid:
            with suppress(FileNotFoundError, ProcessLookupError):
                # Without its leader a session's number alone proves little: it may have been used again.
                if leader_started or b"airflow" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(pid)
    return found


if __name__ == "__main__":
    main()
