"""Load the ECB's reference rates from its files, all days or the newest: new days are added, known ones never change.

The history file (eurofxref-hist) writes 2026-01-31 and N/A for a currency without a rate. The daily file (eurofxref)
has one line, a blank after each comma, 30 January 2026 for its day, and only currencies that have a rate.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from etl.core.context import Context, StageResult
from etl.core.errors import Stop
from etl.core.schemas import FX_RATE
from etl.core.typed_csv import stop_with
from etl.core.warehouse import copy_in, fetch, lock

BASE = "EUR"
SOURCE = "ecb"
BYTES_MAX = 64 * 1024 * 1024
_CURRENCY = re.compile(r"[A-Z]{3}", re.ASCII)
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_DAY_IN_WORDS = re.compile(r"(\d{1,2}) ([A-Z][a-z]+) (\d{4})", re.ASCII)
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
_RATE = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII)
_ABSENT = ("N/A", "")


def load_rates(context: Context, path: Path) -> StageResult:
    """Load a history or daily file (`.csv`, `.zip` or `.gz`) and return how many rates are new and how many were known.

    Stop, with nothing loaded, if the file is not of that form or says another rate for a day that is known: what was
    posted by a rate stays explained by it.
    """
    table = _table(path)
    with context.warehouse.transaction() as connection:
        lock(connection, "reference:ref.fx_rate")
        known = fetch(connection, f"SELECT {', '.join(FX_RATE.names)} FROM ref.fx_rate WHERE source = 'ecb'", FX_RATE)
        before = known.select(["rate_on", "quote", "rate"]).rename_columns(["rate_on", "quote", "known_rate"])
        joined = table.join(before, ["rate_on", "quote"])
        differing = joined.filter(pc.not_equal(joined["rate"], joined["known_rate"]))
        faults = [
            f"{row['quote']} on {row['rate_on']}: {row['rate']} in the file, {row['known_rate']} in the warehouse:"
            " find out which is right; if it is the file's, correct the effect by an adjustment"
            for row in differing.sort_by([("rate_on", "ascending"), ("quote", "ascending")]).to_pylist()
        ]
        stop_with(path, faults)
        new = joined.filter(pc.is_null(joined["known_rate"])).select(FX_RATE.names)
        copy_in(connection, "ref.fx_rate", new.sort_by([("rate_on", "ascending"), ("quote", "ascending")]))
        newest = pc.max(table["rate_on"]).as_py()
    counts = (("new", new.num_rows), ("known", table.num_rows - new.num_rows))
    return StageResult("rates", SOURCE, counts, f"{new.num_rows:,} new rates, the newest of {newest}")


def _text(path: Path) -> str:
    try:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                names = [name for name in archive.namelist() if name.endswith(".csv")]
                if len(names) != 1:
                    raise Stop(f"{path}: must hold one CSV file, not {len(names)}: take eurofxref-hist.zip of the ECB")
                with archive.open(names[0]) as member:
                    content = member.read(BYTES_MAX + 1)
        elif path.suffix == ".gz":
            with gzip.open(path, "rb") as packed:
                content = packed.read(BYTES_MAX + 1)
        else:
            with path.open("rb") as plain:
                content = plain.read(BYTES_MAX + 1)
        if len(content) > BYTES_MAX:
            raise Stop(f"{path}: holds more than {BYTES_MAX} bytes: this is no file of reference rates")
        return content.decode("ascii")
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, UnicodeDecodeError) as error:
        raise Stop(f"{path}: cannot be read as a file of reference rates ({error}): download it again") from error


def _table(path: Path) -> pa.Table:
    faults: list[str] = []
    rows = list(_rates(_text(path), faults))
    stop_with(path, faults)
    if not rows:
        raise Stop(f"{path}: holds no rate: download it again")
    if len({(on, quote) for on, quote, _ in rows}) != len(rows):
        raise Stop(f"{path}: holds a day twice: download it again")
    days, quotes, values = zip(*rows, strict=True)
    columns = [days, [BASE] * len(rows), quotes, values, [SOURCE] * len(rows)]
    return pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, FX_RATE, strict=True)], schema=FX_RATE
    )


def _rates(content: str, faults: list[str]) -> Iterator[tuple[date, str, Decimal]]:
    """Yield day, currency and rate of every cell that has one; what is wrong goes to `faults`."""
    reader = csv.reader(io.StringIO(content))
    # The file ends each line with a comma, and older ones have blanks in the header.
    header = [name.strip() for name in next(reader, [])]
    if not header or header[0] != "Date" or not all(_CURRENCY.fullmatch(name) or name == "" for name in header[1:]):
        faults.append("line 1: must be Date and currency codes, as in eurofxref-hist.csv of the ECB")
        return
    if header[-1] != "" and not content.endswith("\n"):
        # Where no comma ends a line, a rate that was cut looks like another rate.
        faults.append("the last line has no end, so its last rate may be cut off: download it again")
        return
    for line in reader:
        if not line:
            continue
        told = line[0].strip()
        if len(line) != len(header) or not (_DAY.fullmatch(told) or _DAY_IN_WORDS.fullmatch(told)):
            faults.append(f"line {reader.line_num}: must be a day such as 2026-01-31 and {len(header) - 1} values")
            continue
        on = _day(told)
        if on is None:
            faults.append(f"line {reader.line_num}, column Date: {told[:80]!r} is no day that exists")
            continue
        for name, value in zip(header[1:], (cell.strip() for cell in line[1:]), strict=True):
            if value in _ABSENT or name == "":
                if name == "" and value != "":
                    faults.append(f"line {reader.line_num}: has the value {value[:80]!r} in a column without a name")
                continue
            if not _RATE.fullmatch(value) or not (rate := Decimal(value)):
                faults.append(f"line {reader.line_num}, column {name}: {value[:80]!r} is no rate above zero")
                continue
            yield on, name, rate


def _day(told: str) -> date | None:
    """Return the day of 2026-01-31 or 31 January 2026, None if there is no such day. Month names are English always."""
    words = _DAY_IN_WORDS.fullmatch(told)
    try:
        if words is None:
            return date.fromisoformat(told)
        return date(int(words[3]), _MONTHS.index(words[2]) + 1, int(words[1]))
    except ValueError:
        return None
