"""daily: one in a hundred of the known transactions changes, and the stages bring the books up to date.

Loading all of them comes first and stands where others have a floor, so the ratio is the share of it that a day costs.
What changes: the sales of four of 400 days, pending so far, are judged. Two partners are asked again for those days and
answer with every row of them; two tell new rows that take a part back. Each round is a day after the one before.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from bench.answers import PENDING_DAYS
from bench.measure import Case, Timing, once
from bench.pipeline import LOAD, measured, ready
from bench.result import Result
from bench.world import House, answers_about, changed_later, first_load, keep_waiting, round_days

ROWS = 10_000_000


def _fresh(folder: Path) -> None:
    ready(folder)
    House(folder).refresh()


def load_all(folder: Path) -> int:
    """Run all stages over all deliveries."""
    return measured(folder, LOAD, "load_told")


def one_day(folder: Path) -> int:
    """Run all stages over what changed."""
    number = int((folder / "round").read_text(encoding="ascii"))
    return measured(folder, f"round-{number}", f"round-{number}-told")


def run(folder: Path, rows: int | None, repeat: int, told: Callable[[str], None]) -> Result:
    """Return how long the stages take for a day's changes beside loading all `rows`."""
    answers = answers_about(rows or ROWS)
    rounds = min(repeat, PENDING_DAYS // round_days(answers))
    told(f"{answers} are generated")
    keep_waiting(folder, LOAD, answers.days, first_load(answers, folder / "answers"))
    for number in range(rounds):
        day = answers.days + (number + 1) * round_days(answers)
        keep_waiting(folder, f"round-{number}", day, changed_later(answers, folder / "answers", number))
    house = House(folder)
    days: list[Timing] = []
    try:
        house.build(answers)
        load = once(Case("load", load_all, _fresh), folder)
        told(f"all loaded: {load.rows:,} rows in {load.seconds:.2f} s, {load.peak_mb} MB")
        for number in range(rounds):
            (folder / "round").write_text(str(number), encoding="ascii")
            days.append(once(Case("a day", one_day, ready), folder))
            last = days[-1]
            told(f"day {number + 1} of {rounds}: {last.rows:,} rows in {last.seconds:.2f} s, {last.peak_mb} MB")
    finally:
        house.server.remove()
    best = min(range(rounds), key=lambda number: days[number].seconds)
    counts = json.loads((folder / f"round-{best}-told.json").read_text(encoding="utf-8"))
    most = max(day.peak_mb for day in days)
    ours = Timing(days[best].rows, days[best].seconds, most, days[best].processor_seconds)
    return Result(
        "daily",
        ours.rows,
        ours,
        load,
        notes={
            "known_rows": load.rows,
            "share_of_loading_all": round(ours.seconds / load.seconds, 4),
            **{name: value for name, value in counts.items() if name.endswith("_seconds")},
            "new_versions": counts["reconcile_new_versions"],
            "postings": counts["accrue_postings"],
            "load_peak_mb": load.peak_mb,
            "postgres_peak_mb": counts["postgres_peak_mb"],
        },
    )
