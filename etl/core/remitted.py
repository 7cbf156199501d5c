"""What remit saw when it last ran, and what has to be looked at again since: sales that changed, accounts with news.

What a sale is paid follows from the remittances of its account and from its own rows; so only where a line names a row
that changed, or a sum is to be found among all that is open, is a whole account looked at again. Of sales that nothing
pays the outcome follows from their own facts. All of it is a superset.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

import pyarrow as pa

from etl.core.allocation import ACCOUNT_OPEN, SALE_OUTCOME, rates_of_receipt
from etl.core.context import Context
from etl.core.exchange import usable_rates
from etl.core.receivable_item import read_items
from etl.core.schemas import FX_RATE, PROGRAM, TEXT
from etl.core.seen import FEW_SALES, SHARE_MAX, code_hash, has_sales, hash_of
from etl.core.told import DECISION_FACT, REMITTANCE_FACT, read_decisions, read_remittances
from etl.core.touched import TOUCHED, due_sales, forget_touched_rows
from etl.core.warehouse import Connection, by_index, fetch, stage
from etl.core.write_off import read_write_offs

_HEAD = pa.schema([("day", pa.date32()), ("inputs_hash", TEXT)])
_ACCOUNT = pa.schema([("partner_account", TEXT)])
_STATE = pa.schema([*_ACCOUNT, ("state", TEXT)])
_SALE_DAY = pa.schema([*TOUCHED, ("sale_on", pa.date32())])
_COUNT = pa.schema([*ACCOUNT_OPEN, ("outcome", TEXT), ("sale_count", pa.int64())])


@dataclass(frozen=True, slots=True)
class Remitted:
    """What a run of remit stands on besides the facts of sales: its day, what all share, and what each account has."""

    day: date
    inputs_hash: str
    accounts: dict[str, str]


@dataclass(frozen=True, slots=True)
class Part:
    """What has to be looked at again: some sales (with what an opening holds), among them all of some accounts.

    Staged for the queries of the transaction are looked_sale and looked_account.
    """

    sales: list[str]
    accounts: list[str]


def read_remitted(connection: Connection, entity: str) -> Remitted | None:
    """Return what remit last saw of `entity`, None if it has not run or is to forget it."""
    query = "SELECT day, inputs_hash FROM ops.remitted WHERE entity = %s"
    head = fetch(connection, query, _HEAD, (entity,)).to_pylist()
    if not head:
        return None
    states = fetch(connection, "SELECT partner_account, state FROM ops.remitted_account", _STATE)
    accounts = dict(zip(states["partner_account"].to_pylist(), states["state"].to_pylist(), strict=True))
    return Remitted(head[0]["day"], head[0]["inputs_hash"], accounts)


def remitted_now(context: Context, connection: Connection, day: date) -> Remitted:
    """Return what a run as of `day` stands on."""
    items = read_items(connection)
    tables = [
        fetch(
            connection, f"SELECT {', '.join(PROGRAM.names)} FROM ref.program ORDER BY program_id, valid_from", PROGRAM
        ),
        fetch(connection, "SELECT sale_id FROM ops.sale_in_opening ORDER BY sale_id", TOUCHED),
        items.item,
        items.opened_transaction,
    ]
    inputs_hash = hash_of(tables, (code_hash(), context.configuration.hash))
    return Remitted(day, inputs_hash, _accounts(context, connection))


def _accounts(context: Context, connection: Connection) -> dict[str, str]:
    """Return what each account has of remittances, decisions, write-offs and rates, as a hash.

    Remittances and what was decided of them are only ever added to, lines with their remittance.
    """
    base, books_zone = context.entity.base_currency, context.configuration.entity.books_zone
    has: dict[str, list[object]] = defaultdict(list)
    needed: dict[str, set[tuple[date, str, str]]] = defaultdict(set)
    for row in read_remittances(connection).select(REMITTANCE_FACT.names).to_pylist():
        has[row["partner_account"]].append(tuple(row.values()))
        if row["received_on"] is not None:
            needed[row["partner_account"]] |= rates_of_receipt(row, base)
    for row in read_decisions(connection).select(DECISION_FACT.names).to_pylist():
        has[row["partner_account"]].append(tuple(row.values()))
    write_offs = read_write_offs(connection, books_zone).to_pylist()
    days = _sale_days(connection, {row["sale_id"] for row in write_offs})
    for row in write_offs:
        has[row["partner_account"]].append(tuple(row.values()))
        if (on := days.get(row["sale_id"])) is not None:
            needed[row["partner_account"]].add((on, row["currency"], base))
    fx_rate = fetch(connection, f"SELECT {', '.join(FX_RATE.names)} FROM ref.fx_rate", FX_RATE)
    usable = usable_rates(fx_rate, set().union(*needed.values())).to_pylist()
    rates = {(row["sale_on"], row["from_currency"], row["to_currency"]): str(row["rate"]) for row in usable}
    for account, triples in needed.items():
        has[account] += [(each, rates[each]) for each in sorted(triples) if each in rates]
    return {account: hashlib.sha256(repr(rows).encode()).hexdigest() for account, rows in has.items()}


def _sale_days(connection: Connection, sales: Iterable[str]) -> dict[str, date]:
    found = fetch(
        connection, "SELECT sale_id, sale_on FROM ops.sale WHERE sale_id = ANY(%s)", _SALE_DAY, (list(sales),)
    )
    return dict(zip(found["sale_id"].to_pylist(), found["sale_on"].to_pylist(), strict=True))


def looked_at_again(
    connection: Connection, before: Remitted | None, now: Remitted | None, *, is_oldest_first: bool
) -> Part | None:
    """Return what has to be looked at again since `before`; None if that is everything.

    `is_oldest_first`: money that nothing fits pays the oldest, at every account.
    """
    if before is None or now is None or before.inputs_hash != now.inputs_hash or before.day > now.day:
        return None
    touched = fetch(connection, "SELECT DISTINCT sale_id FROM ops.touched_row", TOUCHED)["sale_id"].to_pylist()
    sales = {*touched, *due_sales(connection, before.day, now.day).to_pylist()}
    _stage_names(connection, sales, ())
    either = before.accounts.keys() | now.accounts.keys()
    accounts = {name for name in either if before.accounts.get(name) != now.accounts.get(name)}
    with by_index(connection):
        accounts |= set(fetch(connection, _PAID, _ACCOUNT, (is_oldest_first,))["partner_account"].to_pylist())
    if accounts:
        accounts = _hanging_together(connection, accounts)
        sales |= set(fetch(connection, _OF_ACCOUNTS, TOUCHED, (sorted(accounts),) * 3)["sale_id"].to_pylist())
    if len(sales) > FEW_SALES and not has_sales(connection, len(sales) * SHARE_MAX):
        return None
    _stage_names(connection, sales, accounts)
    return Part(sorted(sales), sorted(accounts))


def _stage_names(connection: Connection, sales: Iterable[str], accounts: Iterable[str]) -> None:
    stage(connection, "looked_sale", pa.table([pa.array(sorted(sales), TEXT)], schema=TOUCHED))
    stage(connection, "looked_account", pa.table([pa.array(sorted(accounts), TEXT)], schema=_ACCOUNT))


def _hanging_together(connection: Connection, accounts: set[str]) -> set[str]:
    """Return the accounts with those that a sale moved between, to or from one of them."""
    if connection.execute("SELECT 1 FROM ref.alias LIMIT 1").fetchone() is None:
        return accounts
    while True:
        more = set(fetch(connection, _SHARING, _ACCOUNT, (sorted(accounts),))["partner_account"].to_pylist())
        if more <= accounts:
            return accounts
        accounts = accounts | more


def write_remitted(
    connection: Connection, entity: str, before: Remitted | None, now: Remitted | None, run_id: str
) -> None:
    """Remember what a run stood on; None is nothing, as there are too few sales for that to be worth it."""
    if now is None:
        if before is not None:
            connection.execute("DELETE FROM ops.remitted WHERE entity = %s", (entity,))
        return
    forget_touched_rows(connection)
    if before == now:
        return
    connection.execute(
        "INSERT INTO ops.remitted (entity, day, inputs_hash, run_id) VALUES (%s, %s, %s, %s)"
        " ON CONFLICT (entity) DO UPDATE SET day = excluded.day, inputs_hash = excluded.inputs_hash,"
        " run_id = excluded.run_id",
        (entity, now.day, now.inputs_hash, run_id),
    )
    connection.execute("DELETE FROM ops.remitted_account")
    connection.execute(
        "INSERT INTO ops.remitted_account SELECT * FROM unnest(%s::text[], %s::text[])",
        (list(now.accounts), list(now.accounts.values())),
    )


def read_outcome_counts(connection: Connection) -> pa.Table:
    """Return of all sales how many have each outcome and what is open of them, by account and currency."""
    query = (
        "SELECT partner_account, currency, sum(open_minor)::bigint, outcome, count(*) FROM ops.sale_outcome"
        " GROUP BY partner_account, currency, outcome"
    )
    return fetch(connection, query, _COUNT)


def read_outcomes_to_tell(connection: Connection, day: date, *, is_told: bool) -> pa.Table:
    """Return the outcomes of sales that may be breaks: paid otherwise, or due for more than 90 days and not paid.

    `is_told`: of any remittance. A house that is told of none knows of none that is late.
    """
    query = (
        f"SELECT {', '.join(SALE_OUTCOME.names)} FROM ops.sale_outcome"
        " WHERE outcome IN ('short', 'over') OR (%s AND outcome = 'unpaid' AND due_on < %s - 90)"
    )
    return fetch(connection, query, SALE_OUTCOME, (is_told, day))


# What names a row that changed, as it was or is, or any row of a sale that is looked at; and sums to be found.
_PAID = """
WITH asked AS (
    SELECT partner_account, transaction_id, payment_ref FROM ops.touched_row WHERE partner_account IS NOT NULL
    UNION
    SELECT v.partner_account, v.transaction_id, v.payment_ref
    FROM looked_sale AS s
    JOIN ops.transaction_version AS v ON v.sale_id = s.sale_id
)
SELECT a.partner_account
FROM asked AS a
JOIN ops.remittance_line AS l ON l.partner_account = a.partner_account AND l.transaction_id = a.transaction_id
UNION
SELECT a.partner_account
FROM asked AS a
JOIN ops.remittance_line AS l ON l.partner_account = a.partner_account AND l.payment_ref = a.payment_ref
UNION
SELECT partner_account
FROM asked
WHERE partner_account IN (
    SELECT partner_account FROM ops.remittance WHERE coverage = 'period' OR %s
    UNION
    SELECT partner_account FROM ops.remittance_decision WHERE kind = 'oldest_first'
)
"""
_OF_ACCOUNTS = """
SELECT sale_id FROM ops.transaction_version WHERE partner_account = ANY(%s)
UNION
SELECT sale_id FROM ops.sale WHERE partner_account = ANY(%s)
UNION
SELECT document_id FROM ops.receivable_item WHERE partner_account = ANY(%s)
"""
_SHARING = """
SELECT DISTINCT o.partner_account
FROM ops.transaction_version AS v
JOIN ops.transaction_version AS o ON o.sale_id = v.sale_id
WHERE v.partner_account = ANY(%s)
"""
