"""What the DAG files need to know when they are read: names from the configuration's file names, times and retries.

Only the standard library is imported and only file names (and the line `connection:` of an account) are read, as the
DAG processor reads these files again and again. What an account *is*, the stages learn when they run.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

START = datetime(2000, 1, 1, tzinfo=UTC)
"""Before all data: a run for a day before its DAG's start has no task, and Airflow calls that a success."""

DEFAULT_POOL = "default_pool"
SCHEDULES = {
    "REFERENCE": "0 3 * * *",
    "RATES": "30 3 * * *",
    "CLICKS": "0 4 * * *",
    "INGEST": "30 4 * * *",
    "VERIFY": "0 2 * * *",
    "REPORT": "0 7 * * *",
    # A payout begins with a person, unless the house wants to be asked at a time.
    "PAYOUT": None,
}
_CONNECTION = re.compile(r"^connection:\s*[\"']?([A-Za-z0-9_.-]+)", re.MULTILINE)
_FILE_BYTES_MAX = 100_000


@dataclass(frozen=True, slots=True)
class DagSettings:
    """Which DAGs there are and when they run. `pools` names the pool of each partner account's fetches."""

    accounts: tuple[str, ...]
    click_sources: tuple[str, ...]
    banks: tuple[str, ...]
    schedules: Mapping[str, str | None]
    pools: Mapping[str, str]
    retries: int
    retry_delay: timedelta
    stage_timeout: timedelta
    answer_timeout: timedelta

    def schedule(self, name: str) -> str | None:
        """Return the cron expression of `REFERENCE`, `RATES`, ...; None if it runs only when somebody asks."""
        return self.schedules[name]


def load(environment: Mapping[str, str] | None = None) -> DagSettings:
    """Return the settings of `environment` (the process's own by default); a number that is none is a ValueError."""
    told = os.environ if environment is None else environment
    folder = Path(told.get("TALLYBACK_CONFIGURATION", "config"))
    accounts = _names(folder / "partners")
    return DagSettings(
        accounts=accounts,
        click_sources=_names(folder / "clicks"),
        banks=_names(folder / "banks"),
        schedules={name: _schedule(told, name, default) for name, default in SCHEDULES.items()},
        pools={name: _pool(told, folder / "partners" / f"{name}.yaml") for name in accounts},
        retries=int(told.get("TALLYBACK_RETRIES", "3")),
        retry_delay=timedelta(seconds=int(told.get("TALLYBACK_RETRY_SECONDS", "300"))),
        stage_timeout=timedelta(hours=int(told.get("TALLYBACK_STAGE_HOURS", "6"))),
        answer_timeout=timedelta(hours=int(told.get("TALLYBACK_ANSWER_HOURS", "72"))),
    )


def _names(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in folder.glob("*.yaml")))


def _schedule(told: Mapping[str, str], name: str, default: str | None) -> str | None:
    """Return TALLYBACK_SCHEDULE_<NAME>, else the default; `off` there, or in TALLYBACK_SCHEDULES for all, is none."""
    wanted = told.get(f"TALLYBACK_SCHEDULE_{name}", told.get("TALLYBACK_SCHEDULES", default))
    return None if wanted in (None, "", "off") else wanted


def _pool(told: Mapping[str, str], file: Path) -> str:
    """Return the pool of an account: one per connection with TALLYBACK_POOLS=connection, else Airflow's default.

    A task whose pool does not exist waits for ever, so pools of our own are used only where somebody made them.
    """
    if told.get("TALLYBACK_POOLS", "default") != "connection":
        return DEFAULT_POOL
    with file.open(encoding="utf-8", errors="replace") as handle:
        found = _CONNECTION.search(handle.read(_FILE_BYTES_MAX))
    return f"tallyback_{found[1] if found else file.stem}"
