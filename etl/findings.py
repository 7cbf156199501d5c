"""What checks found, for a person: deliveries that are held and why, rows that were not taken and why."""

from __future__ import annotations

import pyarrow as pa

from etl.core.context import Context
from etl.core.schemas import TEXT
from etl.core.warehouse import fetch

LISTED_MAX = 10_000

HELD = pa.schema(
    [
        ("partner", TEXT),
        ("partner_account", TEXT),
        ("delivery_id", TEXT),
        ("window_from", pa.date32()),
        ("window_until", pa.date32()),
        ("observed_at", pa.timestamp("us")),
        ("row_count", pa.int64()),
        ("check_name", TEXT),
        ("expected", TEXT),
        ("actual", TEXT),
        ("failing_rows", pa.int64()),
    ]
)

# Only the newest parse of a delivery counts, as everywhere.
_HELD = """
    WITH newest AS (
        SELECT DISTINCT ON (delivery_id) delivery_id, parse_version, state, row_count
        FROM ops.validation ORDER BY delivery_id, parse_version DESC
    )
    SELECT d.partner, d.partner_account, d.delivery_id, d.window_from, d.window_until, d.observed_at, v.row_count,
           c.check_name, c.expected, c.actual, c.failing_rows
    FROM newest AS v
    JOIN ops.delivery AS d ON d.delivery_id = v.delivery_id
    JOIN ops.check_result AS c ON c.delivery_id = v.delivery_id AND c.parse_version = v.parse_version
    WHERE v.state = 'held' AND c.severity = 'hold' AND NOT c.is_passed
      AND (%s::text IS NULL OR d.partner_account = %s)
      AND NOT EXISTS (SELECT 1 FROM ops.hold_release AS r
                      WHERE r.delivery_id = v.delivery_id AND r.parse_version = v.parse_version)
    ORDER BY d.partner_account, d.window_from, d.observed_at, d.delivery_id, c.check_name
    LIMIT %s
"""

REJECT = pa.schema(
    [
        ("partner_account", TEXT),
        ("delivery_id", TEXT),
        ("row_number", pa.int64()),
        ("transaction_id", TEXT),
        ("line_id", TEXT),
        ("stage", TEXT),
        ("rule", TEXT),
        ("column_name", TEXT),
        ("value", TEXT),
        ("reason", TEXT),
        ("raw", TEXT),
    ]
)

_REJECTS = """
    SELECT d.partner_account, r.delivery_id, r.row_number, r.transaction_id, r.line_id, r.stage, r.rule, r.column_name,
           r.value, r.reason, r.raw
    FROM ops.reject AS r
    JOIN ops.delivery AS d ON d.delivery_id = r.delivery_id
    JOIN (SELECT delivery_id, max(parse_version) AS parse_version FROM ops.parse GROUP BY delivery_id) AS p
        ON p.delivery_id = r.delivery_id AND p.parse_version = r.parse_version
    WHERE (%s::text IS NULL OR d.partner_account = %s) AND (%s::text IS NULL OR r.delivery_id = %s)
    ORDER BY d.observed_at DESC, r.delivery_id, r.row_number, r.stage, r.rule
    LIMIT %s
"""


def list_holds(context: Context, partner_account: str | None = None) -> pa.Table:
    """Return each check (schema HELD) that holds a delivery nobody has released, by account and window.

    A delivery that two checks hold has two rows. Raises Stop if there is no such account.
    """
    if partner_account is not None:
        context.configuration.account(partner_account)
    with context.warehouse.transaction() as connection:
        return fetch(connection, _HELD, HELD, (partner_account, partner_account, LISTED_MAX))


def list_rejects(
    context: Context, partner_account: str | None = None, delivery_id: str | None = None, limit: int = 1_000
) -> pa.Table:
    """Return rows that were not taken (schema REJECT), of the newest delivery first; Stop if there is no such account.

    `raw` and `value` hold what the partner wrote.
    """
    if partner_account is not None:
        context.configuration.account(partner_account)
    parameters = (partner_account, partner_account, delivery_id, delivery_id, min(limit, LISTED_MAX))
    with context.warehouse.transaction() as connection:
        return fetch(connection, _REJECTS, REJECT, parameters)
