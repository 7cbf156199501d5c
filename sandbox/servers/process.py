"""One server as a process: it binds a loopback port, says so in one line, and ends when its parent does."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from collections.abc import Callable

HOST = "127.0.0.1"


def announce(port: int) -> None:
    """Tell the parent, in one line on standard output, that the server listens and where."""
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()


def end_with_parent() -> None:
    """End this process as soon as its parent closes the pipe at standard input, or dies.

    Unlike a death signal, neither depends on which thread of the parent started the process. The pipe alone would not
    do: a fork of the parent holds it open, too.
    """
    parent = os.getppid()

    def wait() -> None:
        while os.getppid() == parent:
            readable, _, _ = select.select([0], [], [], 0.5)
            if readable and not os.read(0, 1024):
                break
        os._exit(0)

    threading.Thread(target=wait, name="end with parent", daemon=True).start()


def stop_when_orphaned(stopping: threading.Event) -> None:
    """Ask this process to stop when its parent dies; it is found by looking, so no parent thread matters."""
    parent = os.getppid()

    def watch() -> None:
        while not stopping.wait(0.5):
            if os.getppid() != parent:
                stopping.set()

    threading.Thread(target=watch, name="stop when orphaned", daemon=True).start()


def run(serve_forever: Callable[[], None]) -> None:
    """Serve until told to stop by SIGTERM or SIGINT."""

    def stop(_signal_number: int, _frame: object) -> None:
        os._exit(0)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    serve_forever()
