"""How an opening is loaded and confirmed in tests, by people with names."""

from __future__ import annotations

import dataclasses
import re
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

from etl.core.context import Context, StageResult
from etl.opening import approve_opening, load_opening
from tests.accrue.books import context

NOW = datetime.fromisoformat("2026-06-01T12:00")
DAY = date(2026, 5, 20)
CUT_OVER = "commission_receivable,{},,EUR,0,{}"


def desk(url: str, folder: Path, actor: str = "Olga", known_at: datetime = NOW) -> Context:
    """Return the context of a person."""
    return dataclasses.replace(context(url, folder, f"run-{actor}-{known_at}", known_at), actor=actor)


def file(folder: Path, rows: str, name: str = "opening.csv") -> Path:
    """Write rows under the header of an opening."""
    path = folder / name
    path.write_text("kind,owner,reference,currency,amount,as_of\n" + re.sub(r"(?m)^ +", "", rows).strip() + "\n")
    return path


def totals(*told: str) -> dict[tuple[str, str], Decimal]:
    """Return control totals told as on the command line."""
    pairs = (each.partition("=") for each in told)
    return {(name.partition(":")[0], name.partition(":")[2]): Decimal(total) for name, _, total in pairs}


def opened(
    here: Context, rows: str, *control: str, revision: int = 1, by: str = "Pavel", name: str = "go-live"
) -> StageResult:
    """Load rows as an opening and have another person confirm it; return what was booked."""
    path = file(here.temporary, rows, f"{name}-{revision}.csv")
    load_opening(here, path, name, revision, totals(*control))
    return approve_opening(dataclasses.replace(here, actor=by), name, revision, DAY)
