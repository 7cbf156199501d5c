"""The chain of journal entries: each carries the hash of the one before it and of all it says itself."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.core.binary_copy import Integers
from etl.core.engine import SqlEngine
from etl.core.journal_text import both_labels, entry_lines, posting_lines
from etl.core.schemas import TEXT

LINK = pa.schema(
    [
        pa.field("year", pa.int32(), nullable=False),
        pa.field("number", pa.int64(), nullable=False),
        pa.field("previous_hash", TEXT, nullable=False),
        pa.field("hash", TEXT, nullable=False),
    ]
)
# What stands for the entry before the first one of an entity and year.
_FIRST_HASH = "0" * 64
# What an entry says that has lost its postings.
_NO_POSTINGS = "\nno postings"
# So many entries' texts are one piece of memory at a time.
_ENTRIES_AT_ONCE = 65_536


def chain(
    entries: pa.Table, posting_counts: Integers, lines: pa.ChunkedArray, last: dict[int, str]
) -> Iterator[pa.Table]:
    """Yield the entries of one entity with their hashes (LINK), each year a chain of its own, many at a time.

    `entries` (the columns of `ledger.ENTRY`) have one year after the other, and `posting_counts` postings each; `lines`
    are those of all postings, in the order of their entries. `last` has the last hash of each year and is kept up to
    date.
    """
    line_count = 0
    for first_entry in range(0, entries.num_rows, _ENTRIES_AT_ONCE):
        some = entries.slice(first_entry, _ENTRIES_AT_ONCE)
        ends = np.append(0, np.cumsum(posting_counts[first_entry : first_entry + _ENTRIES_AT_ONCE]))
        texts = _texts(entry_lines(some), lines.slice(line_count, int(ends[-1])), ends)
        line_count += int(ends[-1])
        years, firsts = np.unique(some["year"].to_numpy(), return_index=True)
        for year, (first, end) in zip(years.tolist(), pairwise([*firsts.tolist(), some.num_rows]), strict=True):
            hashes = [last.get(year, _FIRST_HASH).encode()]
            for text in texts[first:end]:
                hashes.append(sha256(hashes[-1] + text).hexdigest().encode())
            last[year] = hashes[-1].decode()
            link = pa.array(hashes, TEXT)
            linked = some.slice(first, end - first)
            yield pa.table([linked["year"], linked["number"], link[:-1], link[1:]], schema=LINK)


def chain_of_books(
    engine: SqlEngine, entries: pa.Table, postings: pa.Table, labelled: pa.Table, last: dict[int, str]
) -> Iterator[pa.Table]:
    """Yield what `chain` yields for stored entries of one entity and their postings, in the order of their numbers.

    `labelled` are its accounts with their `label`. `last` has the last hash of each year before them, none at
    first, and is kept up to date.
    """
    said = engine.run("ledger/stored_posting", {"entry": entries, "posting": postings, "account": labelled})
    counted = engine.run("ledger/stored_entry", {"entry": entries, "numbered_posting": said.select(["year", "number"])})
    lines = [
        part
        for some in map(pa.table, said.to_batches())
        for part in posting_lines(some, both_labels(some["debit_label"], some["credit_label"])).chunks
    ]
    return chain(counted, counted["posting_count"].to_numpy(), pa.chunked_array(lines, TEXT), last)


def _texts(heads: pa.ChunkedArray, lines: pa.ChunkedArray, ends: Integers) -> list[bytes]:
    """Return the text of each entry: its own line and those of its postings, which end where `ends` says."""
    said = lines.combine_chunks()
    if len(said) == 0:
        bodies = pa.repeat("", len(heads))
    else:
        _, offsets, values = said.buffers()
        places = np.frombuffer(offsets, np.int32)[said.offset + ends]
        bodies = pa.Array.from_buffers(TEXT, len(heads), [None, pa.py_buffer(places), values])
    bodies = pc.if_else(pc.equal(bodies, ""), _NO_POSTINGS, bodies)
    joined = pc.binary_join_element_wise(heads, bodies, "").cast(pa.binary())
    texts: list[bytes] = joined.to_numpy().tolist()
    return texts
