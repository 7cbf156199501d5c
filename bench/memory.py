"""memory: a CSV of 10 GB, a SOAP answer of millions of rows and 500 million clicks, each beside a tenth of it.

What streams or spills needs little more for the larger one. Answers are landed and parsed by the stages themselves
(Rakuten's CSV, TradeTracker's SOAP), and the clicks are those that a hundredth as many transactions are matched with.
`--rows` are those of the CSV; a twentieth as many are the rows of SOAP, eight times as many the clicks. The floor is
the three tenths, one after the other. It needs some 50 GB of disk, and an hour on two cores.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench import match, parse
from bench.generate import matching_world
from bench.measure import Case, Timing, interleaved
from bench.result import Result
from bench.world import House

CSV_ROWS = 64_000_000
SOAP_SHARE, CLICKS_EACH_ROW, CLICKS_EACH = 20, 8, 100
SMALLER = 10


def run(folder: Path, rows: int | None, repeat: int, told: Callable[[str], None]) -> Result:
    """Return the time of all three, and the largest memory; the notes tell each beside its tenth."""
    count = rows or CSV_ROWS
    sizes = {"csv": count, "soap": count // SOAP_SHARE, "clicks": count * CLICKS_EACH_ROW}
    whole: dict[str, Timing] = {}
    tenth: dict[str, Timing] = {}
    notes: dict[str, float | int | str] = {}
    for what, size in sizes.items():
        told(f"{what}: {size:,}")
        measured = _clicks if what == "clicks" else partial(_parsed, "rakuten" if what == "csv" else "tradetracker")
        # One size after the other, so that the disk holds one at a time.
        tenth[what], _ = measured(folder / f"{what}-tenth", size // SMALLER, repeat, told)
        whole[what], megabytes = measured(folder / what, size, repeat, told)
        notes |= {
            f"{what}_mb": megabytes,
            f"{what}_seconds": round(whole[what].seconds, 2),
            f"{what}_seconds_of_a_tenth": round(tenth[what].seconds, 2),
            f"{what}_peak_mb": whole[what].peak_mb,
            f"{what}_peak_mb_of_a_tenth": tenth[what].peak_mb,
        }
    mine, floor = parse.added(list(whole.values())), parse.added(list(tenth.values()))
    return Result("memory", mine.rows, mine, floor, notes=notes)


def _parsed(dialect: str, folder: Path, rows: int, repeat: int, told: Callable[[str], None]) -> tuple[Timing, int]:
    """Return how landing and parsing one answer of so many rows did, and its size in MB; leave nothing behind."""
    folder.mkdir()
    folder.chmod(0o711)  # Root's server account must be able to enter.
    house = House(folder)
    try:
        parse.generate(folder, "answers", rows, [dialect])
        megabytes = _megabytes(folder / "answers")
        house.found()
        case = Case(
            f"{dialect}, {rows:,} rows", partial(parse.ours, dialect), partial(parse.landed, dialect, "answers")
        )
        return interleaved([case], folder, repeat, told)[case.name], megabytes
    finally:
        house.server.remove()
        shutil.rmtree(folder)


def _clicks(folder: Path, clicks: int, repeat: int, told: Callable[[str], None]) -> tuple[Timing, int]:
    """Return how matching with so many clicks did, and the size of their file in MB; leave nothing behind."""
    folder.mkdir()
    try:
        matching_world(folder, clicks, clicks // CLICKS_EACH, told)
        megabytes = _megabytes(folder)
        case = Case(f"{clicks:,} clicks", match.ours, match.ready)
        return interleaved([case], folder, repeat, told)[case.name], megabytes
    finally:
        shutil.rmtree(folder)


def _megabytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) // 1_000_000
