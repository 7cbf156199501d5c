"""Flattened rows: text columns, a number, and, for a row whose form is broken, what is wrong and how it looked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

BATCH_ROWS = 20_000
CELL_CHARACTERS_MAX = 8_192
RAW_CHARACTERS_MAX = 4_096

Values = tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Broken:
    """A row that has no readable form: why, and its beginning as it came."""

    error: str
    raw: str


def flat_schema(columns: Sequence[str]) -> pa.Schema:
    """Return the schema of a flattened answer: row_number, the text columns, flatten_error and raw_text."""
    return pa.schema(
        [
            pa.field("row_number", pa.int64(), nullable=False),
            *(pa.field(name, pa.string()) for name in columns),
            pa.field("flatten_error", pa.string()),
            pa.field("raw_text", pa.string()),
        ]
    )


def batches(columns: Sequence[str], rows: Iterable[Values | Broken | pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield `rows` as record batches numbered from 1, of `BATCH_ROWS` and what came with the last; memory holds one.

    A row with a value that no column can hold (a NUL, half a surrogate pair, an endless text) becomes a broken one.
    Rows that come as a batch have been looked at for that: text columns alone, in the order of `columns`.
    """
    schema = flat_schema(columns)
    width = len(columns)
    held: list[Values] = []
    pieces: list[pa.RecordBatch] = []
    number, count = 0, 0
    for row in rows:
        if isinstance(row, pa.RecordBatch):
            nothing = pa.nulls(row.num_rows, pa.string())
            pieces += [
                *_columns(schema, held),
                pa.RecordBatch.from_arrays([*row.columns, nothing, nothing], schema=_texts(schema)),
            ]
            held = []
            count += row.num_rows
        else:
            if isinstance(row, Broken):
                held.append((*(None,) * width, row.error, _printable(row.raw)))
            else:
                held.append((*row, None, None))
            count += 1
        if count >= BATCH_ROWS:
            yield _numbered(schema, number, [*pieces, *_columns(schema, held)])
            number += count
            held, pieces, count = [], [], 0
    if count:
        yield _numbered(schema, number, [*pieces, *_columns(schema, held)])


def _texts(schema: pa.Schema) -> pa.Schema:
    return pa.schema(list(schema)[1:])


def _columns(schema: pa.Schema, rows: Sequence[Values]) -> list[pa.RecordBatch]:
    if not rows:
        return []
    columns = _arrays(rows)
    if columns is None:
        # Hardly ever: one of the values has no place in a column, and it is found row by row which.
        columns = _arrays([row if row[-1] is not None else _storable(row[:-2]) for row in rows])
    assert columns is not None
    return [pa.RecordBatch.from_arrays(columns, schema=_texts(schema))]


def _arrays(rows: Sequence[Values]) -> list[pa.Array] | None:
    """Return the columns of rows; None if a value is longer than a cell, holds a NUL or is no text."""
    try:
        columns = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
    except UnicodeEncodeError:
        return None
    # The last two are what was wrong with a broken row, made printable before.
    return None if any(map(_is_unstorable, columns[:-2])) else columns


def _is_unstorable(column: pa.Array) -> bool:
    longest: int | None = pc.max(pc.utf8_length(column)).as_py()
    return longest is not None and (longest > CELL_CHARACTERS_MAX or pc.any(pc.match_substring(column, "\0")).as_py())


def _numbered(schema: pa.Schema, before: int, pieces: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    (rows,) = pa.Table.from_batches(pieces).combine_chunks().to_batches()
    numbers = pa.array(range(before + 1, before + 1 + rows.num_rows), pa.int64())
    return pa.RecordBatch.from_arrays([numbers, *rows.columns], schema=schema)


def _storable(row: Values) -> Values:
    for value in row:
        error = None if value is None else _unstorable(value)
        if error is not None:
            raw = "|".join(_printable(each or "")[:200] for each in row)
            return (*(None,) * len(row), error, raw[:RAW_CHARACTERS_MAX])
    return (*row, None, None)


def _unstorable(value: str) -> str | None:
    if len(value) > CELL_CHARACTERS_MAX:
        return f"a value has {len(value):,} characters, more than {CELL_CHARACTERS_MAX:,}"
    if "\0" in value:
        return "a value holds a NUL character"
    if any("\ud800" <= character <= "\udfff" for character in value):
        return "a value holds half a surrogate pair and is no text"
    return None


def _printable(raw: str) -> str:
    """Return the beginning of a raw text with what neither Arrow nor PostgreSQL can hold made visible."""
    cut = raw[:RAW_CHARACTERS_MAX]
    return cut.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")
