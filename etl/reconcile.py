"""Reconcile: from accepted deliveries, clicks and decisions to versions, sales, matches and breaks, as a difference.

Everything is computed from all accepted rows, so that the order of arrival cannot matter, and compared with what the
warehouse holds; only what differs is written, in one transaction under the lock of the entity's books. A narrower scope
would restrict the rows read in `_read`, nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc

from etl.core.alias import moved_keys
from etl.core.connector import ConnectorFacts
from etl.core.context import Context, StageResult
from etl.core.engine import Engine, Files, Relation
from etl.core.kept import BREAK_FOUND, OPENING_BREAKS, REMITTANCE_BREAKS, KeptTable, keep
from etl.core.money import exponent
from etl.core.schemas import (
    ALIAS,
    CASHBACK_RULE,
    CLICK,
    CONTRACT_TERM,
    CONVERSION,
    FX_RATE,
    MATCH,
    PROGRAM,
    TEXT,
    TRANSACTION,
    VERSION,
)
from etl.core.target import commission_tolerance
from etl.core.warehouse import Connection, fetch, lock
from etl.match import (
    DECISION,
    SEAL,
    SETTLED_MATCH,
    TRUNCATED_LENGTHS,
    Matched,
    Matching,
    matched,
    run_step,
)

_DELIVERY = pa.schema(
    [
        ("delivery_id", TEXT),
        ("partner_account", TEXT),
        ("window_from", pa.date32()),
        ("window_until", pa.date32()),
        ("observed_at", pa.timestamp("us")),
        ("states_scope", pa.bool_()),
        ("has_unkeyed_rejects", pa.bool_()),
        ("object_path", TEXT),
    ]
)
SCOPE = pa.schema(
    [
        ("delivery_id", TEXT),
        ("partner_account", TEXT),
        ("from_at", pa.timestamp("us")),
        ("until_at", pa.timestamp("us")),
        ("observed_at", pa.timestamp("us")),
        ("observed_on", pa.date32()),
        ("states_scope", pa.bool_()),
        ("has_unkeyed_rejects", pa.bool_()),
    ]
)
REJECTED_KEY = pa.schema([("delivery_id", TEXT), ("transaction_id", TEXT), ("line_id", TEXT)])
PARTNER_MODEL = pa.schema(
    [
        ("partner", TEXT),
        ("partner_account", TEXT),
        ("version_clock", TEXT),
        ("clock_precision_seconds", pa.int32()),
        ("reversal_model", TEXT),
        ("signed_row_link", TEXT),
        ("has_status", pa.bool_()),
    ]
)
_SALE = pa.schema(
    [
        ("sale_id", TEXT),
        ("partner", TEXT),
        ("partner_account", TEXT),
        ("program_id", TEXT),
        ("merchant_id", TEXT),
        ("order_ref", TEXT),
        ("occurred_at", pa.timestamp("us")),
        ("sale_on", pa.date32()),
        ("outcome", TEXT),
        ("rule", TEXT),
        ("click_id", TEXT),
        ("clicked_at", pa.timestamp("us")),
        ("member_id", TEXT),
        ("earns_cashback", pa.bool_()),
        ("is_payout_held", pa.bool_()),
    ]
)
_OBJECT = pa.schema([("relation", TEXT), ("object_path", TEXT)])
# Of each delivery, as it was parsed last.
_ROWS = """
    SELECT coalesce(sum(p.row_count), 0), coalesce(sum(p.reject_count + coalesce(v.reject_count, 0)), 0)
    FROM (SELECT DISTINCT ON (delivery_id) * FROM ops.parse ORDER BY delivery_id, parse_version DESC) AS p
    LEFT JOIN ops.validation AS v ON v.delivery_id = p.delivery_id AND v.parse_version = p.parse_version
"""
_ROW_KEY = ("partner_account", "transaction_id", "line_id")


_VERSIONS = KeptTable("ops.transaction_version", (*_ROW_KEY, "version_no"), VERSION, "versions")
_SALES = KeptTable("ops.sale", ("sale_id",), _SALE, "sales")
_MATCHES = KeptTable("ops.match", _ROW_KEY, MATCH, "matches")
# What is amiss with remittances is told by the stage that looks at them.
_BREAKS = KeptTable(
    "ops.break",
    (*_ROW_KEY, "kind"),
    BREAK_FOUND,
    "breaks",
    carried=True,
    scope=f"kind NOT IN ({', '.join(repr(kind) for kind in (*REMITTANCE_BREAKS, *OPENING_BREAKS))})",
)


def reconcile(context: Context, day: date, facts: Mapping[str, ConnectorFacts]) -> StageResult:
    """Return what changed when versions, sales, matches and breaks were brought up to `day`; again, nothing does.

    `facts` are those of the connectors, by partner. Raises Stop if a delivery names an account that is not configured.
    """
    with context.warehouse.transaction() as connection:
        lock(connection, f"books:{context.entity.name}")
        row_count, reject_count = _rows_so_far(connection)
        versions, result = _computed(context, connection, day, facts)
        changes = {
            target.noun: keep(context, connection, target, table, day)
            for target, table in ((_VERSIONS, versions), (_SALES, result.sale), (_MATCHES, result.match))
        }
        breaks = _not_opened(connection, result.breaks)
        changes[_BREAKS.noun] = keep(context, connection, _BREAKS, breaks, day)
    counts: list[tuple[str, int]] = []
    for noun, change in changes.items():
        counts += [(f"new_{noun}", change.new), (f"changed_{noun}", change.changed), (f"gone_{noun}", change.gone)]
    counts += [("sales", result.sale.num_rows), ("open_breaks", breaks.num_rows)]
    written = changes["matches"].new + changes["matches"].changed
    note = (
        f"{row_count:,} rows, {reject_count:,} rejects, {breaks.num_rows:,} breaks{_at_stake(breaks)}; "
        f"{changes['versions'].new:,} new versions, {written:,} matches written"
    )
    return StageResult("reconcile", context.entity.name, tuple(counts), note)


def _not_opened(connection: Connection, breaks: pa.Table) -> pa.Table:
    """Return the breaks without those of sales that an opening holds: nothing is booked of them, whatever is amiss.

    That one changed since is a break of its own, told by the stage that books openings.
    """
    query = "SELECT sale_id FROM ops.sale_in_opening ORDER BY sale_id"
    opened = fetch(connection, query, pa.schema([("sale_id", TEXT)]))["sale_id"]
    return breaks.filter(pc.invert(pc.is_in(breaks["sale_id"], opened))) if len(opened) else breaks


def _rows_so_far(connection: Connection) -> tuple[int, int]:
    """Return how many rows partners have sent by now, and how many of them were not taken."""
    found = connection.execute(_ROWS).fetchone() or (0, 0)
    return int(str(found[0])), int(str(found[1]))


def _at_stake(breaks: pa.Table) -> str:
    """Return the commission that breaks are about as words, such as ', EUR 84.10 and GBP 12.00 at stake'."""
    sums: dict[str, Decimal] = {}
    for currency, amount in zip(breaks["currency"].to_pylist(), breaks["amount"].to_pylist(), strict=True):
        if currency is not None and amount is not None:
            sums[currency] = sums.get(currency, Decimal(0)) + abs(amount)
    told = [f"{currency} {sums[currency]:,.{exponent(currency)}f}" for currency in sorted(sums)]
    return f", {' and '.join(told)} at stake" if told else ""


def _computed(
    context: Context, connection: Connection, day: date, facts: Mapping[str, ConnectorFacts]
) -> tuple[pa.Table, Matched]:
    """Return all versions and what follows from them."""
    engine, zone = context.engine, context.entity.books_zone
    deliveries = fetch(connection, _ACCEPTED, _DELIVERY)
    model = _partner_model(context, facts)
    scope = _scope(context, deliveries)
    # A file of an older day lacks columns that a newer one has, and tells none of them.
    rows = Files([context.lake.local(path) for path in deliveries["object_path"].to_pylist()], TRANSACTION)
    relations: dict[str, Relation] = {"delivery_scope": scope, "partner_model": model, "transaction_row": rows}
    observation = run_step(engine, "prepare/observation", relations, {"books_zone": zone})
    rejected = fetch(connection, _REJECTED, REJECTED_KEY)
    moved = moved_keys(fetch(connection, _ALIASES, ALIAS).to_pylist())
    versions = versions_of(engine, observation, scope, rejected, model, moved)
    tracked = fetch(connection, _TRACKED, _OBJECT).to_pylist()
    clicks = [row["object_path"] for row in tracked if row["relation"] == "click"]
    conversions = [row["object_path"] for row in tracked if row["relation"] == "conversion"]
    lengths = {
        length
        for account in context.configuration.accounts
        if isinstance(length := account.options.get("click_ref_length"), int)
    }
    return versions, matched(
        engine,
        Matching(
            current_row=run_step(engine, "current_row", {"version": versions, "moved_key": moved}, {}),
            program=fetch(connection, f"SELECT {', '.join(PROGRAM.names)} FROM ref.program ORDER BY 1, 10", PROGRAM),
            click=run_step(engine, "click", {"tracked_click": _objects(context, clicks, CLICK)}, {}),
            conversion=run_step(
                engine, "conversion", {"tracked_conversion": _objects(context, conversions, CONVERSION)}, {}
            ),
            seal=fetch(connection, "SELECT sealed_until FROM ops.click_seal ORDER BY source", SEAL),
            partner_model=model,
            day=day,
            books_zone=zone,
            base_currency=context.entity.base_currency,
            truncated_lengths=tuple(sorted({*TRUNCATED_LENGTHS, *lengths})),
            conflict=run_step(engine, "conflict", {"observation": observation}, {}),
            decision=fetch(connection, _DECISIONS, DECISION),
            settled_match=fetch(connection, _SETTLED, SETTLED_MATCH),
            cashback_rule=fetch(
                connection,
                f"SELECT {', '.join(CASHBACK_RULE.names)} FROM ref.cashback_rule_in_force ORDER BY 1, 8",
                CASHBACK_RULE,
            ),
            fx_rate=fetch(
                connection, f"SELECT {', '.join(FX_RATE.names)} FROM ref.fx_rate ORDER BY 1, 2, 3, 5", FX_RATE
            ),
            contract_term=fetch(
                connection,
                f"SELECT {', '.join(CONTRACT_TERM.names)} FROM ref.contract_term_in_force ORDER BY 1, 8",
                CONTRACT_TERM,
            ),
            commission_tolerance=commission_tolerance(context.configuration),
        ),
    )


def versions_of(
    engine: Engine, observation: pa.Table, scope: pa.Table, rejected: pa.Table, model: pa.Table, moved: pa.Table
) -> pa.Table:
    """Return the versions (schema VERSION) of what was observed; see sql/reconcile/version.sql."""
    relations: dict[str, Relation] = {
        "observation": observation,
        "delivery_scope": scope,
        "rejected_key": rejected,
        "partner_model": model,
        "moved_key": moved,
    }
    return run_step(engine, "version", relations, {}).select(VERSION.names).cast(VERSION)


# The newest parse that was let through: one that is held does not take away what the one before it said.
_ACCEPTED = """
SELECT delivery_id, partner_account, window_from, window_until, observed_at, states_scope, has_unkeyed_rejects,
    object_path
FROM (
    SELECT d.delivery_id, d.partner_account, d.window_from, d.window_until, d.observed_at, d.states_scope,
        p.unkeyed_reject_count > 0 AS has_unkeyed_rejects, v.object_path,
        row_number() OVER (PARTITION BY d.delivery_id ORDER BY v.parse_version DESC) AS age
    FROM ops.delivery AS d
    JOIN ops.validation AS v ON v.delivery_id = d.delivery_id
    JOIN ops.parse AS p ON p.delivery_id = v.delivery_id AND p.parse_version = v.parse_version
    LEFT JOIN ops.hold_release AS h ON h.delivery_id = v.delivery_id AND h.parse_version = v.parse_version
    WHERE v.state = 'passed' OR h.delivery_id IS NOT NULL
) AS accepted
WHERE age = 1
ORDER BY delivery_id
"""
# Rejects of any parse of a delivery: a row that was ever refused is no proof of absence.
_REJECTED = """
SELECT DISTINCT delivery_id, transaction_id, line_id
FROM ops.reject
WHERE transaction_id IS NOT NULL
ORDER BY delivery_id, transaction_id, line_id
"""
_ALIASES = f"SELECT {', '.join(ALIAS.names)} FROM ref.alias ORDER BY alias_id, revision"
_TRACKED = "SELECT relation, object_path FROM ops.tracked_file ORDER BY relation, object_path"
_DECISIONS = f"SELECT {', '.join(DECISION.names)} FROM ops.decision_in_force ORDER BY decision_id"
_SETTLED = """
SELECT s.sale_id, s.rule, s.click_id, s.clicked_at, s.member_id
FROM ops.sale AS s
WHERE s.click_id IS NOT NULL AND EXISTS (
    SELECT 1
    FROM payout.payout_line AS l
    JOIN payout.payout AS p ON p.payout_id = l.payout_id
    WHERE l.document_kind = 'sale' AND l.document_id = s.sale_id AND p.state IN ('reserved', 'in_flight', 'settled')
)
ORDER BY s.sale_id
"""


def _partner_model(context: Context, facts: Mapping[str, ConnectorFacts]) -> pa.Table:
    rows = [
        {
            "partner": account.partner,
            "partner_account": account.name,
            "version_clock": facts[account.partner].version_clock.value,
            "clock_precision_seconds": facts[account.partner].clock_precision_seconds,
            "reversal_model": facts[account.partner].reversal_model.value,
            "signed_row_link": getattr(facts[account.partner].signed_row_link, "value", None),
            "has_status": facts[account.partner].has_status,
        }
        for account in context.configuration.accounts
    ]
    return pa.Table.from_pylist(rows, schema=PARTNER_MODEL)


def _scope(context: Context, deliveries: pa.Table) -> pa.Table:
    """Return what each delivery speaks of: its days, in the partner's zone, as instants."""
    books = ZoneInfo(context.entity.books_zone)
    zones = {name: ZoneInfo(context.configuration.account(name).zone) for name in set(_texts(deliveries))}
    rows = [
        {
            **{name: row[name] for name in ("delivery_id", "partner_account", "observed_at", "states_scope")},
            "has_unkeyed_rejects": row["has_unkeyed_rejects"],
            "from_at": midnight(row["window_from"], zones[row["partner_account"]]),
            "until_at": midnight(row["window_until"], zones[row["partner_account"]]),
            "observed_on": row["observed_at"].replace(tzinfo=UTC).astimezone(books).date(),
        }
        for row in deliveries.to_pylist()
    ]
    return pa.Table.from_pylist(rows, schema=SCOPE)


def _texts(deliveries: pa.Table) -> Sequence[str]:
    names: list[str] = deliveries["partner_account"].to_pylist()
    return names


def midnight(day: date, zone: ZoneInfo) -> datetime:
    """Return the instant (naive UTC) at which `day` begins in `zone`."""
    return datetime.combine(day, time(), zone).astimezone(UTC).replace(tzinfo=None)


def _objects(context: Context, paths: Sequence[str], schema: pa.Schema) -> Relation:
    return [context.lake.local(path) for path in paths] or schema.empty_table()
