"""The books as they are stored, for proofs: read by the numbers of their entries, so that some of them are in hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from etl.core.accounts import read_accounts
from etl.core.engine import Relation, SqlEngine
from etl.core.hash_chain import LINK, chain_of_books
from etl.core.journal_text import account_labels
from etl.core.ledger import ENTRY, POSTING
from etl.core.schemas import TEXT
from etl.core.warehouse import Connection, fetch

HASHED_ENTRY = pa.schema([*ENTRY, pa.field("previous_hash", TEXT), pa.field("hash", TEXT)])
ENTRIES_AT_ONCE = 250_000
"""How many entries, with four or five postings each, are in hand at a time."""
_AFTER = "entity = %(entity)s AND (year, number) > (%(year)s, %(number)s)"
_UNTIL = " AND (year, number) <= (%(last_year)s, %(last_number)s)"
_LAST_OF_PART = (
    f"SELECT year, number FROM ledger.journal_entry WHERE {_AFTER} ORDER BY year, number LIMIT 1 OFFSET %(more)s"
)


@dataclass(frozen=True, slots=True)
class StoredBooks:
    """All entries and postings of an entity, in files that queries read, and what became of the chain of hashes.

    `entry_count` entries were read. `broken` is the first whose hash does not follow (its columns by name), with how
    many entries came before it; None if all do.
    """

    entry: Path
    posting: Path
    account: pa.Table
    entry_count: int
    broken: tuple[int, dict[str, object]] | None

    def relations(self) -> dict[str, Relation]:
        """Return them by the names of sql/ledger."""
        return {"entry": self.entry, "posting": self.posting, "account": self.account}


def stored_books(
    connection: Connection, engine: SqlEngine, entity: str, folder: Path, at_once: int = ENTRIES_AT_ONCE
) -> StoredBooks:
    """Copy the books of an entity to files under `folder`, and prove the hashes of their entries on the way.

    The caller holds the lock of the books.
    """
    accounts = read_accounts(connection, entity)
    labelled = accounts.append_column("label", account_labels(accounts))
    entry, posting = folder / "entry.parquet", folder / "posting.parquet"
    count, last, broken = 0, dict[int, str](), None
    with ExitStack() as open_files:
        entry_file = open_files.enter_context(pq.ParquetWriter(entry, HASHED_ENTRY))
        posting_file = open_files.enter_context(pq.ParquetWriter(posting, POSTING))
        for entries, postings in numbered_parts(connection, entity, at_once):
            entry_file.write_table(entries)
            posting_file.write_table(postings)
            if broken is None:
                links = pa.concat_tables(
                    [LINK.empty_table(), *chain_of_books(engine, entries, postings, labelled, last)]
                )
                if (place := _first_broken(links, entries)) is not None:
                    broken = (count + place, {name: entries[name][place].as_py() for name in entries.column_names})
            count += entries.num_rows
    return StoredBooks(entry, posting, accounts, count, broken)


def numbered_parts(connection: Connection, entity: str, at_once: int) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Yield the entries (HASHED_ENTRY) of an entity in the order of their numbers, with the postings of these numbers.

    A posting whose entry is no more comes with the numbers around its own.
    """
    place: dict[str, object] = {"entity": entity, "year": 0, "number": 0, "more": at_once - 1}
    while True:
        last = connection.execute(_LAST_OF_PART, place).fetchone()
        which = _AFTER
        if last is not None:
            which += _UNTIL
            place |= {"last_year": last[0], "last_number": last[1]}
        yield (
            _of_part(connection, "ledger.journal_entry", HASHED_ENTRY, which, "year, number", place),
            _of_part(connection, "ledger.posting", POSTING, which, "year, number, leg", place),
        )
        if last is None:
            return
        place |= {"year": last[0], "number": last[1]}


def _of_part(
    connection: Connection, table: str, schema: pa.Schema, which: str, order: str, place: dict[str, object]
) -> pa.Table:
    query = f"SELECT {', '.join(schema.names)} FROM {table} WHERE {which} ORDER BY {order}"
    return fetch(connection, query, schema, place)


def _first_broken(links: pa.Table, stored: pa.Table) -> int | None:
    """Return the place of the first entry that is not stored as it follows from all before it in its year."""
    is_same = [pc.equal(links[name], stored[name]).to_numpy() for name in links.column_names]
    broken = np.flatnonzero(~np.logical_and.reduce(is_same))
    return int(broken[0]) if broken.size else None
