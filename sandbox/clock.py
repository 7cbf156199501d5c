"""The simulated clock: one file in the world folder that all servers read; it only moves forward."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

from sandbox import files, tracker
from sandbox.instants import parsed, shown

CLOCK_FILE = "clock.json"


def now(directory: Path) -> datetime:
    """Return simulated now, UTC without a zone."""
    return parsed(json.loads((directory / CLOCK_FILE).read_text(encoding="utf-8"))["now"])


def begin(directory: Path, instant: datetime) -> None:
    """Start the clock of a new world, and its tracker with it."""
    tracker.create(directory)
    tracker.advance(directory, instant)
    _write(directory, instant)


def move_to(directory: Path, instant: datetime) -> int:
    """Move simulated now forward and let the tracker have what is due by then; return how many rows that were.

    ValueError if the instant lies before simulated now: what was seen cannot be unseen.
    """
    if instant.tzinfo is not None:
        instant = parsed(instant.isoformat())
    before = now(directory)
    if instant < before:
        raise ValueError(f"simulated now is {shown(before)} and cannot go back to {shown(instant)}; build a new world")
    # The tracker first: a crash in between leaves rows that are early, and setting the clock again mends it.
    count = tracker.advance(directory, instant)
    _write(directory, instant)
    return count


def _write(directory: Path, instant: datetime) -> None:
    files.write_atomically(directory / CLOCK_FILE, json.dumps({"now": shown(instant)}) + "\n")
