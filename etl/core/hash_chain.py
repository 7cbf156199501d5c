"""The chain of journal entries: each carries the hash of the one before it and of all it says itself."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from etl.core.engine import Relation, SqlEngine
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
_NO_POSTINGS = b"\nno postings"
# So many entries' texts are one piece of memory at a time.
_ENTRIES_AT_ONCE = 65_536


def chain(heads: pa.Table, lines: pa.ChunkedArray, last: dict[int, str]) -> Iterator[pa.Table]:
    """Yield the entries of one entity with their hashes (LINK), each year a chain of its own, many at a time.

    `heads` has year, number, line and posting_count of each entry, years one after the other; `lines` are those of all
    postings, in the order of their entries. Every line begins with the line feed that parts it from what is before it.
    `last` has the last hash of each year, and is kept up to date.
    """
    line_count = 0
    for some in heads.to_batches(max_chunksize=_ENTRIES_AT_ONCE):
        line_ends = np.append(0, np.cumsum(some["posting_count"].to_numpy()))
        head, head_ends = _bytes(some["line"])
        said, said_ends = _bytes(lines.slice(line_count, int(line_ends[-1])).combine_chunks())
        line_count += int(line_ends[-1])
        years, firsts = np.unique(some["year"].to_numpy(), return_index=True)
        for year, (first, end) in zip(years.tolist(), pairwise([*firsts.tolist(), some.num_rows]), strict=True):
            hashes = [last.get(year, _FIRST_HASH).encode()]
            heads_of_year = pairwise(head_ends[first : end + 1].tolist())
            lines_of_year = pairwise(said_ends[line_ends[first : end + 1]].tolist())
            for (head_from, head_to), (from_, to) in zip(heads_of_year, lines_of_year, strict=True):
                text = hashes[-1] + head[head_from:head_to] + (said[from_:to] or _NO_POSTINGS)
                hashes.append(sha256(text).hexdigest().encode())
            last[year] = hashes[-1].decode()
            link = pa.array(hashes, TEXT)
            entries = some.slice(first, end - first)
            yield pa.table([entries["year"], entries["number"], link[:-1], link[1:]], schema=LINK)


def chain_of_books(engine: SqlEngine, entries: pa.Table, postings: pa.Table, accounts: pa.Table) -> Iterator[pa.Table]:
    """Yield what `chain` yields for the whole stored books of one entity, from the first entry of each year."""
    relations: dict[str, Relation] = {"entry": entries, "posting": postings, "account": accounts}
    lines = engine.run("ledger/stored_posting_line", relations)
    heads = engine.run("ledger/stored_entry_line", {**relations, "numbered_posting": lines})
    return chain(heads, lines["line"], {})


def _bytes(texts: pa.Array) -> tuple[memoryview, npt.NDArray[np.int32]]:
    """Return the bytes of all texts, one after the other, and where each begins and the last ends."""
    if len(texts) == 0:
        return memoryview(b""), np.zeros(1, np.int32)
    _, ends, values = texts.buffers()
    return memoryview(values), np.frombuffer(ends, np.int32)[texts.offset : texts.offset + len(texts) + 1]
