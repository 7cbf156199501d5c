"""The ledger's writer: flows between accounts become numbered, hash-chained journal entries with their postings."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import date, datetime
from itertools import islice

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from etl.core.engine import Engine, Relation, keep, query_text, register
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
_YEAR_NUMBER = pa.schema([("year", pa.int32()), ("number", pa.int64())])
_BOOKING = pa.schema([("effective_for", pa.date32()), ("booked_on", pa.date32())])
# Up to here the documents of a call are named to PostgreSQL; beyond, all its entries are read once.
_NAMED_DOCUMENTS_MAX = 20_000
# So many texts are Python's at a time.
_TEXTS = 65_536
# So many documents are numbered and hashed while PostgreSQL takes in the ones before.
_CHUNK_DOCUMENTS = 25_000


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
    header: dict[str, str | datetime] = {
        "entity": entity,
        "document_kind": document_kind,
        "posted_at": posted_at,
        "run_id": run_id,
        "created_by": created_by,
    }
    entry_count = posting_count = 0
    with Engine().connect() as work:
        work.execute(query_text("ledger/macros"))
        register(work, "flow", flows)
        keep(work, "lane", "ledger/lane")
        account_count = _create_accounts(connection, work, entity)
        register(work, "account", read_accounts(connection, entity))
        keep(work, "lane_account", "ledger/lane_account")
        keep(work, "document", "ledger/document")
        register(work, "booking", _bookings(connection, entity, document_kind, flows))
        register(work, "last_entry", _last_entries(connection, document_kind, flows))
        keep(work, "all_flow", "ledger/placed_flow")
        # Closed before `work` is, also if PostgreSQL refuses a chunk while the next one is being made.
        with closing(_ahead(_chunks(work, header, _last_numbers(connection, entity)))) as chunks:
            for entries, postings in chunks:
                copy_in(connection, "ledger.journal_entry", entries)
                copy_in(connection, "ledger.posting", postings)
                entry_count += entries.num_rows
                posting_count += postings.num_rows
    if posting_count != flows.num_rows:
        raise Stop(f"{flows.num_rows} flows made {posting_count} postings: nothing was posted, report this as a defect")
    documents = pc.count_distinct(flows["document_id"]).as_py()
    return PostedCounts(documents, entry_count, posting_count, account_count)


def _chunks(
    work: duckdb.DuckDBPyConnection, header: Mapping[str, str | datetime], last_number: pa.Table
) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Yield entries with their hashes, and their postings, some documents at a time, in the order of the books."""
    columns = [last_number[name].to_pylist() for name in ("year", "number", "hash")]
    numbers = dict(zip(columns[0], columns[1], strict=True))
    hashes = dict(zip(columns[0], columns[2], strict=True))
    document_count = work.sql("SELECT count(*) FROM document").fetchall()[0][0]
    for first in range(1, document_count + 1, _CHUNK_DOCUMENTS):
        work.execute(
            "CREATE OR REPLACE TEMP TABLE placed_flow AS SELECT * FROM all_flow WHERE document_no BETWEEN ? AND ?",
            (first, first + _CHUNK_DOCUMENTS - 1),
        )
        register(work, "last_number", pa.table([list(numbers), list(numbers.values())], schema=_YEAR_NUMBER))
        made = work.sql(query_text("ledger/entry")).to_arrow_table()
        entries = _with_constants(made, ENTRY, header)
        register(work, "entry", entries)
        lines = work.sql(query_text("ledger/posting")).to_arrow_table()
        register(work, "numbered_posting", lines)
        postings = _with_constants(lines, POSTING, header)
        register(work, "posting", postings)
        if unsound := work.sql(query_text("ledger/unsound_posting")).to_arrow_table().num_rows:
            raise Stop(f"{unsound} postings have no accounts of one asset: nothing was posted, report this as a defect")
        heads = work.sql(query_text("ledger/entry_text")).to_arrow_table()
        before, own = [], []
        for year, number, previous_hash, entry_hash in chain(heads, lines["line"], hashes):
            before.append(previous_hash)
            own.append(entry_hash)
            numbers[year], hashes[year] = number, entry_hash
        hashed = entries.append_column("previous_hash", pa.array(before, TEXT))
        yield hashed.append_column("hash", pa.array(own, TEXT)), postings


def _ahead(chunks: Iterator[tuple[pa.Table, pa.Table]]) -> Generator[tuple[pa.Table, pa.Table], None, None]:
    """Yield the chunks; each next one is made in another thread while PostgreSQL takes in the one before."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        made = pool.submit(next, chunks, None)
        while (chunk := made.result()) is not None:
            made = pool.submit(next, chunks, None)
            yield chunk


def read_accounts(connection: Connection, entity: str) -> pa.Table:
    """Return the accounts of `entity`."""
    return fetch(
        connection, f"SELECT {', '.join(ACCOUNT.names)} FROM ledger.account WHERE entity = %s", ACCOUNT, (entity,)
    )


def chain(
    heads: pa.Table, lines: pa.ChunkedArray, last_hashes: Mapping[int, str]
) -> Iterator[tuple[int, int, str, str]]:
    """Yield year, number, previous hash and hash of every entry of one entity, each year a chain of its own.

    `heads` is what sql/ledger/entry_text says; `lines` are those of all postings, in the order of their entries.
    """
    last = dict(last_hashes)
    line = (
        text
        for chunk in lines.chunks
        for start in range(0, len(chunk), _TEXTS)
        for text in chunk[start : start + _TEXTS].to_pylist()
    )
    for batch in heads.to_batches(max_chunksize=_TEXTS):
        columns = (batch.column(name).to_pylist() for name in ("year", "number", "posting_count", "text"))
        for year, number, posting_count, text in zip(*columns, strict=True):
            before = last.get(year, FIRST_HASH)
            said = "\n".join(islice(line, posting_count)) or "no postings"
            last[year] = hashlib.sha256(f"{before}\n{text}\n{said}".encode()).hexdigest()
            yield year, number, before, last[year]


def chain_of_books(
    engine: Engine, entries: pa.Table, postings: pa.Table, accounts: pa.Table
) -> Iterator[tuple[int, int, str, str]]:
    """Yield what `chain` yields for the whole stored books of one entity, from the first entry of each year."""
    relations: dict[str, Relation] = {"entry": entries, "posting": postings, "account": accounts}
    lines = engine.run("ledger/stored_line", relations)
    return chain(engine.run("ledger/entry_text", {**relations, "numbered_posting": lines}), lines["line"], {})


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


def _create_accounts(connection: Connection, work: duckdb.DuckDBPyConnection, entity: str) -> int:
    register(work, "account", read_accounts(connection, entity))
    missing = work.sql(query_text("ledger/new_account")).to_arrow_table()
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


def _with_constants(table: pa.Table, schema: pa.Schema, constants: Mapping[str, str | datetime]) -> pa.Table:
    columns = [
        pa.repeat(pa.scalar(constants[field.name], field.type), table.num_rows)
        if field.name in constants
        else table[field.name]
        for field in schema
    ]
    return pa.table(columns, names=schema.names).cast(schema)
