"""The ledger's writer: flows between accounts become numbered, hash-chained journal entries with their postings."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime

import pyarrow as pa
import pyarrow.compute as pc

from etl.core.engine import Engine, Relation
from etl.core.errors import Stop
from etl.core.period import closed_through, locked_months, month_of, next_month, period_states
from etl.core.schemas import INSTANT, TEXT
from etl.core.warehouse import Connection, copy_in, fetch, lock

FIRST_HASH = "0" * 64
"""What stands for the entry before the first one of an entity and year."""

FLOW = pa.schema(
    [
        pa.field("document_id", TEXT, nullable=False),
        pa.field("debit_kind", TEXT, nullable=False),
        pa.field("debit_owner", TEXT, nullable=False),
        pa.field("credit_kind", TEXT, nullable=False),
        pa.field("credit_owner", TEXT, nullable=False),
        pa.field("asset", TEXT, nullable=False),
        pa.field("amount", pa.int64(), nullable=False),
        pa.field("effective_for", pa.date32(), nullable=False),
        pa.field("component", TEXT, nullable=False),
        pa.field("base_amount", pa.decimal128(20, 4)),
        pa.field("rate", pa.decimal128(18, 12)),
    ]
)
ACCOUNT = pa.schema(
    [
        pa.field("account_id", pa.int64(), nullable=False),
        pa.field("entity", TEXT, nullable=False),
        pa.field("kind", TEXT, nullable=False),
        pa.field("owner", TEXT, nullable=False),
        pa.field("asset", TEXT, nullable=False),
    ]
)
ENTRY = pa.schema(
    [
        pa.field("entity", TEXT, nullable=False),
        pa.field("year", pa.int32(), nullable=False),
        pa.field("number", pa.int64(), nullable=False),
        pa.field("document_kind", TEXT, nullable=False),
        pa.field("document_id", TEXT, nullable=False),
        pa.field("entry_no", pa.int32(), nullable=False),
        pa.field("booked_on", pa.date32(), nullable=False),
        pa.field("posted_at", INSTANT, nullable=False),
        pa.field("run_id", TEXT, nullable=False),
        pa.field("created_by", TEXT, nullable=False),
    ]
)
POSTING = pa.schema(
    [
        pa.field("document_kind", TEXT, nullable=False),
        pa.field("document_id", TEXT, nullable=False),
        pa.field("entry_no", pa.int32(), nullable=False),
        pa.field("leg", pa.int32(), nullable=False),
        pa.field("entity", TEXT, nullable=False),
        pa.field("debit", pa.int64(), nullable=False),
        pa.field("credit", pa.int64(), nullable=False),
        pa.field("amount", pa.int64(), nullable=False),
        pa.field("effective_for", pa.date32(), nullable=False),
        pa.field("booked_on", pa.date32(), nullable=False),
        pa.field("component", TEXT, nullable=False),
        pa.field("base_amount", pa.decimal128(20, 4)),
        pa.field("rate", pa.decimal128(18, 12)),
    ]
)
_LAST_ENTRY = pa.schema([("document_id", TEXT), ("entry_no", pa.int32())])
_LAST_NUMBER = pa.schema([("year", pa.int32()), ("number", pa.int64()), ("hash", TEXT)])
_BOOKING = pa.schema([("effective_for", pa.date32()), ("booked_on", pa.date32())])
# Up to here the documents of a call are named to PostgreSQL; beyond, all its entries are read once.
_NAMED_DOCUMENTS_MAX = 20_000


@dataclass(frozen=True, slots=True)
class PostedCounts:
    """What a call of `post` wrote."""

    documents: int = 0
    entries: int = 0
    postings: int = 0
    accounts: int = 0


def lock_books(connection: Connection, entity: str) -> None:
    """Hold the books of `entity` until the transaction ends. Take it before reading what is posted."""
    lock(connection, f"books:{entity}")


def post(
    connection: Connection,
    entity: str,
    document_kind: str,
    flows: pa.Table,
    *,
    run_id: str,
    created_by: str,
    posted_at: datetime,
) -> PostedCounts:
    """Append `flows` (schema FLOW, amounts positive) to the books of `entity` and return what was written.

    All flows of one document that are booked on one day make one journal entry; documents follow each other by id, so
    that the same flows make the same entries. Accounts that do not exist yet are created. The caller commits. Stop if
    a flow is not positive or would leave its asset.
    """
    if flows.num_rows == 0:
        return PostedCounts()
    flows = flows.select(FLOW.names).cast(FLOW)
    if pc.min(flows["amount"]).as_py() <= 0:
        raise Stop("a flow with an amount that is not positive cannot be posted: turn its accounts around")
    lock_books(connection, entity)
    engine = Engine()
    account_count = _create_accounts(connection, engine, entity, flows)
    accounts = read_accounts(connection, entity)
    booking = _bookings(connection, entity, document_kind, flows)
    last_number = _last_numbers(connection, entity)
    relations: dict[str, Relation] = {
        "flow": flows,
        "account": accounts,
        "booking": booking,
        "last_entry": _last_entries(connection, document_kind, flows),
        "last_number": last_number,
    }
    entries = engine.run("ledger/entry", relations)
    relations["entry"] = entries
    postings = engine.run("ledger/posting", relations)
    entries = _with_constants(
        entries,
        ENTRY,
        entity=entity,
        document_kind=document_kind,
        posted_at=posted_at,
        run_id=run_id,
        created_by=created_by,
    )
    postings = _with_constants(postings, POSTING, entity=entity, document_kind=document_kind)
    if unsound := engine.run("ledger/unsound_posting", {"posting": postings, "account": accounts}).num_rows:
        raise Stop(f"{unsound} postings have no accounts of one asset: nothing was posted, report this as a defect")
    last_hashes = dict(zip(last_number["year"].to_pylist(), last_number["hash"].to_pylist(), strict=True))
    texts = entry_texts(engine, entries, postings, accounts)
    hashed = [(before, own) for _, _, before, own in chain(texts, last_hashes)]
    entries = entries.append_column("previous_hash", pa.array([before for before, _ in hashed], TEXT))
    entries = entries.append_column("hash", pa.array([own for _, own in hashed], TEXT))
    copy_in(connection, "ledger.journal_entry", entries)
    copy_in(connection, "ledger.posting", postings)
    documents = pc.count_distinct(flows["document_id"]).as_py()
    return PostedCounts(documents, entries.num_rows, postings.num_rows, account_count)


def read_accounts(connection: Connection, entity: str) -> pa.Table:
    """Return the accounts of `entity`."""
    return fetch(
        connection, f"SELECT {', '.join(ACCOUNT.names)} FROM ledger.account WHERE entity = %s", ACCOUNT, (entity,)
    )


def entry_texts(engine: Engine, entries: pa.Table, postings: pa.Table, accounts: pa.Table) -> pa.Table:
    """Return entity, year, number and the text each entry's hash is taken over, in that order."""
    return engine.run("ledger/entry_text", {"entry": entries, "posting": postings, "account": accounts})


def chain(texts: pa.Table, last_hashes: dict[int, str]) -> Iterator[tuple[int, int, str, str]]:
    """Yield year, number, previous hash and hash of every entry of one entity, each year a chain of its own."""
    last = dict(last_hashes)
    for batch in texts.to_batches(max_chunksize=65_536):
        columns = (batch.column(name).to_pylist() for name in ("year", "number", "text"))
        for year, number, text in zip(*columns, strict=True):
            before = last.get(year, FIRST_HASH)
            last[year] = hashlib.sha256(f"{before}\n{text}".encode()).hexdigest()
            yield year, number, before, last[year]


def booked_days(days: Iterable[date], locked: frozenset[date], closed_through: date | None = None) -> dict[date, date]:
    """Return the day each of `days` is booked on: itself, or the first day of the next month that is open.

    `locked` months are not open, nor is any month up to `closed_through`: what is booked before a closed month would
    change its balances.
    """
    booked = {}
    for day in days:
        month, found = month_of(day), day
        if closed_through is not None and month <= closed_through:
            found = month = next_month(closed_through)
        while month in locked:
            found = month = next_month(month)
        booked[day] = found
    return booked


def _create_accounts(connection: Connection, engine: Engine, entity: str, flows: pa.Table) -> int:
    known = read_accounts(connection, entity)
    missing = engine.run("ledger/new_account", {"flow": flows, "account": known})
    named = missing.append_column("entity", pa.repeat(pa.scalar(entity, TEXT), missing.num_rows))
    return copy_in(connection, "ledger.account", named)


def _bookings(connection: Connection, entity: str, document_kind: str, flows: pa.Table) -> pa.Table:
    states = period_states(connection, entity)
    days = pc.unique(flows["effective_for"]).to_pylist()
    booked = booked_days(days, locked_months(states, document_kind), closed_through(states))
    return pa.table([list(booked), list(booked.values())], schema=_BOOKING)


def _last_entries(connection: Connection, document_kind: str, flows: pa.Table) -> pa.Table:
    documents = pc.unique(flows["document_id"]).to_pylist()
    named = documents if len(documents) <= _NAMED_DOCUMENTS_MAX else None
    query = """
        SELECT document_id, max(entry_no)
        FROM ledger.journal_entry
        WHERE document_kind = %s AND (%s::text[] IS NULL OR document_id = ANY(%s))
        GROUP BY document_id
    """
    return fetch(connection, query, _LAST_ENTRY, (document_kind, named, named))


def _last_numbers(connection: Connection, entity: str) -> pa.Table:
    query = """
        SELECT DISTINCT ON (year) year, number, hash
        FROM ledger.journal_entry
        WHERE entity = %s
        ORDER BY year, number DESC
    """
    return fetch(connection, query, _LAST_NUMBER, (entity,))


def _with_constants(table: pa.Table, schema: pa.Schema, **constants: str | datetime) -> pa.Table:
    columns = [
        pa.repeat(pa.scalar(constants[field.name], field.type), table.num_rows)
        if field.name in constants
        else table[field.name]
        for field in schema
    ]
    return pa.table(columns, names=schema.names).cast(schema)
