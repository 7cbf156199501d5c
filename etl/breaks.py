"""Breaks for people: list and filter them, rank the clicks one could be about, and record what a person decides."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum

import pyarrow as pa
import pyarrow.compute as pc

from etl.core.approval import require_person
from etl.core.context import Context
from etl.core.engine import Relation
from etl.core.errors import Stop
from etl.core.kept import BREAK_FOUND
from etl.core.schemas import CLICK, INSTANT, TEXT
from etl.core.warehouse import APPROVER, Connection, fetch

LISTED_MAX = 10_000
CANDIDATES_MAX = 50

BREAK_ROW = pa.schema([*BREAK_FOUND, ("opened_on", pa.date32()), ("opened_run", TEXT)])
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
_ANY = pa.schema([("found", TEXT)])


class DecisionKind(StrEnum):
    """What a person may say of a sale."""

    ACCEPT_CLICK = "accept_click"
    NO_CASHBACK = "no_cashback"
    RELEASE_HOLD = "release_hold"
    UNDO = "undo"


@dataclass(frozen=True, slots=True)
class BreakFilter:
    """Which breaks to list; what is None does not restrict."""

    partner_account: str | None = None
    kind: str | None = None
    sale_id: str | None = None
    opened_since: date | None = None
    amount_at_least: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A click that a break could be about, with what speaks for it; `score` only ranks."""

    click_id: str
    member_id: str
    clicked_at: datetime
    score: int
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person decided, why, and the evidence they saw."""

    kind: DecisionKind
    sale_id: str
    reason: str
    evidence_hash: str
    click_id: str | None = None
    undoes: str | None = None


def list_breaks(context: Context, only: BreakFilter = BreakFilter(), limit: int = 1_000) -> pa.Table:
    """Return open breaks (schema BREAK_ROW) that the filter lets through, most money at stake first."""
    conditions: list[tuple[str, object]] = [
        ("partner_account = %s", only.partner_account),
        ("kind = %s", only.kind),
        ("sale_id = %s", only.sale_id),
        ("opened_on >= %s", only.opened_since),
        ("abs(amount) >= %s", only.amount_at_least),
    ]
    chosen = [(text, value) for text, value in conditions if value is not None]
    where = " AND ".join(text for text, _ in chosen) or "true"
    query = (
        f"SELECT {', '.join(BREAK_ROW.names)} FROM ops.break WHERE {where}"
        " ORDER BY abs(amount) DESC NULLS LAST, partner_account, transaction_id, line_id, kind LIMIT %s"
    )
    parameters = [*(value for _, value in chosen), min(limit, LISTED_MAX)]
    with context.warehouse.transaction() as connection:
        return fetch(connection, query, BREAK_ROW, parameters)


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


def decide(context: Context, decision: Decision) -> str:
    """Record a decision by `context.actor` at `context.known_at` and return its id; the same one twice is one.

    The next reconcile run acts on it. Raises Stop if the sale, or the decision to undo, does not exist, or if the click
    is missing, out of place, or none of ours is named, or if nobody says it.
    """
    _require_whole(decision)
    person = require_person(context.actor)
    told = [
        decision.kind.value,
        decision.sale_id,
        decision.click_id,
        decision.undoes,
        person,
        decision.evidence_hash,
    ]
    with context.warehouse.transaction(APPROVER) as connection:
        _require_known(connection, decision)
        standing = _standing_count(connection, decision)
        decision_id = hashlib.sha256(json.dumps([*told, standing], separators=(",", ":")).encode()).hexdigest()[:32]
        connection.execute(
            "INSERT INTO ops.decision (decision_id, kind, sale_id, click_id, undoes, decided_by, decided_at, reason,"
            " evidence_hash) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (decision_id) DO NOTHING",
            (
                decision_id,
                decision.kind.value,
                decision.sale_id,
                decision.click_id,
                decision.undoes,
                person,
                context.known_at,
                decision.reason,
                decision.evidence_hash,
            ),
        )
    return decision_id


def _require_whole(decision: Decision) -> None:
    if (decision.click_id is not None) != (decision.kind is DecisionKind.ACCEPT_CLICK):
        raise Stop(f"{decision.kind.value}: a click is named to accept_click, and only then")
    if (decision.undoes is not None) != (decision.kind is DecisionKind.UNDO):
        raise Stop(f"{decision.kind.value}: the decision undone is named to undo, and only then")
    if not decision.reason.strip():
        raise Stop("a decision needs a reason: say why, for whoever looks at it in a year")


def _require_known(connection: Connection, decision: Decision) -> None:
    if decision.undoes is not None:
        query, value = "SELECT sale_id AS found FROM ops.decision WHERE decision_id = %s", decision.undoes
    else:
        query, value = "SELECT sale_id AS found FROM ops.sale WHERE sale_id = %s", decision.sale_id
    found: Sequence[str] = fetch(connection, query, _ANY, (value,))["found"].to_pylist()
    if list(found) != [decision.sale_id]:
        raise Stop(f"{value!r} is no sale or decision of sale {decision.sale_id!r}: take both from the list of breaks")


def _standing_count(connection: Connection, decision: Decision) -> int:
    """Return how often the very same decision was made and undone: made again, it is a new one."""
    query = (
        "SELECT count(*)::text AS found FROM ops.decision AS d JOIN ops.decision AS u ON u.undoes = d.decision_id"
        " WHERE d.kind = %s AND d.sale_id = %s AND d.click_id IS NOT DISTINCT FROM %s AND d.evidence_hash = %s"
    )
    parameters = (decision.kind.value, decision.sale_id, decision.click_id, decision.evidence_hash)
    return int(fetch(connection, query, _ANY, parameters)["found"][0].as_py())
