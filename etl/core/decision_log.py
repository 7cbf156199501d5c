"""Decisions as recorded: found by name, those that act, those that wait for a second person, and all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from psycopg.rows import dict_row

from etl.core.errors import Stop
from etl.core.warehouse import Connection

Row = dict[str, object]
NAME_SHOWN = 12
"""So many characters of a name are shown; as many as make it one are enough to say it."""


def insert(connection: Connection, made: Sequence[Row]) -> None:
    """Write decisions, all with the same columns; one that is there already stays as it is."""
    names = list(made[0])
    query = (
        f"INSERT INTO ops.decision ({', '.join(names)}) VALUES ({', '.join(f'%({name})s' for name in names)})"
        " ON CONFLICT (decision_id) DO NOTHING"
    )
    with connection.cursor() as cursor:
        cursor.executemany(query, made)


def moment(connection: Connection, known_at: datetime) -> datetime:
    """Return the instant of a word said at `known_at`: after all others of that second: the last one counts."""
    row = connection.execute(_LAST, {"since": known_at, "until": known_at + timedelta(seconds=1)}).fetchone()
    last = row[0] if row else None
    return last + timedelta(microseconds=1) if isinstance(last, datetime) else known_at


def acting(connection: Connection, name: str) -> list[Row]:
    """Return the decision of this name, or all of the batch, that act; Stop if none does."""
    found = _named(connection, _ACTING, name)
    if not found:
        raise Stop(_not_in_force(connection, name))
    return found


def acting_ids(connection: Connection, ids: Sequence[object]) -> set[object]:
    """Return those of the decisions that act."""
    return {row["decision_id"] for row in rows(connection, _ACTING_IDS, {"ids": list(ids)})}


def agreed(connection: Connection, name: str) -> list[Row]:
    """Return the decision of this name, or all of the batch, that somebody agreed to."""
    return _named(connection, _AGREED, name)


def pending(connection: Connection, name: str) -> list[Row]:
    """Return the proposal of this name, or all of the batch; Stop if none waits."""
    found = _named(connection, _PENDING, name)
    if not found:
        raise Stop(f"{name} is no proposal that waits: `tallyback breaks proposals` lists them")
    return found


def without_sale(connection: Connection, sale_ids: Sequence[object]) -> list[str]:
    """Return those of the ids that no sale has: documents that stand for one."""
    return [str(row["sale_id"]) for row in rows(connection, _WITHOUT_SALE, {"ids": list(sale_ids)})]


def undo_proposed(connection: Connection, ids: Sequence[object]) -> list[Row]:
    """Return the proposals to undo one of these decisions."""
    return rows(connection, _UNDO_PROPOSED, {"ids": list(ids)})


def of_batch(connection: Connection, batch_id: str) -> list[Row]:
    """Return the decisions of a batch, and whether each still waits for a second person."""
    return rows(connection, _BATCH, {"batch_id": batch_id})


def proposals(connection: Connection) -> list[Row]:
    """Return what waits for a second person, oldest first."""
    return rows(connection, _PROPOSALS, {})


def history(connection: Connection, sale_id: str | None, limit: int) -> list[Row]:
    """Return decisions, the newest first, with how each stands."""
    return rows(connection, _HISTORY, {"sale_id": sale_id, "limit": limit})


def shared_batch(found: Sequence[Row]) -> str | None:
    """Return the batch all of these are of, None if they are not of one."""
    batches = {row["batch_id"] for row in found}
    return str(next(iter(batches))) if len(batches) == 1 and None not in batches else None


def short_name(row: Row) -> str:
    """Return what a person types for a decision: its batch, if it is of one."""
    return str(row["batch_id"] or row["decision_id"])[:NAME_SHOWN]


def rows(connection: Connection, query: str, parameters: Mapping[str, object]) -> list[Row]:
    """Return the rows of a query, columns by name."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query, dict(parameters)).fetchall()


def _named(connection: Connection, query: str, name: str) -> list[Row]:
    """Return the decisions called so: one by its id, or all of a batch; Stop if the name could be several."""
    if len(name) < 6 or set(name) - set("0123456789abcdef"):
        raise Stop(f"{name!r} is no name of a decision or batch: `tallyback breaks decisions` shows them")
    found = rows(connection, query, {"name": f"{name}%"})
    if len(found) > 1 and not str(shared_batch(found)).startswith(name):
        raise Stop(f"{name} could be {len(found)} decisions: write more of its characters")
    return found


def _not_in_force(connection: Connection, name: str) -> str:
    found = rows(connection, _ANY, {"name": f"{name}%"})
    if not found:
        return f"there is no decision or batch {name}: `tallyback breaks decisions` lists them"
    if found[0]["is_pending"]:
        return f"{name} is only proposed: tallyback breaks refuse {name}"
    return f"{name} is undone already"


_COLUMNS = """
    d.decision_id, d.kind, d.sale_id, d.click_id, d.undoes, d.decided_by, d.decided_at, d.reason, d.evidence_hash,
    d.partner_account, d.transaction_id, d.line_id, d.break_kind, d.expected, d.found, d.amount, d.currency, d.until_on,
    d.claim_amount, d.batch_id,
    (SELECT count(*) FROM ops.decision AS u WHERE u.undoes = d.decision_id) AS decision_count
"""
_LAST = """
    SELECT max(said.at)
    FROM (
        SELECT decided_at AS at FROM ops.decision UNION ALL SELECT agreed_at FROM ops.agreement
    ) AS said
    WHERE said.at >= %(since)s AND said.at < %(until)s
"""
_ACTING = f"""
    SELECT {_COLUMNS}
    FROM ops.decision AS d
    LEFT JOIN ops.agreement AS a ON a.decision_id = d.decision_id
    WHERE (d.decision_id LIKE %(name)s OR d.batch_id LIKE %(name)s)
        AND (a.decision_id IS NOT NULL OR NOT d.needs_agreement) AND NOT ops.is_undone(d.decision_id)
    ORDER BY d.decision_id
"""
_ACTING_IDS = """
    SELECT d.decision_id
    FROM ops.decision AS d
    LEFT JOIN ops.agreement AS a ON a.decision_id = d.decision_id
    WHERE d.decision_id = ANY(%(ids)s)
        AND (a.decision_id IS NOT NULL OR NOT d.needs_agreement) AND NOT ops.is_undone(d.decision_id)
"""
_PENDING = f"""
    SELECT {_COLUMNS}
    FROM ops.proposal AS d
    WHERE d.decision_id LIKE %(name)s OR d.batch_id LIKE %(name)s
    ORDER BY d.decision_id
"""
_AGREED = f"""
    SELECT {_COLUMNS}, a.agreed_by
    FROM ops.decision AS d
    JOIN ops.agreement AS a ON a.decision_id = d.decision_id
    WHERE d.decision_id LIKE %(name)s OR d.batch_id LIKE %(name)s
    ORDER BY d.decision_id
"""
_PROPOSALS = f"SELECT {_COLUMNS} FROM ops.proposal AS d ORDER BY d.decided_at, d.batch_id, d.decision_id"
_WITHOUT_SALE = """
    SELECT k.sale_id
    FROM unnest(%(ids)s::text[]) AS k (sale_id)
    WHERE NOT EXISTS (SELECT 1 FROM ops.sale AS s WHERE s.sale_id = k.sale_id)
    ORDER BY k.sale_id
"""
_UNDO_PROPOSED = """
    SELECT d.decision_id, d.batch_id, d.decided_by FROM ops.proposal AS d WHERE d.undoes = ANY(%(ids)s)
    ORDER BY d.decision_id
"""
_ANY = """
    SELECT d.decision_id, p.decision_id IS NOT NULL AS is_pending
    FROM ops.decision AS d
    LEFT JOIN ops.proposal AS p ON p.decision_id = d.decision_id
    WHERE d.decision_id LIKE %(name)s OR d.batch_id LIKE %(name)s
    ORDER BY is_pending DESC, d.decision_id
"""
_BATCH = """
    SELECT d.decision_id, p.decision_id IS NOT NULL AS is_pending
    FROM ops.decision AS d
    LEFT JOIN ops.proposal AS p ON p.decision_id = d.decision_id
    WHERE d.batch_id = %(batch_id)s
    ORDER BY d.decision_id
"""
_HISTORY = f"""
    SELECT {_COLUMNS}, a.agreed_by, a.agreed_at, a.reason AS agreed_because,
        CASE
            WHEN p.decision_id IS NOT NULL THEN 'proposed'
            WHEN NOT ops.is_undone(d.decision_id) THEN 'in force'
            WHEN d.needs_agreement AND a.decision_id IS NULL THEN 'refused'
            ELSE 'undone'
        END AS standing
    FROM ops.decision AS d
    LEFT JOIN ops.agreement AS a ON a.decision_id = d.decision_id
    LEFT JOIN ops.proposal AS p ON p.decision_id = d.decision_id
    WHERE %(sale_id)s::text IS NULL OR d.sale_id = %(sale_id)s
    ORDER BY d.decided_at DESC, d.batch_id, d.decision_id
    LIMIT %(limit)s
"""
