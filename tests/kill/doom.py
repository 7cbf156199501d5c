"""A child process that dies at the n-th point at which something lasting happens, wherever in the code that is.

Points are found where all code must pass: a commit of the database driver, a rename of the operating system. What lies
between two of them leaves the same state as the beginning of the later one, so that to die right before each, and at
the end, is to die anywhere. A file that gets its name before its bytes are synced is found here too.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psycopg


def child(work: Callable[[], None]) -> int:
    """Start a child process that does `work`; return its id."""
    sys.stdout.flush()
    sys.stderr.flush()
    process = os.fork()
    if process == 0:
        try:
            signal.alarm(250)
            work()
            os._exit(0)
        finally:
            # Whatever was raised, the child must not go on as a second test session.
            traceback.print_exc()
            os._exit(3)
    return process


def is_killed(process: int) -> bool:
    """Wait for a child; return whether it was killed, and not just ended well."""
    _, status = os.waitpid(process, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.waitstatus_to_exitcode(status) == 0
    return False


def doomed(work: Callable[[], None], kill_at: int, synced_below: Path) -> None:
    """Do `work` and die at a point, the end being the last one. Only in a child."""
    passed = 0
    commit, fsync = psycopg.Connection.commit, os.fsync
    synced: set[int] = set()

    def point() -> None:
        nonlocal passed
        passed += 1
        if passed == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def on_event(event: str, arguments: tuple[Any, ...]) -> None:
        if event != "os.rename":
            return
        source = Path(os.fsdecode(arguments[0]))
        if source.is_relative_to(synced_below):
            assert source.stat().st_ino in synced, f"{source.name} gets its name before its bytes are synced"
        point()

    def doomed_commit(connection: psycopg.Connection[Any]) -> None:
        point()
        commit(connection)

    def noted_fsync(handle: int) -> None:
        fsync(handle)
        synced.add(os.fstat(handle).st_ino)

    os.fsync = noted_fsync
    # The edge where a process may die.
    patch.object(psycopg.Connection, "commit", doomed_commit).start()
    sys.addaudithook(on_event)
    work()
    point()


def slowly(work: Callable[[], None]) -> None:
    """Do `work`, holding its locks for a while before each commit, so that another comes to them. Only in a child."""
    commit = psycopg.Connection.commit

    def slow_commit(connection: psycopg.Connection[Any]) -> None:
        time.sleep(0.1)
        commit(connection)

    # The edge where processes meet.
    patch.object(psycopg.Connection, "commit", slow_commit).start()
    work()
