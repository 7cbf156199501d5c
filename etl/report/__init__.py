"""Report: the reconciliation of one entity and period, as a page to read and a spreadsheet to work with."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path

from etl.core.context import Context, StageResult
from etl.report import html, spreadsheet
from etl.report.figures import Report, compute, scope_of


def report(
    context: Context, period_starts_on: date, as_of: date, out: Path, known_at: datetime | None = None
) -> StageResult:
    """Write `reconciliation-<entity>-<YYYY-MM>.html` and `.xlsx` into the folder `out`, replacing what was there.

    Figures are of bookings in the month that starts on `period_starts_on`, up to and with `as_of`. With `known_at`
    (naive UTC) they are of the books as they were known then, and the files are called so. Writes nothing to the
    warehouse. Raises Stop if the period is no month or begins after `as_of`.
    """
    scope = scope_of(context, period_starts_on, as_of, known_at)
    figures = compute(context, scope)
    out.mkdir(parents=True, exist_ok=True)
    # An entity is named freely; a file is not.
    name = f"reconciliation-{re.sub(r'[^A-Za-z0-9_-]+', '-', scope.entity)}-{scope.starts_on:%Y-%m}"
    if known_at is not None:
        name += f"-known-{known_at:%Y%m%dT%H%M%SZ}"
    _replaced(out / f"{name}.html", lambda path: html.write(figures, path))
    _replaced(out / f"{name}.xlsx", lambda path: _spreadsheet(figures, path, context.temporary))
    counts = (
        ("files", 2),
        ("sections", len(figures.sections)),
        ("checks", figures.check_count),
        ("differences", figures.differing_count),
        ("breaks", _total(figures, "break_kind", "item_count")),
    )
    return StageResult("report", f"{scope.entity}/{scope.starts_on:%Y-%m}", counts, _note(figures, out / name))


def _spreadsheet(figures: Report, path: Path, temporary: Path) -> None:
    temporary.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=temporary) as folder:
        spreadsheet.write(figures, path, Path(folder))


def _replaced(path: Path, write: Callable[[Path], None]) -> None:
    """Write a file elsewhere and rename it: a reader sees the old one or the new one, never half of it."""
    # A folder of its own, as two runs at once must not write into one file.
    with tempfile.TemporaryDirectory(prefix=".part-", dir=path.parent) as folder:
        part = Path(folder) / path.name
        write(part)
        part.replace(path)


def _total(figures: Report, query: str, column: str) -> int:
    return sum(figures.table(query).data[column].to_pylist())


def _note(figures: Report, path: Path) -> str:
    differing, checks = figures.differing_count, figures.check_count
    proof = f"{differing} of {checks} checks differ" if differing else f"all {checks} checks hold"
    return f"{proof}, {_total(figures, 'break_kind', 'item_count')} open breaks: {path}.html and .xlsx"
