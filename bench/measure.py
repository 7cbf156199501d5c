"""Run the cases of a benchmark in fresh processes, one after the other and interleaved, and keep the best of each.

A case is a module-level function of a folder (or a partial of one) that returns how many rows it dealt with. Imports
happen before the clock starts; peak memory is that of the case's own process (a PostgreSQL server's is not in it).
"""

from __future__ import annotations

import multiprocessing
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

Work = Callable[[Path], int]
Prepare = Callable[[Path], object]


@dataclass(frozen=True, slots=True)
class Case:
    """A way to do the job. `prepare` runs before the clock in the same process, for what is not the job itself."""

    name: str
    work: Work
    prepare: Prepare | None = None


@dataclass(frozen=True, slots=True)
class Timing:
    """The best of several runs: rows, seconds of wall time, and the largest resident memory seen, in MB (2**20).

    `processor_seconds` are those of the process itself, all threads: other work on a machine disturbs them less.
    """

    rows: int
    seconds: float
    peak_mb: int
    processor_seconds: float = 0.0


class CaseFailed(RuntimeError):
    """A case raised or its process died; a benchmark with a failing case has no figures."""


def interleaved(cases: Sequence[Case], folder: Path, repeat: int, told: Callable[[str], None]) -> dict[str, Timing]:
    """Return the best timing of each case over `repeat` rounds; every round runs every case once, in turn.

    Raises CaseFailed naming the case and what it said.
    """
    best: dict[str, Timing] = {}
    for number in range(1, repeat + 1):
        for case in cases:
            timing = once(case, folder)
            told(f"round {number} of {repeat}: {case.name} {timing.seconds:.2f} s, {timing.peak_mb} MB")
            known = best.get(case.name)
            best[case.name] = timing if known is None else better(known, timing)
    return best


def better(one: Timing, other: Timing) -> Timing:
    """Return the shorter time and the larger memory of two runs; CaseFailed if they did not do the same."""
    if one.rows != other.rows:
        raise CaseFailed(f"a case dealt with {one.rows:,} rows once and {other.rows:,} another time")
    return Timing(
        one.rows,
        min(one.seconds, other.seconds),
        max(one.peak_mb, other.peak_mb),
        min(one.processor_seconds, other.processor_seconds),
    )


def once(case: Case, folder: Path) -> Timing:
    """Return how a case did in one fresh process; raises CaseFailed naming it and what it said."""
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(case, folder, sending))
    process.start()
    sending.close()
    try:
        outcome = receiving.recv()
    except EOFError:
        process.join()
        raise CaseFailed(f"{case.name}: the process ended with status {process.exitcode}") from None
    process.join()
    if isinstance(outcome, str):
        raise CaseFailed(f"{case.name}:\n{outcome}")
    rows, seconds, peak_mb, processor_seconds = outcome
    return Timing(rows, seconds, peak_mb, processor_seconds)


def _child(case: Case, folder: Path, sending: Connection) -> None:
    try:
        if case.prepare is not None:
            case.prepare(folder)
        begun, worked = time.perf_counter(), time.process_time()
        rows = case.work(folder)
        seconds, processor_seconds = time.perf_counter() - begun, time.process_time() - worked
    except Exception as error:
        # The parent raises what it is told; this process has failed as well.
        sending.send(traceback.format_exc())
        raise SystemExit(1) from error
    sending.send((rows, seconds, peak_mb(), processor_seconds))


def peak_mb() -> int:
    """Return the largest memory this process had so far, in MB."""
    # Not getrusage: its peak includes that of the process this one was forked from.
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) // 1024
    raise CaseFailed("this system does not tell a process's peak memory")
