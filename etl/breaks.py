"""Breaks for people: list and filter them as they stand, and rank the clicks one could be about."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from etl.core.context import Context
from etl.core.decisions import EVERY, BreakFilter, read_breaks
from etl.core.engine import Relation
from etl.core.errors import Stop
from etl.core.schemas import CLICK, INSTANT, TEXT
from etl.core.warehouse import fetch

CANDIDATES_MAX = 50
_SALE = pa.schema(
    [
        ("program_id", TEXT),
        ("partner", TEXT),
        ("occurred_at", INSTANT),
        ("precision_seconds", pa.int32()),
        ("click_ref", TEXT),
        ("partner_clicked_at", INSTANT),
        ("lookback_days", pa.int32()),
    ]
)
_PATH = pa.schema([("object_path", TEXT)])


@dataclass(frozen=True, slots=True)
class Candidate:
    """A click that a break could be about, with what speaks for it; `score` only ranks."""

    click_id: str
    member_id: str
    clicked_at: datetime
    score: int
    reasons: tuple[str, ...]


def list_breaks(context: Context, day: date, only: BreakFilter = EVERY, limit: int = 1_000) -> pa.Table:
    """Return breaks (schema STATED_BREAK) that the filter lets through, as they stand on `day`, most at stake first."""
    with context.warehouse.transaction() as connection:
        return read_breaks(connection, day, only, limit)


def candidates(context: Context, sale_id: str, limit: int = 10) -> list[Candidate]:
    """Return clicks of the sale's program in its window, best first, with reasons; Stop if there is no such sale."""
    with context.warehouse.transaction() as connection:
        facts = fetch(connection, _SALE_FACTS, _SALE, (sale_id,))
        if facts.num_rows == 0:
            raise Stop(f"there is no sale {sale_id!r}: take the sale_id from the list of breaks")
        sale = facts.to_pylist()[0]
        if sale["program_id"] is None:
            return []
        until = sale["occurred_at"] + timedelta(seconds=max(1, sale["precision_seconds"]))
        since = sale["occurred_at"] - timedelta(days=sale["lookback_days"] or 30)
        paths = fetch(
            connection,
            "SELECT object_path FROM ops.tracked_file WHERE relation = 'click' AND day BETWEEN %s AND %s"
            " ORDER BY object_path",
            _PATH,
            (since.date(), until.date()),
        )["object_path"].to_pylist()
    if not paths:
        return []
    tracked: Relation = [context.lake.local(path) for path in paths]
    clicks = context.engine.run("reconcile/click", {"tracked_click": tracked}).cast(CLICK)
    near = clicks.filter(
        pc.and_(
            pc.equal(clicks["program_id"], sale["program_id"]),
            pc.and_(
                pc.greater_equal(clicks["clicked_at"], pa.scalar(since, INSTANT)),
                pc.less(clicks["clicked_at"], pa.scalar(until, INSTANT)),
            ),
        )
    )
    ranked = [
        _candidate(row, sale["occurred_at"], sale["click_ref"], sale["partner_clicked_at"]) for row in near.to_pylist()
    ]
    ranked.sort(key=lambda one: (-one.score, sale["occurred_at"] - one.clicked_at, one.click_id))
    return ranked[: min(limit, CANDIDATES_MAX)]


_SALE_FACTS = """
SELECT s.program_id, s.partner, s.occurred_at, v.occurred_precision_seconds AS precision_seconds, v.click_ref,
    v.partner_clicked_at, p.lookback_days
FROM ops.sale AS s
JOIN ops.transaction_version AS v ON v.sale_id = s.sale_id
LEFT JOIN ref.program AS p
    ON p.program_id = s.program_id AND p.valid_from <= s.occurred_at
    AND (p.valid_until IS NULL OR s.occurred_at < p.valid_until)
WHERE s.sale_id = %s
ORDER BY v.occurred_at, v.transaction_id, v.line_id, v.version_no DESC
LIMIT 1
"""


def _candidate(
    click: dict[str, object], occurred_at: datetime, click_ref: str | None, told_at: datetime | None
) -> Candidate:
    click_id, clicked_at = click["click_id"], click["clicked_at"]
    assert isinstance(click_id, str) and isinstance(clicked_at, datetime)
    score, reasons = 0, ["same program"]
    shared = _shared_prefix(click_id, click_ref or "")
    if shared >= 8:
        score += 100 + shared
        reasons.append(f"the reference shares its first {shared} characters")
    if told_at is not None:
        apart = abs(clicked_at - told_at)
        if apart <= timedelta(minutes=10):
            score += 60 - int(apart / timedelta(seconds=10))
            reasons.append(f"{int(apart.total_seconds())} s from the click time the partner tells")
    before = occurred_at - clicked_at
    if before <= timedelta(days=1):
        score += 20
    reasons.append(f"{before.total_seconds() / 3600:.1f} h before the sale")
    return Candidate(click_id, str(click["member_id"]), clicked_at, score, tuple(reasons))


def _shared_prefix(one: str, other: str) -> int:
    count = 0
    for left, right in zip(one.lower(), other.lower(), strict=False):
        if left != right:
            break
        count += 1
    return count
