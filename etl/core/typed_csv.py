"""Strict reading of a CSV that a person wrote: every value has a form, every fault its line, column and next step."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

from etl.core.errors import Stop
from etl.core.money import exponent

BYTES_MAX = 256 * 1024 * 1024
FAULTS_SHOWN = 20
_TEXT_CHARACTERS_MAX = 300
_INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,6})?(Z|[+-]\d{2}:\d{2})")
_NUMBER = re.compile(r"(0|[1-9][0-9]*)(?:\.([0-9]+))?", re.ASCII)

Value = str | int | Decimal | date | datetime | None


@dataclass(frozen=True, slots=True)
class Column:
    """A column, the reader of its text (ValueError: why it is not one), and whether it may be empty (then `empty`).

    A column that came later may be missing from the file: it is then empty on every line.
    """

    name: str
    read: Callable[[str], Value]
    is_optional: bool = False
    may_be_missing: bool = False
    empty: Value = None


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the file: its number there (the header is 1) and its values in the order of the columns."""

    number: int
    values: tuple[Value, ...]


def text(value: str) -> str:
    """Return the text if it is printable, trimmed and not too long."""
    if value != value.strip() or not value.isprintable() or len(value) > _TEXT_CHARACTERS_MAX:
        raise ValueError(f"must be printable text without blanks around it, at most {_TEXT_CHARACTERS_MAX} characters")
    return value


def currency(value: str) -> str:
    """Return the currency code."""
    try:
        exponent(value)
    except Stop:
        raise ValueError("must be a currency code of three capital letters such as EUR") from None
    return value


def instant(value: str) -> datetime:
    """Return the instant in UTC, without a zone; the text must name its offset."""
    if not _INSTANT.fullmatch(value):
        raise ValueError("must be an instant with its offset such as 2026-01-31T00:00:00Z")
    try:
        return datetime.fromisoformat(value.replace("Z", "+00:00")).astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        raise ValueError("must be an instant that exists, such as 2026-01-31T00:00:00Z") from None


def number(whole_digits: int, decimals: int) -> Callable[[str], Decimal]:
    """Return a reader of numbers that are not negative, with at most so many digits before and after the point."""

    def read(value: str) -> Decimal:
        found = _NUMBER.fullmatch(value) if len(value) <= 64 else None
        if found is None or len(found[1]) > whole_digits or len(found[2] or "") > decimals:
            raise ValueError(
                f"must be a plain number with at most {whole_digits} digits before and {decimals} after the point"
            )
        return Decimal(value)

    return read


def signed(whole_digits: int, decimals: int) -> Callable[[str], Decimal]:
    """Return a reader of numbers that may stand below zero, with a minus before them."""
    plain = number(whole_digits, decimals)

    def read(value: str) -> Decimal:
        amount = plain(value.removeprefix("-"))
        return -amount if value.startswith("-") and amount else amount

    return read


def day(value: str) -> date:
    """Return the day."""
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", value, re.ASCII):
            return date.fromisoformat(value)
    except ValueError:
        pass
    raise ValueError("must be a day that exists such as 2026-01-31")


def whole(least: int, most: int) -> Callable[[str], int]:
    """Return a reader of whole numbers between two bounds."""

    def read(value: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", value, re.ASCII) or not least <= int(value) <= most:
            raise ValueError(f"must be a whole number from {least} to {most}")
        return int(value)

    return read


def one_of(*words: str) -> Callable[[str], str]:
    """Return a reader of one of the words."""

    def read(value: str) -> str:
        if value not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return value

    return read


def stop_with(path: Path, faults: Sequence[str]) -> None:
    """Raise Stop with the faults of a file if there are any; nothing of it is loaded then."""
    if faults:
        shown = list(faults[:FAULTS_SHOWN])
        if len(faults) > FAULTS_SHOWN:
            shown.append(f"and {len(faults) - FAULTS_SHOWN} more")
        raise Stop(f"{path}: nothing was loaded. Correct the file and load it again:\n  " + "\n  ".join(shown))


def read_text(path: Path, bytes_max: int = BYTES_MAX) -> str:
    """Return a UTF-8 file as text without its byte order mark; Stop if it is too large, missing or not UTF-8."""
    try:
        if path.stat().st_size > bytes_max:
            raise Stop(f"{path}: larger than {bytes_max} bytes: split it into several files")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise Stop(f"{path}: cannot be read ({error.strerror}): name a file that exists") from error
    except UnicodeDecodeError as error:
        raise Stop(f"{path}: byte {error.start} is not UTF-8: save the file as UTF-8") from error


def read_csv(path: Path, columns: Sequence[Column]) -> list[Line]:
    """Return the lines of a comma-separated UTF-8 file with these columns and no other, in any order.

    Stop with every fault (line, column, value, what it must be) if there is one.
    """
    content = read_text(path)
    reader = csv.reader(content.splitlines(keepends=True), strict=True)
    faults: list[str] = []
    lines: list[Line] = []
    try:
        header = next(reader, [])
        stop_with(path, _header_faults(header, columns))
        places = [header.index(column.name) if column.name in header else None for column in columns]
        for row in reader:
            if row:
                line = _line(reader.line_num, row, header, columns, places, faults)
                lines.append(line)
    except csv.Error as error:
        raise Stop(f"{path}: line {reader.line_num}: {error}: check its quotes and commas") from error
    stop_with(path, faults)
    return lines


def read_rows(path: Path, columns: Sequence[Column]) -> list[tuple[int, dict[str, Value]]]:
    """Return the lines of such a file as `read_csv` does, each its number and its values by column."""
    names = [column.name for column in columns]
    return [(line.number, dict(zip(names, line.values, strict=True))) for line in read_csv(path, columns)]


def _header_faults(header: Sequence[str], columns: Sequence[Column]) -> list[str]:
    expected = [column.name for column in columns]
    needed = {column.name for column in columns if not column.may_be_missing}
    if len(set(header)) == len(header) and needed <= set(header) <= set(expected):
        return []
    missing = ", ".join(sorted(needed - set(header))) or "none"
    unknown = ", ".join(repr(name) for name in header if name not in expected or header.count(name) > 1) or "none"
    return [f"line 1: the columns must be {','.join(expected)} (missing: {missing}; unknown or twice: {unknown})"]


def _line(
    number_: int,
    row: Sequence[str],
    header: Sequence[str],
    columns: Sequence[Column],
    places: Sequence[int | None],
    faults: list[str],
) -> Line:
    if len(row) != len(header):
        faults.append(f"line {number_}: has {len(row)} values for {len(header)} columns")
        return Line(number_, ())
    return Line(number_, tuple(_values(number_, row, columns, places, faults)))


def _values(
    number_: int, row: Sequence[str], columns: Sequence[Column], places: Sequence[int | None], faults: list[str]
) -> Iterator[Value]:
    for column, place in zip(columns, places, strict=True):
        value = "" if place is None else row[place]
        if value == "":
            if not column.is_optional:
                faults.append(f"line {number_}, column {column.name}: is empty and must not be")
            yield column.empty
            continue
        try:
            yield column.read(value)
        except ValueError as error:
            faults.append(f"line {number_}, column {column.name}: {value[:80]!r} {error}")
            yield None
