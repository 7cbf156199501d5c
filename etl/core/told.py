"""What partners told and paid, and what of their transactions it names: read for allocation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from etl.core.configuration import Configuration
from etl.core.errors import Stop
from etl.core.receivable_item import NOT_OPENED, Items, read_items
from etl.core.schemas import TEXT
from etl.core.warehouse import Connection, fetch
from etl.core.write_off import WRITE_OFF, read_write_offs

REMITTANCE_FACT = pa.schema(
    [
        ("partner", TEXT),
        ("partner_account", TEXT),
        ("remittance_id", TEXT),
        ("revision", pa.int32()),
        ("due_on", pa.date32()),
        ("received_on", pa.date32()),
        ("currency", TEXT),
        ("net_minor", pa.int64()),
        ("bank", TEXT),
        ("bank_amount_minor", pa.int64()),
        ("bank_currency", TEXT),
        ("coverage", TEXT),
        ("period_from", pa.date32()),
        ("period_until", pa.date32()),
    ]
)
LINE_FACT = pa.schema(
    [
        ("partner_account", TEXT),
        ("remittance_id", TEXT),
        ("revision", pa.int32()),
        ("line_no", pa.int32()),
        ("kind", TEXT),
        ("transaction_id", TEXT),
        ("line_id", TEXT),
        ("payment_ref", TEXT),
        ("amount_minor", pa.int64()),
        ("currency", TEXT),
    ]
)
DECISION_FACT = pa.schema(
    [("partner_account", TEXT), ("remittance_id", TEXT), ("revision", pa.int32()), ("kind", TEXT)]
)
KNOWN_ROW = pa.schema([("partner_account", TEXT), ("transaction_id", TEXT), ("line_id", TEXT), ("currency", TEXT)])
REFERENCED_ROW = pa.schema(
    [
        ("partner_account", TEXT),
        ("payment_ref", TEXT),
        ("transaction_id", TEXT),
        ("line_id", TEXT),
        ("currency", TEXT),
        ("commission_minor", pa.int64()),
    ]
)
LATE_ROW = pa.schema([("partner_account", TEXT), ("transaction_id", TEXT), ("line_id", TEXT), ("told_on", pa.date32())])


@dataclass(frozen=True, slots=True)
class Told:
    """What partners told and paid, as Arrow tables, and whether money that no sum fits pays the oldest first."""

    remittance: pa.Table
    line: pa.Table
    decision: pa.Table
    known_row: pa.Table
    referenced_row: pa.Table
    late_row: pa.Table
    is_oldest_first: bool
    items: Items = field(default_factory=Items)
    write_off: pa.Table = field(default_factory=WRITE_OFF.empty_table)


def read_told(connection: Connection, configuration: Configuration, accounts: Sequence[str] | None = None) -> Told:
    """Return all remittances, or those of some accounts, with what of the transactions they name, and all write-offs.

    Stop if an account of one is not configured.
    """

    def read(query: str, schema: pa.Schema, *parameters: object) -> pa.Table:
        if accounts is None:
            return fetch(connection, query, schema, parameters)
        if not accounts:
            return schema.empty_table()
        # PostgreSQL looks at what is asked of the names inside.
        text = f"SELECT * FROM ({query}) AS told WHERE partner_account = ANY(%s)"
        return fetch(connection, text, schema, (*parameters, list(accounts)))

    told = Told(
        read(_REMITTANCES, REMITTANCE_FACT),
        read(_LINES, LINE_FACT),
        read(_DECISIONS, DECISION_FACT),
        read(_KNOWN_ROWS, KNOWN_ROW),
        read(_REFERENCED_ROWS, REFERENCED_ROW),
        read(_LATE_ROWS, LATE_ROW, configuration.entity.books_zone),
        configuration.entity.lump_sums == "oldest_first",
        read_items(connection, accounts),
        read_write_offs(connection, configuration.entity.books_zone),
    )
    unknown = set(pc.unique(told.remittance["partner_account"]).to_pylist()) - {
        account.name for account in configuration.accounts
    }
    if unknown:
        raise Stop(
            f"remittances of accounts that are not configured: {', '.join(sorted(unknown))}: put"
            " config/partners/<name>.yaml back; without it their money would be taken back"
        )
    return told


def read_remittances(connection: Connection) -> pa.Table:
    """Return all revisions of all remittances (schema REMITTANCE_FACT)."""
    return fetch(connection, _REMITTANCES, REMITTANCE_FACT)


def read_decisions(connection: Connection) -> pa.Table:
    """Return the decisions about remittances that are not undone (schema DECISION_FACT)."""
    return fetch(connection, _DECISIONS, DECISION_FACT)


_REMITTANCES = """
SELECT partner, partner_account, remittance_id, revision, due_on, received_on, currency, (net * 10000)::bigint, bank,
    (bank_amount * 10000)::bigint, bank_currency, coverage, period_from, period_until
FROM ops.remittance
ORDER BY partner_account, remittance_id, revision
"""
# Of the highest revision of each: no other pays anything.
_LINES = """
SELECT l.partner_account, l.remittance_id, l.revision, l.line_no, l.kind, l.transaction_id, l.line_id, l.payment_ref,
    (l.amount * 10000)::bigint, l.currency
FROM ops.remittance_line AS l
WHERE NOT EXISTS (
    SELECT 1 FROM ops.remittance AS r
    WHERE r.partner_account = l.partner_account AND r.remittance_id = l.remittance_id AND r.revision > l.revision
)
ORDER BY l.partner_account, l.remittance_id, l.line_no
"""
_DECISIONS = """
SELECT d.partner_account, d.remittance_id, d.revision, d.kind
FROM ops.remittance_decision AS d
WHERE d.kind <> 'undo' AND NOT EXISTS (SELECT 1 FROM ops.remittance_decision AS u WHERE u.undoes = d.decision_id)
ORDER BY d.decision_id
"""
_KNOWN_ROWS = f"""
SELECT v.partner_account, v.transaction_id, v.line_id, v.currency
FROM ops.transaction_version AS v
JOIN (SELECT DISTINCT partner_account, transaction_id FROM ops.remittance_line) AS l
    ON l.partner_account = v.partner_account AND l.transaction_id = v.transaction_id
WHERE {NOT_OPENED}
UNION
SELECT partner_account, transaction_id, '', currency FROM ops.receivable_item
ORDER BY 1, 2, 3, 4
"""
# What a row was worth when the partner first said with which payment it was paid: later changes are later payments.
# Only what is paid bears a reference, so a row that was declined before we saw it again was paid all the same.
_REFERENCED_ROWS = f"""
SELECT DISTINCT ON (v.partner_account, v.payment_ref, v.transaction_id, v.line_id)
    v.partner_account, v.payment_ref, v.transaction_id, v.line_id, v.currency,
    (v.commission_amount * 10000)::bigint
FROM ops.transaction_version AS v
JOIN (SELECT DISTINCT partner_account, payment_ref FROM ops.remittance_line) AS l
    ON l.partner_account = v.partner_account AND l.payment_ref = v.payment_ref
WHERE NOT v.is_absent AND {NOT_OPENED}
ORDER BY v.partner_account, v.payment_ref, v.transaction_id, v.line_id, v.version_no
"""
# What a partner processed after the day it is true: no statement of a period that was over by then holds it.
_LATE_ROWS = """
SELECT v.partner_account, v.transaction_id, v.line_id, p.processed_on
FROM ops.transaction_version AS v
CROSS JOIN LATERAL (SELECT (v.processed_at AT TIME ZONE 'UTC' AT TIME ZONE %s)::date AS processed_on) AS p
WHERE v.version_no = 1 AND p.processed_on > v.effective_on
    AND v.partner_account IN (SELECT partner_account FROM ops.remittance)
ORDER BY v.partner_account, v.transaction_id, v.line_id
"""
