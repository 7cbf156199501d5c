"""Rows of a CSV report by the names in its header: one line is one row, quotes doubled, no escape character."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from connectors.partners.rows import RAW_CHARACTERS_MAX, Broken, Values
from connectors.partners.text_source import read_lines
from etl.core.errors import Stop

LINE_BYTES_MAX = 1024 * 1024


def csv_rows(path: Path, what: str, names: Sequence[str], *, nothing_found: str) -> Iterator[Values | Broken]:
    """Yield the values of the columns `names` of each line, as text and in that order.

    A line of another number of fields, with a stray quote, or without an end (the last one of a file that was cut) is
    Broken. A first line that only says `nothing_found` is an answer without rows. Raises Stop where a column is
    missing, where there is no row and nobody says so, and as `read_lines`.
    """
    lines = read_lines(path, what, LINE_BYTES_MAX)
    header_line, is_header_whole = next(lines, ("", False))
    header = _fields(header_line)
    missing = [name for name in names if not isinstance(header, list) or header.count(name) != 1]
    if missing or not is_header_whole or isinstance(header, str):
        raise Stop(
            f"{what} lacks, or has twice, the columns {', '.join(missing) or '(its header is cut off)'}; it begins "
            f"with {header_line[:120]!a}. Set the report's columns at the partner to those in docs/partners."
        )
    places = [header.index(name) for name in names]
    row_count, is_empty_told = 0, False
    for line, is_whole in lines:
        if not line.strip():
            continue
        fields = _fields(line)
        if isinstance(fields, list) and fields[0] == nothing_found and not any(fields[1:]):
            is_empty_told = True
            continue
        row_count += 1
        if isinstance(fields, str):
            yield Broken(fields, line[:RAW_CHARACTERS_MAX])
        elif not is_whole:
            yield Broken("the file ends in the middle of this line", line[:RAW_CHARACTERS_MAX])
        elif len(fields) != len(header):
            yield Broken(f"the line has {len(fields)} fields, the header {len(header)}", line[:RAW_CHARACTERS_MAX])
        else:
            yield tuple([fields[place] for place in places])
    if is_empty_told == (row_count > 0):
        seen = f"says {nothing_found!r} and holds {row_count} rows" if row_count else "has a header and no row at all"
        raise Stop(f"{what} {seen}; an empty day says {nothing_found!r} alone. Ask for the report again.")


def _fields(line: str) -> list[str] | str:
    """Return the fields of one line, or what is wrong with it."""
    try:
        rows = list(csv.reader([line], delimiter=",", quotechar='"', doublequote=True, escapechar=None, strict=True))
    except csv.Error as error:
        return f"the quotes of the line do not fit ({error})"
    return rows[0] if len(rows) == 1 else "the line holds a line break of another kind"
