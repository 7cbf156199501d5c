"""What a killed starter leaves behind is ended, even what does not listen."""

from __future__ import annotations

import subprocess
import sys
import time

from sandbox.process_group import Component, guarded, members, started

STUBBORN = (
    "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
)


def test_a_guard_ends_what_does_not_end_by_itself_and_nothing_before_its_starter_is_gone() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == "up\n"
        component = Component("stubborn", process.pid, started(process.pid))
        guard = guarded([component], seconds=0.2)
        process.terminate()
        time.sleep(0.5)
        assert component.alive and members(component) == [process.pid]
        assert guard.stdin is not None
        guard.stdin.close()
        assert guard.wait(timeout=60) == 0
        assert process.wait(timeout=60) == -9
        assert not component.alive and members(component) == []
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
