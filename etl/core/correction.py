"""Corrections of cashback rules and contract terms: rows as they should have been, and what people say of them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa

from etl.core.context import Context
from etl.core.errors import Stop
from etl.core.reference_table import (
    RULES,
    TERMS,
    ReferenceTable,
    Row,
    faults_together,
    faults_within,
    in_force_faults,
    key_of,
)
from etl.core.schemas import TEXT
from etl.core.typed_csv import read_rows, read_text, stop_with
from etl.core.warehouse import Connection, copy_in, fetch

_TABLES = {"cashback_rule": RULES, "contract_term": TERMS}


@dataclass(frozen=True, slots=True)
class Proposal:
    """A correction in force for clicks from an instant on, or the end of a decision that put one in force."""

    correction_id: str
    from_at: datetime | None = None
    undoes: str | None = None


def table_of(path: Path) -> ReferenceTable:
    """Return the table whose rows a CSV holds, told by its header."""
    header = read_text(path).partition("\n")[0]
    for relation in (RULES, TERMS):
        if relation.key[0] in header.strip().split(","):
            return relation
    raise Stop(f"{path}: its first line names neither rule_id nor term_id: give cashback rules or contract terms")


def differing_rows(connection: Connection, path: Path, relation: ReferenceTable) -> list[Row]:
    """Return the rows of a CSV that are not as they are known now; Stop with every fault if there is one."""
    told = read_rows(path, relation.columns)
    latest = {key_of(row, relation): row for row in _latest(connection, relation)}
    rows = [row for _, row in told if latest.get(key_of(row, relation)) != row]
    after = {**latest, **{key_of(row, relation): row for row in rows}}
    stop_with(path, [*faults_within(told, relation), *faults_together(after.values(), relation)])
    if not rows:
        raise Stop(f"{path}: every {relation.what} in it is as it is known: there is nothing to correct")
    return rows


def _latest(connection: Connection, relation: ReferenceTable) -> list[Row]:
    """Return each rule or term as it was said last: as loaded, or as the last correction applied has it."""
    key, names = relation.key[0], ", ".join(relation.schema.names)
    query = f"""
        SELECT DISTINCT ON ({key}) {names}
        FROM (
            SELECT 0 AS place, {names} FROM {relation.table}
            UNION ALL
            SELECT a.place, {", ".join(f"c.{name}" for name in relation.schema.names)}
            FROM ref.correction_applied AS a JOIN {relation.table}_correction AS c USING (correction_id)
        ) AS edition
        ORDER BY {key}, place DESC
    """
    rows: list[Row] = fetch(connection, query, relation.schema).to_pylist()
    return rows


def write_correction(
    connection: Connection, context: Context, path: Path, relation: ReferenceTable, rows: list[Row], person: str
) -> str:
    """Write a correction, once, and return its id, which follows from what it says."""
    name = relation.table.partition(".")[2]
    said = sorted(json.dumps({key: str(value) for key, value in row.items()}, sort_keys=True) for row in rows)
    correction_id = hashlib.sha256("\n".join([name, *said]).encode()).hexdigest()[:12]
    done = connection.execute(
        "INSERT INTO ref.correction VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (correction_id) DO NOTHING",
        (correction_id, name, path.name, len(rows), person, context.known_at),
    )
    if done.rowcount:
        table = pa.Table.from_pylist(rows, schema=relation.schema)
        ids = pa.repeat(pa.scalar(correction_id, TEXT), table.num_rows)
        copy_in(connection, f"{relation.table}_correction", table.append_column("correction_id", ids))
    return correction_id


def from_instant(context: Context, on: date) -> datetime:
    """Return the instant (naive UTC) at which a day begins in the zone of the books."""
    zone = ZoneInfo(context.entity.books_zone)
    return datetime.combine(on, time(), zone).astimezone(UTC).replace(tzinfo=None)


def propose(
    connection: Connection, context: Context, proposal: Proposal, person: str, reason: str, effect_hash: str
) -> str:
    """Write the decision of a proposal and return its id.

    Stop if the correction is not known, if no reason is given, or if rules that exclude each other would be in force.
    Whoever only wants to look takes it back with the transaction.
    """
    if not reason.strip():
        raise Stop("a decision needs a reason: say why, for whoever looks at it in a year")
    known = connection.execute(
        "SELECT relation FROM ref.correction WHERE correction_id = %s", (proposal.correction_id,)
    ).fetchone()
    if known is None:
        raise Stop(f"there is no correction {proposal.correction_id!r}: `tallyback rules list` shows those there are")
    told = [proposal.correction_id, str(proposal.from_at), proposal.undoes, person, str(context.known_at)]
    decision_id = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:12]
    connection.execute(
        "INSERT INTO ref.correction_decision (decision_id, kind, correction_id, from_at, undoes, effect_hash,"
        " decided_by, decided_at, reason) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
        (
            decision_id, "apply" if proposal.undoes is None else "undo", proposal.correction_id, proposal.from_at,
            proposal.undoes, effect_hash, person, context.known_at, reason.strip(),
        ),
    )  # fmt: skip
    if faults := in_force_faults(connection, _TABLES[str(known[0])]):
        raise Stop(f"correction {proposal.correction_id} cannot be in force so:\n  " + "\n  ".join(faults[:5]))
    return decision_id


def standing(connection: Connection, proposal: Proposal) -> str | None:
    """Return the decision that already says what a proposal says, None if there is none."""
    row = connection.execute(
        "SELECT d.decision_id FROM ref.correction_decision AS d WHERE d.correction_id = %s"
        " AND d.from_at IS NOT DISTINCT FROM %s AND d.undoes IS NOT DISTINCT FROM %s"
        " AND NOT EXISTS (SELECT 1 FROM ref.correction_decision AS u WHERE u.undoes = d.decision_id)",
        (proposal.correction_id, proposal.from_at, proposal.undoes),
    ).fetchone()
    return None if row is None else str(row[0])


def undoing(connection: Connection, decision_id: str) -> Proposal:
    """Return the proposal to end a decision; Stop if there is no such decision that stands."""
    row = connection.execute(
        "SELECT d.correction_id FROM ref.correction_decision AS d WHERE d.decision_id = %s AND d.kind = 'apply'",
        (decision_id,),
    ).fetchone()
    if row is None:
        raise Stop(f"there is no decision {decision_id!r} to undo: `tallyback rules list` shows those there are")
    return Proposal(str(row[0]), None, decision_id)
