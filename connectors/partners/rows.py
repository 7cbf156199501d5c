"""Flattened rows: text columns, a number, and, for a row whose form is broken, what is wrong and how it looked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

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
    """Yield `rows` as record batches numbered from 1, at most `BATCH_ROWS` single ones each; memory holds one batch.

    A row with a value that no column can hold (a NUL, half a surrogate pair, an endless text) becomes a broken one.
    Rows that come as a batch have been looked at for that: text columns alone, in the order of `columns`.
    """
    schema = flat_schema(columns)
    width = len(columns)
    held: list[Values] = []
    number = 0
    for row in rows:
        if isinstance(row, pa.RecordBatch):
            if held:
                yield _batch(schema, number, held)
                number += len(held)
                held = []
            if row.num_rows:
                yield _numbered(schema, number, row)
                number += row.num_rows
            continue
        if isinstance(row, Broken):
            held.append((*(None,) * width, row.error, _printable(row.raw)))
        else:
            held.append((*_storable(row),))
        if len(held) == BATCH_ROWS:
            yield _batch(schema, number, held)
            number += len(held)
            held = []
    if held:
        yield _batch(schema, number, held)


def _numbered(schema: pa.Schema, before: int, rows: pa.RecordBatch) -> pa.RecordBatch:
    numbers = pa.array(range(before + 1, before + 1 + rows.num_rows), pa.int64())
    nothing = pa.nulls(rows.num_rows, pa.string())
    return pa.RecordBatch.from_arrays([numbers, *rows.columns, nothing, nothing], schema=schema)


def _batch(schema: pa.Schema, before: int, rows: Sequence[Values]) -> pa.RecordBatch:
    numbers = pa.array(range(before + 1, before + 1 + len(rows)), pa.int64())
    columns = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
    return pa.RecordBatch.from_arrays([numbers, *columns], schema=schema)


def _storable(row: Values) -> Values:
    for value in row:
        # isascii and isprintable are the fast way out: nearly every value passes here.
        if value is None or (len(value) <= CELL_CHARACTERS_MAX and value.isascii() and value.isprintable()):
            continue
        error = _unstorable(value)
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
