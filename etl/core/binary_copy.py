"""Arrow tables as PostgreSQL's binary COPY format, made a column at a time: PostgreSQL reads it faster than text.

Unlike text it is not converted: the type of a column must be the table's own (bool is boolean, int32 integer, int64
bigint, string text, date32 date, timestamp("us") timestamp, decimal128 numeric). PostgreSQL refuses what has another
width, but would take a day for an integer: so what is copied this way has a test that compares its schema with the
table.
Format: https://www.postgresql.org/docs/current/sql-copy.html (read 2026-11), "Binary Format"; the values are what each
type's receive function reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from itertools import groupby
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql

from etl.core.warehouse import Connection, identifier

_SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
_NULL = pa.scalar(b"\xff\xff\xff\xff", pa.binary())
# PostgreSQL counts from 2000-01-01.
_EPOCH_DAYS = 10_957
_EPOCH_MICROSECONDS = _EPOCH_DAYS * 86_400_000_000

# What is made of so many rows stays in the processor's cache while its columns are written one after the other.
_ROWS_AT_ONCE = 8_192

Integers: TypeAlias = npt.NDArray[np.int64]
# A piece of every row: of one width, as numpy's name of its type and a value for each row or for all; or binaries.
Fixed: TypeAlias = "tuple[str, npt.NDArray[np.generic] | int]"
Piece: TypeAlias = "Fixed | pa.BinaryArray"


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of a table, ready to be copied: the names of their columns and their bytes."""

    columns: tuple[str, ...]
    count: int
    pieces: list[memoryview]


def rows_of(data: pa.Table) -> Rows:
    """Return the rows of `data` in PostgreSQL's binary format. Raises TypeError for a type that has no form here."""
    some = (data.slice(first, _ROWS_AT_ONCE) for first in range(0, data.num_rows, _ROWS_AT_ONCE))
    return Rows(tuple(data.column_names), data.num_rows, [_encoded(rows) for rows in some])


def _encoded(data: pa.Table) -> memoryview:
    pieces: list[Piece] = [(">i2", data.num_columns)]
    for column in data.columns:
        pieces += _field(column.combine_chunks())
    joined = _joined(pieces, data.num_rows)
    _, offsets, values = joined.buffers()
    first, last = np.frombuffer(offsets, np.int32)[[joined.offset, joined.offset + len(joined)]]
    return memoryview(values)[first:last]


def copy_rows(connection: Connection, table: str, rows: Rows) -> None:
    """Append `rows` to `table`, columns by name."""
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(
        identifier(table), sql.SQL(", ").join(map(sql.Identifier, rows.columns))
    )
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(_SIGNATURE)
        for piece in rows.pieces:
            copy.write(piece)
        copy.write(_TRAILER)


def _field(column: pa.Array) -> list[Piece]:
    """Return the field of each row: its length and its value, or that it is null."""
    is_text = pa.types.is_string(column.type)
    if column.null_count == 0:
        return _text(column) if is_text else _number(column)
    filled = pc.fill_null(column, pa.scalar(_nothing(column.type), column.type))
    return [pc.if_else(column.is_valid(), _joined(_field(filled), len(column)), _NULL)]


def _nothing(kind: pa.DataType) -> str | bool | int | Decimal:
    """Return a value that stands where there is none until the field says so."""
    if pa.types.is_string(kind):
        return ""
    if pa.types.is_boolean(kind):
        return False
    return Decimal(0) if pa.types.is_decimal128(kind) else 0


def _text(column: pa.Array) -> list[Piece]:
    _, offsets, values = column.buffers()
    places = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1]
    lengths = np.diff(places)
    width = int(lengths[0]) if len(lengths) else 0
    if width == 0 or (lengths != width).any():
        return [(">i4", lengths), column.cast(pa.binary())]
    return [(">i4", width), (f"S{width}", np.frombuffer(values, f"S{width}", len(column), places[0]))]


def _number(column: pa.Array) -> list[Piece]:
    kind = column.type
    if pa.types.is_decimal128(kind):
        return _numeric(column)
    if kind == pa.bool_():
        return [(">i4", 1), (">i1", column.cast(pa.int8()).to_numpy())]
    if kind == pa.int32():
        return [(">i4", 4), (">i4", column.to_numpy())]
    if kind == pa.int64():
        return [(">i4", 8), (">i8", column.to_numpy())]
    if kind == pa.date32():
        return [(">i4", 4), (">i4", column.cast(pa.int32()).to_numpy() - _EPOCH_DAYS)]
    if kind == pa.timestamp("us"):
        return [(">i4", 8), (">i8", column.cast(pa.int64()).to_numpy() - _EPOCH_MICROSECONDS)]
    raise TypeError(f"a column of {kind} has no binary form here: copy it as text")


def _numeric(column: pa.Array) -> list[Piece]:
    """Return numerics, all with as many digits as the longest has: PostgreSQL drops zeros at either end.

    A digit is to the base 10,000.
    """
    precision, scale = column.type.precision, column.type.scale
    if scale % 4 or precision > 26:
        raise TypeError(f"{column.type} has no binary form here: at most 26 digits, of them 0, 4, 8... in the fraction")
    whole_count = -(-(precision - scale) // 4)
    low, high = words(pc.abs(column))
    # In two halves that fit 64 bits: 2**64 is 184467440737 * 10**8 + 9551616.
    upper, lower = np.divmod(low.view(np.uint64), np.uint64(10**8))
    lower, upper = lower.view(np.int64) + high * 9_551_616, upper.view(np.int64) + high * 184_467_440_737
    upper, lower = upper + lower // 10**8, lower % 10**8
    digits: list[Integers] = []
    for place in range(whole_count + scale // 4):
        if place < 2:
            lower, digit = np.divmod(lower, 10_000)
        else:
            upper, digit = np.divmod(upper, 10_000)
        digits.insert(0, digit)
    used = [place for place, digit in enumerate(digits) if digit.any()] or [0]
    digits = digits[used[0] : used[-1] + 1]
    sign = np.where(words(column)[1] < 0, 0x4000, 0)
    weight = whole_count - 1 - used[0]
    head: list[Piece] = [(">i2", len(digits)), (">i2", weight), (">i2", sign), (">i2", scale)]
    return [(">i4", 8 + 2 * len(digits)), *head, *[(">i2", digit) for digit in digits]]


def words(column: pa.Array) -> tuple[Integers, Integers]:
    """Return the lower and the upper 64 bits of the unscaled values of a decimal128 column, which has no nulls."""
    both = np.frombuffer(column.buffers()[1], np.int64).reshape(-1, 2)[column.offset : column.offset + len(column)]
    return np.ascontiguousarray(both[:, 0]), np.ascontiguousarray(both[:, 1])


def _joined(pieces: list[Piece], count: int) -> pa.BinaryArray:
    """Return the pieces of each row as one binary; those of one width that stand side by side are written together."""
    joined = [
        _binaries(list(side_by_side), count) if is_fixed else piece
        for is_fixed, side_by_side in groupby(pieces, lambda piece: isinstance(piece, tuple))
        for piece in ([None] if is_fixed else side_by_side)
    ]
    return joined[0] if len(joined) == 1 else pc.binary_join_element_wise(*joined, pa.scalar(b"", pa.binary()))


def _binaries(pieces: list[Fixed], count: int) -> pa.BinaryArray:
    rows = np.empty(count, [(f"piece_{place}", kind) for place, (kind, _) in enumerate(pieces)])
    for place, (_, values) in enumerate(pieces):
        rows[f"piece_{place}"] = values
    offsets = np.arange(count + 1, dtype=np.int32) * np.int32(rows.itemsize)
    return pa.Array.from_buffers(pa.binary(), count, [None, pa.py_buffer(offsets), pa.py_buffer(rows)])
