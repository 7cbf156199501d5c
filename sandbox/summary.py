"""What the demo tells a finance clerk at its end: what is owed both ways, what was sent, what needs a look."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import psycopg
from rich.console import Console
from rich.table import Column, Table

from sandbox.house import Place


@dataclass(frozen=True, slots=True)
class Facts:
    """Counts of what a warehouse holds."""

    deliveries: int
    rows: int
    transactions: int
    rejects: int
    versions: int
    sales: int
    postings: int
    payouts: int
    breaks: int


_COUNTS = """
    SELECT (SELECT count(*) FROM ops.delivery),
           (SELECT coalesce(sum(row_count), 0) FROM ops.parse),
           (SELECT coalesce(sum(accepted_count), 0) FROM ops.validation),
           (SELECT count(DISTINCT (delivery_id, parse_version, row_number))
            FROM ops.reject JOIN ops.delivery USING (delivery_id)),
           (SELECT count(*) FROM ops.transaction_version),
           (SELECT count(*) FROM ops.sale),
           (SELECT count(*) FROM ledger.posting),
           (SELECT count(*) FROM payout.payout),
           (SELECT count(*) FROM ops.break)
"""


def _connected(place: Place) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(place.postgres.url(f"tallyback_{place.name}"))


def count_facts(place: Place) -> Facts:
    """Return what the world's warehouse holds now."""
    with _connected(place) as connection:
        row = connection.execute(_COUNTS).fetchone()
    assert row is not None
    return Facts(*(int(str(value)) for value in row))


def print_summary(console: Console, place: Place, before: Facts, after: Facts) -> None:
    """Print what this run changed and where the money stands, and say where the files are."""
    console.rule("What this run did")
    console.print(
        f"{after.deliveries - before.deliveries:,} new deliveries: {after.rows - before.rows:,} rows in = "
        f"{after.transactions - before.transactions:,} transactions + {after.rejects - before.rejects:,} rejects"
    )
    console.print(
        f"{after.versions - before.versions:,} new versions, {after.postings - before.postings:,} postings, "
        f"{after.payouts - before.payouts:,} payouts"
    )
    console.print(
        f"In all: {after.sales:,} sales, {after.rows:,} rows in = {after.transactions:,} transactions + "
        f"{after.rejects:,} rejects; {after.versions:,} versions, {after.postings:,} postings, "
        f"{after.payouts:,} payouts"
    )
    console.rule("Where the money stands")
    with _connected(place) as connection:
        _balances(console, connection)
        _matches(console, connection)
        _breaks(console, connection)
        _holds(console, connection)
        _batches(console, connection)
    console.rule("Where to look")
    for file in sorted((place.home / "reports").glob("reconciliation-*")):
        console.print(f"Report:        {_shown(file)}")
    for file in sorted((place.world / "bank" / "inbox").glob("*")):
        console.print(f"Payment file:  {_shown(file)}  (as the bank received it)")


def _shown(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


_NAMES = {
    "commission_receivable": "Partners owe us, approved",
    "commission_expected": "Partners may owe us, pending",
    "partner_clearing": "Partners paid us, a person must say for what",
    "cashback_pending": "Members may get, pending",
    "cashback_confirmed": "We owe members, not payable yet",
    "cashback_payable": "We owe members, payable now",
    "payout_in_flight": "Sent to the bank, not yet confirmed by it",
}


def _balances(console: Console, connection: psycopg.Connection[tuple[object, ...]]) -> None:
    found = connection.execute(
        "SELECT kind, currency, sum(balance) * CASE WHEN kind LIKE 'commission%%' THEN 1 ELSE -1 END, count(*)"
        " FROM mart.balance WHERE kind = ANY(%s) GROUP BY kind, currency HAVING sum(balance) <> 0"
        " ORDER BY kind, currency",
        (list(_NAMES),),
    ).fetchall()
    table = Table("", "", Column("amount", justify="right"), Column("accounts", justify="right"))
    for kind in _NAMES:
        for of_kind, currency, amount, accounts in found:
            if of_kind == kind:
                table.add_row(_NAMES[kind], str(currency), f"{Decimal(str(amount)):,.2f}", str(accounts))
    console.print(table)


def _matches(console: Console, connection: psycopg.Connection[tuple[object, ...]]) -> None:
    found = connection.execute(
        "SELECT coalesce(rule, outcome), count(*) FROM ops.sale GROUP BY 1 ORDER BY 2 DESC, 1"
    ).fetchall()
    console.print("Sales by how their click was found: " + ", ".join(f"{name} {count}" for name, count in found))


def _breaks(console: Console, connection: psycopg.Connection[tuple[object, ...]]) -> None:
    found = connection.execute(
        "SELECT kind, currency, count(*), sum(abs(amount)) FROM ops.break GROUP BY kind, currency"
        " ORDER BY kind, currency"
    ).fetchall()
    if not found:
        console.print("No breaks: nothing needs a look.")
        return
    table = Table("needs a look", Column("count", justify="right"), "", Column("commission at stake", justify="right"))
    for kind, currency, count, amount in found:
        at_stake = f"{Decimal(str(amount)):,.2f}" if amount is not None else ""
        table.add_row(str(kind).replace("_", " "), str(count), str(currency or ""), at_stake)
    console.print(table)


def _holds(console: Console, connection: psycopg.Connection[tuple[object, ...]]) -> None:
    row = connection.execute(
        "SELECT count(*) FROM (SELECT DISTINCT ON (delivery_id) delivery_id, parse_version, state FROM ops.validation"
        " ORDER BY delivery_id, parse_version DESC) AS v WHERE state = 'held' AND NOT EXISTS (SELECT 1"
        " FROM ops.hold_release AS r WHERE r.delivery_id = v.delivery_id AND r.parse_version = v.parse_version)"
    ).fetchone()
    held = int(str(row[0])) if row else 0
    if held:
        console.print(f"Deliveries that a check holds until a person releases them: {held} (tallyback holds)")


def _batches(console: Console, connection: psycopg.Connection[tuple[object, ...]]) -> None:
    found = connection.execute(
        "SELECT b.batch_id, b.payout_count, b.total_minor, b.currency, b.state, b.released_by,"
        " (SELECT string_agg(a.approved_by, ', ') FROM payout.approval AS a WHERE a.batch_id = b.batch_id), b.sha256"
        " FROM payout.batch AS b ORDER BY b.selected_for, b.batch_id"
    ).fetchall()
    for batch, count, total, currency, state, released_by, approved_by, sha256 in found:
        amount = Decimal(str(total)).scaleb(-2)
        console.print(
            f"Batch {batch}: {count} payouts, {currency} {amount:,.2f}, {state}; "
            f"released by {released_by or 'nobody'}, approved by {approved_by or 'nobody'}; sha256 {str(sha256)[:16]}…"
        )
