"""What a process keeps of DuckDB from one query to the next: its instances, and the statements it has read."""

from __future__ import annotations

import atexit
import ctypes
import os
import threading
from collections import OrderedDict
from pathlib import Path

import duckdb

INSTANCES_MAX = 4
STATEMENTS_MAX = 200


class Instances:
    """The DuckDB instances of this process by their settings, the ones used last.

    A fork leaves its parent's behind: their threads do not live on in it, and to end such an instance there crashes.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, int, Path | None], duckdb.DuckDBPyConnection] = OrderedDict()
        self._lock = threading.Lock()

    def instance(self, memory_limit: str, threads: int, temporary: Path | None) -> duckdb.DuckDBPyConnection:
        """Return the instance of these settings: a connection to take cursors of, not to be closed."""
        key = (memory_limit, threads, temporary)
        with self._lock:
            if key not in self._known:
                while len(self._known) >= INSTANCES_MAX:
                    self._known.popitem(last=False)
                made = duckdb.connect(":memory:", config=_settings(*key))
                # Files of the lake never change, and a run reads the same ones several times: their footers once.
                made.execute("SET GLOBAL parquet_metadata_cache = true")
                self._known[key] = made
            self._known.move_to_end(key)
            return self._known[key]

    def end(self) -> None:
        """Let go of all instances."""
        self._known.clear()

    def leave_behind(self) -> None:
        """Forget all instances without ending them, in the child of a fork."""
        for instance in self._known.values():
            # One reference more than anybody will give back, so that not even the interpreter's end ends it.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(instance))
        self._known = OrderedDict()
        self._lock = threading.Lock()


def _settings(
    memory_limit: str, threads: int, temporary: Path | None
) -> dict[str, str | bool | int | float | list[str]]:
    settings: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": memory_limit,
        "threads": threads,
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        # What was read stays in the operating system's cache; a second one would only take memory from the queries.
        "enable_external_file_cache": "false",
        "preserve_insertion_order": "true",
    }
    if temporary is not None:
        settings["temp_directory"] = str(temporary)
    return settings


instances = Instances()
os.register_at_fork(after_in_child=instances.leave_behind)
# An instance that outlives the interpreter is complained of at length.
atexit.register(instances.end)


class Statements:
    """The statements this process has run, by their text: read once, planned anew on every connection."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, list[duckdb.Statement]] = OrderedDict()
        self._lock = threading.Lock()

    def parsed(self, connection: duckdb.DuckDBPyConnection, text: str) -> list[duckdb.Statement]:
        """Return the statements of a text."""
        with self._lock:
            if text not in self._known:
                while len(self._known) >= STATEMENTS_MAX:
                    self._known.popitem(last=False)
                self._known[text] = connection.extract_statements(text)
            return self._known[text]

    def unlock(self) -> None:
        """Let the child of a fork read, whatever a thread of its parent was doing."""
        self._lock = threading.Lock()


statements = Statements()
os.register_at_fork(after_in_child=statements.unlock)
