"""Reconcile: from accepted deliveries, clicks and decisions to versions, sales, matches and breaks, as a difference.

What follows from all that was ever told does not hang on the order of arrival. A run computes it again for the sales
that anything new could touch (etl/narrow.py), or for all: when there are few, when it cannot tell which, and when much
changed. It compares that with what the warehouse holds, and only what differs is written, in one transaction under the
lock of the entity's books.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

from etl.core.connector import ConnectorFacts
from etl.core.context import Context, StageResult
from etl.core.kept import BREAK_FOUND, OPENING_BREAKS, REMITTANCE_BREAKS, Change, KeptTable, keep
from etl.core.money import exponent
from etl.core.schemas import CONVERSION, MATCH, TEXT, VERSION
from etl.core.seen import NARROW_FROM, forget_seen, read_seen, write_seen
from etl.core.touched import TOUCHED_ROW, is_told, touch, touch_rows
from etl.core.warehouse import Connection, by_index, fetch, lock
from etl.given import Given, read_given, settled_matches
from etl.match import derived_match, run_step
from etl.narrow import Narrowed, narrowed
from etl.narrow.memory import remember_all, remember_more

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
# Of each delivery, as it was parsed last.
_ROWS = """
    SELECT coalesce(sum(p.row_count), 0), coalesce(sum(p.reject_count + coalesce(v.reject_count, 0)), 0)
    FROM (SELECT DISTINCT ON (delivery_id) * FROM ops.parse ORDER BY delivery_id, parse_version DESC) AS p
    LEFT JOIN ops.validation AS v ON v.delivery_id = p.delivery_id AND v.parse_version = p.parse_version
"""
_ROW_KEY = ("partner_account", "transaction_id", "line_id")


_VERSIONS = KeptTable(
    "ops.transaction_version",
    (*_ROW_KEY, "version_no"),
    VERSION,
    "versions",
    told=tuple(TOUCHED_ROW.names),
    is_typed=True,
)
_SALES = KeptTable("ops.sale", ("sale_id",), _SALE, "sales", told=("sale_id",), is_typed=True)
_MATCHES = KeptTable("ops.match", _ROW_KEY, MATCH, "matches", is_typed=True)
# What is amiss with remittances is told by the stage that looks at them.
_BREAKS = KeptTable(
    "ops.break",
    (*_ROW_KEY, "kind"),
    BREAK_FOUND,
    "breaks",
    carried=True,
    scope=f"kind NOT IN ({', '.join(repr(kind) for kind in (*REMITTANCE_BREAKS, *OPENING_BREAKS))})",
)
KEPT = (_VERSIONS, _SALES, _MATCHES, _BREAKS)
_AT_STAKE = pa.schema([("currency", TEXT), ("break_count", pa.int64()), ("amount", pa.decimal128(38, 4))])


def reconcile(
    context: Context,
    day: date,
    facts: Mapping[str, ConnectorFacts],
    *,
    is_whole: bool = False,
    narrow_from: int = NARROW_FROM,
) -> StageResult:
    """Return what changed when versions, sales, matches and breaks were brought up to `day`; again, nothing does.

    `facts` are those of the connectors, by partner. Once there are `narrow_from` versions only sales that may have
    changed are looked at, unless `is_whole`. Raises Stop if a delivery names an account that is not configured.
    """
    entity = context.entity.name
    with context.warehouse.transaction() as connection:
        lock(connection, f"books:{entity}")
        row_count, reject_count = _rows_so_far(connection)
        given = read_given(context, connection, day, facts)
        before = read_seen(connection, entity)
        part = None
        if before is not None and not is_whole:
            with by_index(connection):
                part = narrowed(connection, given, before)
        if part is None:
            looked_at, changes, is_remembered = _whole(context, connection, given, narrow_from)
        else:
            looked_at, is_remembered = part.matched.sale.num_rows, True
            with by_index(connection):
                changes = _part(context, connection, given, part)
        if is_told(connection):
            touch(connection, [changes["versions"].told["sale_id"], changes["sales"].told["sale_id"]])
            touch_rows(connection, changes["versions"].told, changes["sales"].told["sale_id"])
        if is_remembered:
            write_seen(connection, entity, before, given.seen, context.run_id)
        elif before is not None:
            forget_seen(connection, entity)
        sale_count, break_count, at_stake = _standing(connection)
    counts: list[tuple[str, int]] = []
    for noun, change in changes.items():
        counts += [(f"new_{noun}", change.new), (f"changed_{noun}", change.changed), (f"gone_{noun}", change.gone)]
    counts += [("looked_at", looked_at), ("sales", sale_count), ("open_breaks", break_count)]
    written = changes["matches"].new + changes["matches"].changed
    note = (
        f"{row_count:,} rows, {reject_count:,} rejects, {break_count:,} breaks{at_stake}; "
        f"{changes['versions'].new:,} new versions, {written:,} matches written"
    )
    return StageResult("reconcile", entity, tuple(counts), note)


def _part(context: Context, connection: Connection, given: Given, part: Narrowed) -> dict[str, Change]:
    """Write what was found of some sales, remember it, and return what changed."""
    found = part.matched
    tables = (part.versions, found.sale, found.match, _not_opened(found.breaks, given.opened))
    changes = {
        target.noun: keep(context, connection, replace(target, scope=scope), table, given.day)
        for target, scope, table in zip(KEPT, _scopes_of_part(), tables, strict=True)
    }
    remember_more(context, connection, part)
    return changes


def _scopes_of_part() -> tuple[str, ...]:
    """Return which stored rows a part is about, in the words of the tables that `narrowed` staged."""
    key = ", ".join(_ROW_KEY)
    of_row = f"({key}) IN (SELECT {key} FROM narrow_row)"
    # Each way by a join of its own: PostgreSQL asks alternatives of every break, one after the other.
    breaks = " UNION ".join(
        f"SELECT {key}, kind FROM ops.break JOIN {joined}"
        for joined in (
            "narrow_sale USING (sale_id)",
            f"narrow_row USING ({key})",
            "narrow_conversion ON kind = 'missing_at_partner' AND transaction_id = conversion_id",
        )
    )
    return (
        f"({key}) IN (SELECT {key} FROM narrow_key)",
        "sale_id IN (SELECT sale_id FROM narrow_sale)",
        of_row,
        f"{_BREAKS.scope} AND ({key}, kind) IN ({breaks})",
    )


def _whole(
    context: Context, connection: Connection, given: Given, narrow_from: int
) -> tuple[int, dict[str, Change], bool]:
    """Write what follows from all that was ever told.

    Return how many sales that is, what changed, and whether it is to be remembered. What takes memory stays with the
    engine, and is let go of as soon as the next step has what it needs of it.
    """
    engine = given.engine
    versions, conflict = given.derived_versions()
    current = engine.derive("reconcile/current_row", {"version": versions, "moved_key": given.moved})
    is_remembered = engine.count(versions) >= narrow_from
    # What changed is named only if anybody remembers what was before: else it would be a table of all.
    kept = KEPT if is_told(connection) else [replace(table, told=()) for table in KEPT]
    changes = {"versions": keep(context, connection, kept[0], versions, given.day)}
    del versions
    conversions = given.files(given.tracked_paths("conversion"), CONVERSION)
    conversion = run_step(engine, "conversion", {"tracked_conversion": conversions}, {})
    settled = settled_matches(connection)
    found = derived_match(
        engine, given.matching(current, given.clicks(), conversion, conflict, settled, is_linked=is_remembered)
    )
    breaks = _not_opened(engine.table(found.breaks), given.opened)
    for table, computed in zip(kept[1:], (found.sale, found.match, breaks), strict=True):
        changes[table.noun] = keep(context, connection, table, computed, given.day)
    if is_remembered:
        remember_all(context, connection, found)
    return engine.count(found.sale), changes, is_remembered


def _not_opened(breaks: pa.Table, opened: pa.Table) -> pa.Table:
    """Return the breaks without those of sales that an opening holds: nothing is booked of them, whatever is amiss.

    That one changed since is a break of its own, told by the stage that books openings.
    """
    is_opened = pc.is_in(breaks["sale_id"], opened["sale_id"].combine_chunks())
    return breaks.filter(pc.invert(is_opened)) if opened.num_rows else breaks


def _rows_so_far(connection: Connection) -> tuple[int, int]:
    """Return how many rows partners have sent by now, and how many of them were not taken."""
    found = connection.execute(_ROWS).fetchone() or (0, 0)
    return int(str(found[0])), int(str(found[1]))


def _standing(connection: Connection) -> tuple[int, int, str]:
    """Return how many sales and breaks there are, and the commission that breaks are about, such as ', EUR 84.10'."""
    sales = connection.execute("SELECT count(*) FROM ops.sale").fetchone()
    rows = fetch(
        connection,
        f"SELECT currency, count(*), sum(abs(amount)) FROM ops.break WHERE {_BREAKS.scope}"
        " GROUP BY currency ORDER BY currency",
        _AT_STAKE,
    ).to_pylist()
    told = [
        f"{row['currency']} {row['amount']:,.{exponent(row['currency'])}f}"
        for row in rows
        if row["currency"] is not None and row["amount"] is not None
    ]
    at_stake = f", {' and '.join(told)} at stake" if told else ""
    return int(str((sales or (0,))[0])), sum(row["break_count"] for row in rows), at_stake
