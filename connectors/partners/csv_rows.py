"""Rows of a CSV report by the names in its header: one line is one row, quotes doubled, no escape character.

Lines of the plain form, without a quote inside a value, are read many at a time by PyArrow; where a block holds any
other line, all of its lines are read one by one, as strictly as a person would. What is read is the same.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from connectors.partners.rows import CELL_CHARACTERS_MAX, RAW_CHARACTERS_MAX, Broken, Values
from connectors.partners.text_source import check_beginning, read_lines
from etl.core.errors import Stop

LINE_BYTES_MAX = 1024 * 1024
BLOCK_BYTES = 4 * 1024 * 1024
_PLAIN_VALUE = rb'(?:"[^"\r\n\0]*+"|[^",\r\n\0]*+)'


def csv_rows(
    path: Path, what: str, names: Sequence[str], *, nothing_found: str, block_bytes: int = BLOCK_BYTES
) -> Iterator[Values | Broken | pa.RecordBatch]:
    """Yield the values of the columns `names` of each line, as text and in that order; of many lines as one batch.

    A line of another number of fields, with a stray quote, or without an end (the last one of a file that was cut) is
    Broken. A first line that only says `nothing_found` is an answer without rows. Raises Stop where a column is
    missing, where there is no row and nobody says so, and as `read_lines`.
    """
    with path.open("rb") as source:
        check_beginning(source, what)
        offset = source.tell()
        header_bytes = source.readline(LINE_BYTES_MAX + 1)
        header_line, is_header_whole = next(
            read_lines(BytesIO(header_bytes), what, LINE_BYTES_MAX, offset), ("", False)
        )
        header = _fields(header_line)
        missing = [name for name in names if not isinstance(header, list) or header.count(name) != 1]
        if missing or not is_header_whole or isinstance(header, str):
            raise Stop(
                f"{what} lacks, or has twice, the columns {', '.join(missing) or '(its header is cut off)'}; it begins "
                f"with {header_line[:120]!a}. Set the report's columns at the partner to those in docs/partners."
            )
        places = [header.index(name) for name in names]
        plain = re.compile(rb"(?:" + _PLAIN_VALUE + rb"(?:," + _PLAIN_VALUE + rb"){%d}+\r?\n)*+" % (len(header) - 1))
        row_count, is_empty_told = 0, False
        for at, block in _blocks(source, offset + len(header_bytes), block_bytes):
            batch = None
            if nothing_found.encode() not in block and plain.fullmatch(block):
                batch = _batch(block, len(header), places)
            if batch is not None:
                row_count += batch.num_rows
                yield batch
                continue
            for line, is_whole in read_lines(BytesIO(block), what, LINE_BYTES_MAX, at):
                if not line.strip():
                    continue
                fields = _fields(line)
                if isinstance(fields, list) and fields[0] == nothing_found and not any(fields[1:]):
                    is_empty_told = True
                    continue
                row_count += 1
                yield _row(line, fields, places, len(header), is_whole=is_whole)
    if is_empty_told == (row_count > 0):
        seen = f"says {nothing_found!r} and holds {row_count} rows" if row_count else "has a header and no row at all"
        raise Stop(f"{what} {seen}; an empty day says {nothing_found!r} alone. Ask for the report again.")


def _blocks(source: BinaryIO, offset: int, block_bytes: int) -> Iterator[tuple[int, bytes]]:
    """Yield blocks of whole lines and where each begins; a line over the limit ends its block, and is seen there."""
    while block := source.read(block_bytes):
        if not block.endswith(b"\n"):
            block += source.readline(LINE_BYTES_MAX + 1)
        yield offset, block
        offset += len(block)


def _batch(block: bytes, width: int, places: Sequence[int]) -> pa.RecordBatch | None:
    """Return the columns of a block of plain lines; None where a line by line reading has something to say."""
    try:
        block.decode("utf-8", "strict")
    except UnicodeDecodeError:
        return None
    numbered = [str(place) for place in range(width)]
    table = pa_csv.read_csv(
        pa.BufferReader(block),
        read_options=pa_csv.ReadOptions(column_names=numbered, block_size=len(block) + 1, use_threads=False),
        parse_options=pa_csv.ParseOptions(ignore_empty_lines=False),
        convert_options=pa_csv.ConvertOptions(
            include_columns=[str(place) for place in places],
            column_types=dict.fromkeys(numbered, pa.string()),
            strings_can_be_null=False,
        ),
    ).combine_chunks()
    if any((pc.max(pc.binary_length(column)).as_py() or 0) > CELL_CHARACTERS_MAX for column in table.columns):
        return None
    (batch,) = table.to_batches()
    return batch


def _row(line: str, fields: list[str] | str, places: Sequence[int], width: int, *, is_whole: bool) -> Values | Broken:
    if isinstance(fields, str):
        return Broken(fields, line[:RAW_CHARACTERS_MAX])
    if not is_whole:
        return Broken("the file ends in the middle of this line", line[:RAW_CHARACTERS_MAX])
    if len(fields) != width:
        return Broken(f"the line has {len(fields)} fields, the header {width}", line[:RAW_CHARACTERS_MAX])
    return tuple([fields[place] for place in places])


def _fields(line: str) -> list[str] | str:
    """Return the fields of one line, or what is wrong with it."""
    try:
        rows = list(csv.reader([line], delimiter=",", quotechar='"', doublequote=True, escapechar=None, strict=True))
    except csv.Error as error:
        return f"the quotes of the line do not fit ({error})"
    return rows[0] if len(rows) == 1 else "the line holds a line break of another kind"
