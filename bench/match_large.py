"""match-large: ten times the files of `match`, within 4 GB; time per row beside that of `match` in the same run.

Ours is what `match` measures, with 3,100 MB for the engine; the floor is the same bare join with as much. The smaller
world, a tenth of the rows, has the size of `match` unless `--rows` says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench import match
from bench.generate import matching_world
from bench.measure import Case, interleaved
from bench.result import Result

TRANSACTIONS = 20_000_000
MEMORY = "3100MB"
SMALLER = 10


def ours(name: str, folder: Path) -> int:
    """Match by all rules."""
    return match.ours(folder / name, MEMORY)


def bare_join(name: str, folder: Path) -> int:
    """Join the two files on the click reference, and nothing else."""
    return match.bare_join(folder / name, MEMORY)


def run(folder: Path, rows: int | None, repeat: int, told: Callable[[str], None]) -> Result:
    """Return how matching grows with the files: its time per row beside that of a tenth of them."""
    transactions = rows or TRANSACTIONS
    for name, count in (("smaller", transactions // SMALLER), ("larger", transactions)):
        (folder / name).mkdir()
        matching_world(folder / name, count * match.CLICKS_EACH, count, told)
    cases = [
        Case("ours", partial(ours, "larger"), match.ready),
        Case("bare join", partial(bare_join, "larger")),
        Case("ours on a tenth", partial(ours, "smaller"), match.ready),
    ]
    timings = interleaved(cases, folder, repeat, told)
    mine, smaller = timings["ours"], timings["ours on a tenth"]
    growth = (mine.seconds / mine.rows) / (smaller.seconds / smaller.rows)
    return Result(
        "match-large",
        mine.rows,
        mine,
        timings["bare join"],
        notes={
            "clicks": transactions * match.CLICKS_EACH,
            "time_per_row_to_that_of_a_tenth": round(growth, 2),
            "rows_of_a_tenth": smaller.rows,
            "seconds_of_a_tenth": round(smaller.seconds, 2),
            "peak_mb_of_a_tenth": smaller.peak_mb,
        },
    )
