"""Verify: prove the books of the whole warehouse, each promise that data can break as one check."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from etl.core.adjustment import adjustment_target
from etl.core.allocation import ALLOCATION, Allocated, allocated, remittance_target, settled
from etl.core.closed_books import closed_month_faults, read_chain
from etl.core.context import Context
from etl.core.debts import read_written_off, write_off_target
from etl.core.engine import Relation, register
from etl.core.errors import Stop
from etl.core.facts import FactReader
from etl.core.ledger import lock_books
from etl.core.money import member_asset
from etl.core.opening import opening_target
from etl.core.receivable_item import Items
from etl.core.schemas import TEXT
from etl.core.stored_books import StoredBooks, stored_books
from etl.core.target import Facts, difference, read_posted, target
from etl.core.told import Told, read_told
from etl.core.warehouse import Connection, fetch
from etl.core.write_off import read_posted_write_offs

_PAYOUT = pa.schema(
    [
        ("payout_id", TEXT),
        ("currency", TEXT),
        ("amount_minor", pa.int64()),
        ("state", TEXT),
        ("line_amount", pa.int64()),
    ]
)
_PARSE = pa.schema(
    [
        ("delivery_id", TEXT),
        ("object_path", TEXT),
        ("row_count", pa.int64()),
        ("transaction_count", pa.int64()),
        ("reject_count", pa.int64()),
        ("stored_reject_count", pa.int64()),
        ("validated_count", pa.int64()),
        ("accepted_count", pa.int64()),
        ("validation_reject_count", pa.int64()),
        ("stored_validation_reject_count", pa.int64()),
        ("accepted_path", TEXT),
    ]
)


@dataclass(frozen=True, slots=True)
class Check:
    """One promise: what was expected, what was found, and by how much they differ (0 where it holds)."""

    name: str
    expected: int | str
    actual: int | str
    difference: int
    is_ok: bool


@dataclass(frozen=True, slots=True)
class EntryHash:
    """What somebody was told of a journal entry once, and kept: its year, number and hash."""

    year: int
    number: int
    hash: str

    @staticmethod
    def parse(text: str) -> EntryHash:
        """Return what `YEAR/NUMBER:HASH` says; Stop if it is not like that."""
        found = re.fullmatch(r"([0-9]{4})/([0-9]{1,18}):([0-9a-f]{64})", text.strip())
        if found is None:
            raise Stop(f"{text!r} is no journal entry with its hash: write it as `tallyback verify` shows the last one")
        return EntryHash(int(found[1]), int(found[2]), found[3])

    def __str__(self) -> str:
        return f"{self.year}/{self.number}:{self.hash}"


def verify(context: Context, day: date, kept: Sequence[EntryHash] = ()) -> list[Check]:
    """Return every check of the books of the entity as of `day`, and of each hash that was kept; each must be ok.

    Reads under the lock of the books, so that a stage at work is not taken for a fault, and writes nothing. Deliveries
    are compared with the lake.
    """
    context.temporary.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="verify-", dir=context.temporary) as folder:
        return _checks(context, day, kept, Path(folder))


def _checks(context: Context, day: date, kept: Sequence[EntryHash], folder: Path) -> list[Check]:
    entity = context.entity.name
    with context.warehouse.transaction() as connection:
        lock_books(connection, entity)
        sales = _of_sales(context, connection, day)
        money = _Money(
            fetch(connection, _ALLOCATIONS, ALLOCATION),
            read_posted(connection, entity, kind="remittance"),
            fetch(connection, _OVER, pa.schema([("sale_id", TEXT)])),
            read_posted_write_offs(connection, entity),
        )
        books = stored_books(connection, context.engine, entity, folder)
        entries_kept = [_entry_kept(connection, entity, each) for each in kept]
        opened = opening_target(connection, context.entity.base_currency)
        opened = difference(context.engine, opened, read_posted(connection, entity, kind="opening"))
        adjusted = adjustment_target(connection, context.entity.base_currency)
        adjusted = difference(context.engine, adjusted, read_posted(connection, entity, kind="adjustment"))
        forgiven = write_off_target(connection, context.entity, day)
        forgiven = difference(context.engine, forgiven, read_written_off(connection, context.entity))
        payouts = fetch(connection, _PAYOUTS, _PAYOUT, (entity,))
        parses = fetch(connection, _PARSES, _PARSE)
        closed = closed_month_faults(connection, entity)
    checks = [_none("posted = target for every document, account and day", sales.differing, "document_id")]
    checks += _remittances(context, sales, money)
    checks.append(_none("posted = target for every opening", opened, "document_id"))
    checks.append(_none("posted = target for every adjustment", adjusted, "document_id"))
    checks.append(_none("posted = target for every write-off of a member's debt", forgiven, "document_id"))
    checks += _border(context, books)
    checks.append(
        _none(
            "every posting moves between two accounts of one asset",
            context.engine.run("ledger/unsound_posting", books.relations()),
            "document_id",
        )
    )
    checks.append(
        _none(
            "journal entries are numbered without gaps and whole",
            context.engine.run("ledger/numbering", books.relations()),
            "document_id",
        )
    )
    checks += [_hash_chain(books), *entries_kept]
    checks += _rows(context, parses)
    checks.append(
        _none(
            "no payout took more than was payable",
            context.engine.run("ledger/overdrawn", books.relations()),
            "document_id",
        )
    )
    checks += _payouts(context, books, payouts)
    checks.append(_closed(*closed))
    return checks


@dataclass(frozen=True, slots=True)
class _Sales:
    """What follows from the facts of all sales: what should be posted and is not, what is given up, who paid too much.

    `over` are ids of sales that are paid for more than they are worth.
    """

    told: Told
    made: Allocated
    shared: Facts
    differing: pa.Table
    write_off: pa.Table
    over: list[str]


def _of_sales(context: Context, connection: Connection, day: date) -> _Sales:
    """Return what follows from the facts of sales, of which some are in hand at a time."""
    engine, entity = context.engine, context.entity.name
    reader, told = FactReader(context, connection), read_told(connection, context.configuration)
    made = allocated(engine, reader.unpaid, told, day)
    differing, lost, over = list[pa.Table](), list[pa.Table](), list[str]()

    def settle(facts: Facts, told: Told) -> None:
        found = settled(engine, facts, told, made, context.configuration, day)
        lost.append(found.write_off)
        over.extend(found.outcome.filter(pc.equal(found.outcome["outcome"], "over"))["sale_id"].to_pylist())

    for some in reader.parts():
        facts = reader.of(some)
        posted = read_posted(connection, entity, some)
        differing.append(difference(engine, target(engine, facts, day).flows, posted))
        settle(facts, replace(told, items=Items()))
        engine.release()
    settle(reader.shared, told)
    return _Sales(told, made, reader.shared, pa.concat_tables(differing), pa.concat_tables(lost), over)


@dataclass(frozen=True, slots=True)
class _Money:
    stored: pa.Table
    posted: pa.Table
    over: pa.Table
    written_off: pa.Table


def _remittances(context: Context, sales: _Sales, money: _Money) -> Iterator[Check]:
    """Yield the checks of what partners paid: allocated as it should be, posted as allocated, nothing left unseen."""
    engine, made = context.engine, sales.made
    wanted = remittance_target(engine, sales.shared, sales.told, made)
    differing = difference(engine, wanted, money.posted)
    yield _none("posted = target for every remittance", differing, "document_id")
    lost = difference(engine, sales.write_off, money.written_off)
    yield _none("posted = target for every write-off of commission", lost, "document_id")
    with engine.connect() as connection:
        for name, table in (("made", made.allocation), ("stored", money.stored)):
            register(connection, name, table)
        names = ", ".join(ALLOCATION.names)
        stale = connection.sql(
            f"(SELECT {names} FROM made EXCEPT SELECT {names} FROM stored) UNION ALL"
            f" (SELECT {names} FROM stored EXCEPT SELECT {names} FROM made) ORDER BY ALL"
        ).to_arrow_table()
    yield _none("what remittances pay is what follows from them", stale, "remittance_id")
    relations: dict[str, Relation] = {
        "standing": made.standing,
        "remittance_line": sales.told.line,
        "allocation": money.stored,
        "posted": money.posted,
    }
    for row in engine.run("ledger/remittance_tie", relations).to_pylist():
        name = f"received = allocated + clearing of {row['partner_account']} in {row['currency']} (in 1/10,000)"
        yield _equal(name, row["told_minor"], row["booked_minor"])
    unseen = pa.table({"sale_id": pa.array(sorted(set(sales.over) - set(money.over["sale_id"].to_pylist())), TEXT)})
    yield _none("no sale is paid for more than it is worth without a break", unseen, "sale_id")


def _none(name: str, faults: pa.Table, named_by: str) -> Check:
    """Return the check that there is no such fault, naming the first one."""
    count = faults.num_rows
    actual: int | str = count
    if count:
        actual = f"{count:,}, the first at {faults[named_by][0].as_py()}"
    return Check(name, 0, actual, count, count == 0)


def _closed(month_count: int, faults: list[str]) -> Check:
    """Return the check that every closed month is what its closing record says."""
    expected = f"{month_count} closed as signed"
    actual = f"{len(faults)} differ: {faults[0]}" if faults else expected
    return Check("closed periods are as they were closed", expected, actual, len(faults), not faults)


def _equal(name: str, expected: int, actual: int) -> Check:
    return Check(name, expected, actual, actual - expected, actual == expected)


def _border(context: Context, books: StoredBooks) -> Iterator[Check]:
    for row in context.engine.run("ledger/border", books.relations()).to_pylist():
        name = f"the border of {row['currency']} sums to zero (in 1/10,000)"
        yield _equal(name, row["amount_in"], row["amount_out"])


def _hash_chain(books: StoredBooks) -> Check:
    name, expected = "the hash chain of journal entries is unbroken", f"{books.entry_count:,} entries"
    if books.broken is None:
        return Check(name, expected, expected, 0, True)
    before, entry = books.broken
    actual = "broken at entry {year}/{number} ({document_kind} {document_id})".format_map(entry)
    return Check(name, expected, actual, books.entry_count - before, False)


def last_entries(connection: Connection, entity: str) -> list[EntryHash]:
    """Return the last journal entry of each year: whoever keeps it finds a chain that was made again as a whole."""
    return [EntryHash(row["year"], row["number"], row["hash"]) for row in read_chain(connection, entity).to_pylist()]


def _entry_kept(connection: Connection, entity: str, kept: EntryHash) -> Check:
    """Return the check that an entry still has the hash it had; with it, so have all before it in its year."""
    query = "SELECT hash FROM ledger.journal_entry WHERE entity = %s AND year = %s AND number = %s"
    row = connection.execute(query, (entity, kept.year, kept.number)).fetchone()
    actual = f"no entry {kept.year}/{kept.number}" if row is None else str(replace(kept, hash=str(row[0])))
    is_ok = actual == str(kept)
    return Check(f"entry {kept.year}/{kept.number} is the one it was", str(kept), actual, 0 if is_ok else 1, is_ok)


def _rows(context: Context, parses: pa.Table) -> Iterator[Check]:
    rows = parses.to_pylist()
    row_count = sum(row["row_count"] for row in rows)
    in_lake = sum(_row_count(context, row["object_path"]) + row["stored_reject_count"] for row in rows)
    yield _equal("rows in = transactions + rejects", row_count, in_lake)
    validated = [row for row in rows if row["accepted_path"] is not None]
    parsed = sum(row["transaction_count"] for row in validated)
    accepted = sum(
        _row_count(context, row["accepted_path"]) + row["stored_validation_reject_count"] for row in validated
    )
    yield _equal("transactions checked = accepted + rejects", parsed, accepted)


def _row_count(context: Context, path: str) -> int:
    with context.lake.borrowed(path) as local:
        return int(pq.read_metadata(local).num_rows)


def _payouts(context: Context, books: StoredBooks, payouts: pa.Table) -> Iterator[Check]:
    rows = payouts.to_pylist()
    untied = payouts.filter(pc.not_equal(payouts["amount_minor"], payouts["line_amount"]))
    yield _none("every payout is the sum of its lines", untied, "payout_id")
    assets = pa.array([str(member_asset(row["currency"])) for row in rows], TEXT)
    relations = {**books.relations(), "payout": payouts.append_column("asset", assets)}
    for row in context.engine.run("ledger/payout_tie", relations).to_pylist():
        name = f"payouts tie to the ledger: {row['kind']} in {row['asset']}"
        yield _equal(name, row["told_amount"], row["booked_amount"])


_ALLOCATIONS = f"SELECT {', '.join(ALLOCATION.names)} FROM ops.remittance_allocation ORDER BY 1, 2, 3, 4, 5"
_OVER = "SELECT sale_id FROM ops.break WHERE kind = 'remittance_over' ORDER BY sale_id"
_PAYOUTS = """
    SELECT p.payout_id, p.currency, p.amount_minor, p.state,
        (SELECT coalesce(sum(l.amount_minor), 0) FROM payout.payout_line AS l WHERE l.payout_id = p.payout_id)::bigint
    FROM payout.payout AS p
    JOIN payout.batch AS b ON b.batch_id = p.batch_id
    WHERE b.entity = %s
    ORDER BY p.payout_id
"""

_PARSES = """
    WITH rejected AS (
        SELECT delivery_id, parse_version, stage, count(DISTINCT row_number) AS row_count
        FROM ops.reject
        GROUP BY delivery_id, parse_version, stage
    )
    SELECT p.delivery_id, p.object_path, p.row_count, p.transaction_count, p.reject_count, coalesce(r.row_count, 0),
        v.row_count, v.accepted_count, v.reject_count, coalesce(w.row_count, 0), v.object_path
    FROM ops.parse AS p
    LEFT JOIN ops.validation AS v USING (delivery_id, parse_version)
    LEFT JOIN rejected AS r
        ON r.delivery_id = p.delivery_id AND r.parse_version = p.parse_version AND r.stage = 'parse'
    LEFT JOIN rejected AS w
        ON w.delivery_id = p.delivery_id AND w.parse_version = p.parse_version AND w.stage = 'validate'
    ORDER BY p.delivery_id, p.parse_version
"""
