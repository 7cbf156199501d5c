"""Load the ECB's euro reference rates from its history file: what is new, and never another rate for a known day."""

from __future__ import annotations

import csv
import gzip
import io
import re
import zipfile
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from etl.core.context import Context, StageResult
from etl.core.errors import Stop
from etl.core.schemas import FX_RATE
from etl.core.warehouse import copy_in, fetch, lock

SOURCE = "ecb"
BYTES_MAX = 64 * 1024 * 1024
_RATE = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")


def load_rates(context: Context, path: Path) -> StageResult:
    """Load the rates of the ECB's `eurofxref-hist` (csv, zip or gz); units of a currency for one euro.

    Columns are read by their names, as their order changes; `N/A` is no rate. Raises Stop if a day that is known comes
    with another rate: what was posted by it is not posted again by itself.
    """
    rates = pa.Table.from_pylist(list(_rates(path)), schema=FX_RATE)
    query = f"SELECT {', '.join(FX_RATE.names)} FROM ref.fx_rate WHERE source = %s"
    with context.warehouse.transaction() as connection:
        lock(connection, "ref.fx_rate")
        known = fetch(connection, query, FX_RATE, (SOURCE,))
        keys = ["rate_on", "base", "quote", "source"]
        both = rates.join(known.rename_columns({"rate": "known"}), keys, join_type="inner")
        other = both.filter(pc.not_equal(both["rate"], both["known"]))
        if other.num_rows:
            row = other.slice(0, 1).to_pylist()[0]
            raise Stop(
                f"{path.name}: {row['quote']} on {row['rate_on']} is {row['rate']}, but was loaded as {row['known']} "
                f"({other.num_rows} such rates); is it the ECB's file? A corrected rate needs a decision"
            )
        new = rates.join(known, keys, join_type="left anti").select(FX_RATE.names).cast(FX_RATE)
        new = new.sort_by([("base", "ascending"), ("quote", "ascending"), ("rate_on", "ascending")])
        copy_in(connection, "ref.fx_rate", new)
    newest = pc.max(rates["rate_on"]).as_py() if rates.num_rows else None
    return StageResult("rates", SOURCE, (("new_rates", new.num_rows),), f"rates until {newest}")


def _text(path: Path) -> str:
    try:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                names = [name for name in archive.namelist() if name.endswith(".csv")]
                if len(names) != 1:
                    raise Stop(f"{path.name} holds {len(names)} CSV files; the ECB's holds one")
                with archive.open(names[0]) as source:
                    content = source.read(BYTES_MAX + 1)
        elif path.suffix == ".gz":
            with gzip.open(path) as source:
                content = source.read(BYTES_MAX + 1)
        else:
            with path.open("rb") as source:
                content = source.read(BYTES_MAX + 1)
    except (OSError, EOFError, zipfile.BadZipFile) as error:
        raise Stop(f"{path} cannot be read ({error}): download the ECB's eurofxref-hist again") from error
    if len(content) > BYTES_MAX:
        raise Stop(f"{path.name} is larger than {BYTES_MAX >> 20} MiB: it is not the ECB's file")
    try:
        return content.decode("ascii")
    except UnicodeDecodeError as error:
        raise Stop(f"{path.name} is not the ECB's file: {error}") from error


def _rates(path: Path) -> Iterator[dict[str, object]]:
    reader = csv.reader(io.StringIO(_text(path)), strict=True)
    header = next(reader, [])
    if header[:1] != ["Date"] or len(header) < 2:
        raise Stop(f"{path.name} does not begin with the column Date: it is not the ECB's eurofxref-hist")
    currencies = header[1:-1] if header[-1].strip() == "" else header[1:]
    if len(set(currencies)) != len(currencies) or not all(re.fullmatch(r"[A-Z]{3}", each) for each in currencies):
        raise Stop(f"{path.name}: the header must name each currency once, by three capital letters")
    for cells in reader:
        if len(cells) != len(header):
            raise Stop(f"{path.name} line {reader.line_num}: {len(cells)} fields, the header has {len(header)}")
        try:
            rate_on = date.fromisoformat(cells[0])
        except ValueError:
            raise Stop(f"{path.name} line {reader.line_num}: {cells[0]!r} is no day such as 2026-10-30") from None
        for currency, text in zip(currencies, cells[1 : 1 + len(currencies)], strict=True):
            if text == "N/A":
                continue
            if not _RATE.fullmatch(text) or not Decimal(text):
                raise Stop(f"{path.name} line {reader.line_num}: {text!r} is no rate of {currency}")
            yield {
                "rate_on": rate_on,
                "base": "EUR",
                "quote": currency,
                "rate": Decimal(text).quantize(Decimal("0.000000001")),
                "source": SOURCE,
            }
