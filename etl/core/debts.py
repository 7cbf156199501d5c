"""Members' debts read from the books: the movements of their balances, what became of each, and what is written off."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from itertools import groupby

import psycopg
import pyarrow as pa

from etl.core.clawback import Course, Document, Lines, Movement, course
from etl.core.configuration import ClawbackPolicy, Entity
from etl.core.engine import query_text
from etl.core.flow import Flow, flow_target
from etl.core.money import Asset
from etl.core.schemas import TEXT
from etl.core.target import POSTED, read_posted
from etl.core.warehouse import Connection, fetch

PREFIX = "clawback/"
"""How the ids of documents begin that write off what a member owes; other write-offs begin otherwise."""

_MOVEMENT = pa.schema(
    [
        ("member_id", TEXT),
        ("asset", TEXT),
        ("effective_for", pa.date32()),
        ("document_kind", TEXT),
        ("document_id", TEXT),
        ("amount_minor", pa.int64()),
    ]
)
_LINE = pa.schema([("payout_id", TEXT), ("document_kind", TEXT), ("document_id", TEXT), ("amount_minor", pa.int64())])
Courses = Iterator[tuple[str, Asset, Course]]


def courses(
    connection: Connection,
    entity: Entity,
    day: date,
    member_id: str | None = None,
    as_of: date | None = None,
    known_at: datetime | None = None,
) -> Courses:
    """Yield member, asset and the course of their debts until `day`: of one member, or of all that ever owed."""
    parameters = {"entity": entity.name, "member_id": member_id, "as_of": as_of, "known_at": known_at}
    text = psycopg.ClientCursor(connection).mogrify(query_text("ledger/debtor_movement"), parameters)
    rows = fetch(connection, text, _MOVEMENT).to_pylist()
    lines = _lines(connection, sorted({row["document_id"] for row in rows if row["document_kind"] == "payout"}))
    for (member, asset), own in groupby(rows, key=lambda row: (row["member_id"], row["asset"])):
        movements = [
            Movement(row["effective_for"], (row["document_kind"], row["document_id"]), row["amount_minor"])
            for row in own
        ]
        parsed = Asset.parse(asset)
        yield member, parsed, course(movements, lines, entity.clawback, parsed.currency, day)


def write_off_id(member_id: str, document: Document) -> str:
    """Return the document that writes off what a member owes of a document."""
    return f"{PREFIX}{member_id}/{document[0]}/{document[1]}"


def write_off_target(connection: Connection, entity: Entity, day: date) -> pa.Table:
    """Return the signed flows (schema POSTED) that write-offs of members' debts should have as of `day`."""
    if not any(_writes_off(policy) for policy in entity.clawback):
        return POSTED.empty_table()
    flows = (
        Flow(
            write_off_id(member, document), ("clawback_write_off", ""), ("cashback_payable", member), asset, minor, on,
            "cashback",
        )
        for member, asset, found in courses(connection, entity, day)
        for document, on, minor in found.written_off()
    )  # fmt: skip
    return flow_target(connection, flows, entity.base_currency)


def read_written_off(connection: Connection, entity: Entity) -> pa.Table:
    """Return what is posted of write-offs of members' debts (schema POSTED)."""
    query = (
        "SELECT DISTINCT document_id FROM ledger.journal_entry"
        " WHERE entity = %s AND document_kind = 'write_off' AND document_id LIKE %s ORDER BY document_id"
    )
    rows = connection.execute(query, (entity.name, PREFIX + "%")).fetchall()
    return read_posted(connection, entity.name, [str(row[0]) for row in rows], kind="write_off")


def _writes_off(policy: ClawbackPolicy) -> bool:
    return policy.write_off_after_days is not None and any(policy.write_off_below_minor.values())


def _lines(connection: Connection, payouts: Sequence[str]) -> Lines:
    query = (
        "SELECT payout_id, document_kind, document_id, amount_minor FROM payout.payout_line WHERE payout_id = ANY(%s)"
        ' ORDER BY payout_id, document_kind, document_id COLLATE "C"'
    )
    found: dict[str, list[tuple[Document, int]]] = defaultdict(list)
    for row in fetch(connection, query, _LINE, (list(payouts),)).to_pylist():
        found[row["payout_id"]].append(((row["document_kind"], row["document_id"]), row["amount_minor"]))
    return found
