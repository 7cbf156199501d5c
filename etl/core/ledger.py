"""The ledger's writer: flows between accounts become numbered, hash-chained journal entries with their postings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import date, datetime
from itertools import chain as one_after_another

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.core.accounts import are_few_of_all, named_accounts, new_accounts, read_accounts
from etl.core.ahead import read_ahead
from etl.core.binary_copy import Integers, Rows, copy_rows, rows_of
from etl.core.engine import Engine
from etl.core.errors import Stop
from etl.core.hash_chain import LINK, chain
from etl.core.journal import LANE, Chunk, Ranked, RankedFlows, in_order, ranked, ranked_flows, ranked_lanes
from etl.core.journal_text import lane_labels, posting_lines
from etl.core.period import closed_through, locked_months, month_of, next_month, period_states
from etl.core.schemas import INSTANT, TEXT
from etl.core.warehouse import Connection, by_index, fetch, lock

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
        pa.field("year", pa.int32(), nullable=False),
        pa.field("number", pa.int64(), nullable=False),
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
_ENGINE = Engine()
_ACCOUNT = "ledger.account"
_ENTRY = "ledger.journal_entry"
_POSTING = "ledger.posting"
_LAST_ENTRY = pa.schema([("document_id", TEXT), ("entry_no", pa.int32())])
_LAST_NUMBER = pa.schema([("year", pa.int32()), ("number", pa.int64()), ("hash", TEXT)])
# The guard of closed periods looks at what a COPY wrote, which should not go through a file.
_WORK_MEMORY = "64MB"
# So many documents are numbered and hashed while PostgreSQL takes in the ones before.
_CHUNK_DOCUMENTS = 10_000


@dataclass(frozen=True, slots=True)
class PostedCounts:
    """What a call of `post` wrote."""

    documents: int = 0
    entries: int = 0
    postings: int = 0
    accounts: int = 0

    def plus(self, other: PostedCounts) -> PostedCounts:
        """Return what both wrote."""
        return PostedCounts(
            self.documents + other.documents,
            self.entries + other.entries,
            self.postings + other.postings,
            self.accounts + other.accounts,
        )


@dataclass(slots=True)
class _BooksSoFar:
    """What the books hold before they are added to: closed periods, and the last entry of each year.

    `accounts` are all of the entity, once they were read: of a few of many those that are named are looked up. Where
    there was no entry of the kind (`is_first`) a later part has none, either, as a document is in one part.
    """

    locked: frozenset[date]
    closed_through: date | None
    last_number: dict[int, int]
    last_hash: dict[int, str]
    accounts: pa.Table | None = None
    is_first: bool | None = None


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
    return post_in_parts(
        connection, entity, document_kind, [flows], run_id=run_id, created_by=created_by, posted_at=posted_at
    )


def post_in_parts(
    connection: Connection,
    entity: str,
    document_kind: str,
    parts: Iterable[pa.Table],
    *,
    run_id: str,
    created_by: str,
    posted_at: datetime,
) -> PostedCounts:
    """Append flows that come in parts, as `post` would all of them; a part is asked for when the one before is written.

    A document is in one part. Where the ids of each part are after those of the one before, entries, their numbers and
    hashes are those of a single call.
    """
    header: dict[str, str | datetime] = {
        "entity": entity,
        "document_kind": document_kind,
        "posted_at": posted_at,
        "run_id": run_id,
        "created_by": created_by,
    }
    books: _BooksSoFar | None = None
    whole = PostedCounts()
    for flows in parts:
        if flows.num_rows == 0:
            continue
        if books is None:
            lock_books(connection, entity)
            connection.execute("SELECT set_config('work_mem', %s, true)", (_WORK_MEMORY,))
            books = _books_so_far(connection, entity, document_kind)
        whole = whole.plus(_post_part(connection, books, flows.select(FLOW.names).cast(FLOW), header))
    return whole


def _post_part(
    connection: Connection, books: _BooksSoFar, flows: pa.Table, header: Mapping[str, str | datetime]
) -> PostedCounts:
    """Append the flows of some documents to the books, which are then what the next are added to."""
    if pc.min(flows["amount"]).as_py() <= 0:
        raise Stop("a flow with an amount that is not positive cannot be posted: turn its accounts around")
    entity, document_kind = str(header["entity"]), str(header["document_kind"])
    with ThreadPoolExecutor(max_workers=2) as aside:
        # Accounts are made first, so that PostgreSQL takes them in while documents are put in order.
        coded = [aside.submit(ranked, flows[name]) for name in LANE]
        ordering = aside.submit(ranked_flows, flows)
        lane = ranked_lanes(flows, [column.result() for column in coded])
        if books.accounts is None and not are_few_of_all(connection, lane.values.num_rows):
            books.accounts = read_accounts(connection, entity)
        known = named_accounts(connection, entity, lane.values) if books.accounts is None else books.accounts
        new = new_accounts(connection, entity, lane.values, known)
        accounts = pa.concat_tables([known, new])
        if books.accounts is not None:
            books.accounts = accounts
        numbered = aside.submit(_numbered_lanes, entity, lane, accounts)
        last_entries = _last_entries(connection, books, document_kind, flows["document_id"])
        made = one_after_another(
            [(_ACCOUNT, rows_of(new))], _written(ordering, lane, numbered, last_entries, books, header)
        )
        counts: Counter[str] = Counter()
        # The next entries and postings are made while PostgreSQL takes in the ones before, at first the new accounts.
        with closing(read_ahead(made, 2)) as written:
            for table, rows in written:
                if rows.count:
                    copy_rows(connection, table, rows)
                counts[table] += rows.count
    if counts[_POSTING] != flows.num_rows:
        raise Stop(
            f"{flows.num_rows} flows made {counts[_POSTING]} postings: nothing was posted, report this as a defect"
        )
    return PostedCounts(len(ordering.result().document.values), counts[_ENTRY], counts[_POSTING], counts[_ACCOUNT])


def _written(
    ordering: Future[RankedFlows],
    lane: Ranked,
    numbered: Future[tuple[Integers, Integers]],
    last_entries: pa.Table,
    books: _BooksSoFar,
    header: Mapping[str, str | datetime],
) -> Iterator[tuple[str, Rows]]:
    """Yield entries with their hashes, then their postings, some documents at a time, in the order of the books.

    Hashes name accounts by their labels: their numbers, which `numbered` gives, are waited for only when needed. The
    last numbers and hashes of `books` are kept up to date.
    """
    labels = lane_labels(lane.values)
    flows = ordering.result()
    for chunk in in_order(
        flows,
        lane,
        booked_days(flows.day.values.to_pylist(), books.locked, books.closed_through),
        _last_entry_numbers(last_entries, flows.document.values),
        dict(books.last_number),
        _CHUNK_DOCUMENTS,
    ):
        entries = _entries(chunk, flows, header)
        lanes = lane.places[chunk.row]
        said = _said(chunk, flows, entries)
        lines = posting_lines(said, labels.take(lanes))
        links = pa.concat_tables(chain(entries, np.bincount(chunk.entry), lines, books.last_hash))
        books.last_number.update(zip(chunk.year.tolist(), chunk.number.tolist(), strict=True))
        yield _ENTRY, rows_of(pa.table([*entries.columns, *links.columns[2:]], names=[*ENTRY.names, *LINK.names[2:]]))
        debit, credit = numbered.result()
        columns = dict(zip(said.column_names, said.columns, strict=True))
        columns |= {"debit": pa.array(debit[lanes]), "credit": pa.array(credit[lanes])}
        yield _POSTING, rows_of(_with_constants(columns, POSTING, header, len(lanes)))


def _entries(chunk: Chunk, flows: RankedFlows, header: Mapping[str, str | datetime]) -> pa.Table:
    columns = {
        "year": pa.array(chunk.year),
        "number": pa.array(chunk.number),
        "document_id": flows.document.values.take(chunk.document),
        "entry_no": pa.array(chunk.entry_no),
        "booked_on": pa.array(chunk.booked_on, pa.int32()),
    }
    return _with_constants(columns, ENTRY, header, len(chunk.number))


def _said(chunk: Chunk, flows: RankedFlows, entries: pa.Table) -> pa.Table:
    """Return all that postings say but their accounts."""
    moved = flows.moved.take(chunk.row)
    entry = entries.select(["year", "number", "document_id", "entry_no", "booked_on"]).take(chunk.entry)
    parts = [*moved.columns, *entry.columns, pa.array(chunk.leg)]
    return pa.table(parts, names=[*moved.column_names, *entry.column_names, "leg"])


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


def _numbered_lanes(entity: str, lane: Ranked, accounts: pa.Table) -> tuple[Integers, Integers]:
    """Return the numbers of the accounts each lane debits and credits; Stop if two of them do not fit."""
    lanes = lane.values.append_column("lane_no", pa.array(np.arange(lane.values.num_rows)))
    numbered = _ENGINE.run("ledger/lane_account", {"lane": lanes, "account": accounts})
    unsound = _ENGINE.run("ledger/unsound_lane", {"lane_account": numbered, "account": accounts}, {"entity": entity})
    if count := int(np.isin(lane.places, unsound["lane_no"].to_numpy()).sum()):
        raise Stop(f"{count} postings have no accounts of one asset: nothing was posted, report this as a defect")
    return numbered["debit"].to_numpy(), numbered["credit"].to_numpy()


def _books_so_far(connection: Connection, entity: str, document_kind: str) -> _BooksSoFar:
    """Read what the books hold that documents of a kind are added to."""
    query = """
        WITH span AS (
            SELECT min(year) AS first, max(year) AS last FROM ledger.journal_entry WHERE entity = %(entity)s
        )
        SELECT e.year, e.number, e.hash
        FROM span AS s
        CROSS JOIN LATERAL generate_series(s.first, s.last) AS y
        CROSS JOIN LATERAL (
            SELECT year, number, hash
            FROM ledger.journal_entry
            WHERE entity = %(entity)s AND year = y
            ORDER BY number DESC
            LIMIT 1
        ) AS e
    """
    last = fetch(connection, query, _LAST_NUMBER, {"entity": entity}).to_pylist()
    states = period_states(connection, entity)
    return _BooksSoFar(
        locked_months(states, document_kind),
        closed_through(states),
        {row["year"]: row["number"] for row in last},
        {row["year"]: row["hash"] for row in last},
    )


def _last_entries(
    connection: Connection, books: _BooksSoFar, document_kind: str, documents: pa.ChunkedArray
) -> pa.Table:
    """Return the number of the last entry of each of `documents` (one of each flow) that has one."""
    if books.is_first is None:
        of_kind = "SELECT FROM ledger.journal_entry WHERE document_kind = %s LIMIT 1"
        books.is_first = connection.execute(of_kind, (document_kind,)).fetchone() is None
    if books.is_first:
        return _LAST_ENTRY.empty_table()
    query = """
        SELECT document_id, max(entry_no)
        FROM ledger.journal_entry
        WHERE document_kind = %(kind)s AND document_id = ANY(%(named)s)
        GROUP BY document_id
    """
    named = documents.unique().to_pylist()
    with by_index(connection):
        return fetch(connection, query, _LAST_ENTRY, {"kind": document_kind, "named": named})


def _last_entry_numbers(last_entries: pa.Table, documents: pa.Array) -> Integers:
    """Return the number of the last entry of each document, 0 if it has none."""
    place = pc.index_in(documents, last_entries["document_id"])
    return np.asarray(pc.fill_null(last_entries["entry_no"].take(place), 0), np.int64)


def _with_constants(
    columns: Mapping[str, pa.Array], schema: pa.Schema, constants: Mapping[str, str | datetime], count: int
) -> pa.Table:
    """Return a table of `schema`, of its columns some of which are the same in all rows."""
    whole = [
        pa.repeat(pa.scalar(constants[field.name], field.type), count)
        if field.name in constants
        else columns[field.name].cast(field.type)
        for field in schema
    ]
    return pa.table(whole, schema=schema)
