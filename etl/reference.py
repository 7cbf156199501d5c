"""Load programs and cashback rules from CSV: strict, once, and never a changed term by the back door."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa

from etl.core.context import Context, StageResult
from etl.core.errors import Stop
from etl.core.schemas import CASHBACK_RULE, PROGRAM
from etl.core.warehouse import copy_in, fetch, lock

ROWS_MAX = 5_000_000
_DECIMAL = re.compile(r"[0-9]{1,12}(\.[0-9]{1,6})?")
_WHOLE = re.compile(r"[0-9]{1,9}")
_CHOICES = {
    "basis": {"commission_share", "sale_rate", "fixed"},
    "rounding": {"half_even", "half_up"},
}

Row = dict[str, object]


@dataclass(frozen=True, slots=True)
class _Kind:
    """One reference table: where it lies, its columns, its key, and what may change of a known row."""

    name: str
    table: str
    schema: pa.Schema
    key: tuple[str, ...]
    may_change: tuple[str, ...]


_PROGRAMS = _Kind("programs", "ref.program", PROGRAM, ("program_id", "valid_from"), ("name",))
_RULES = _Kind("cashback rules", "ref.cashback_rule", CASHBACK_RULE, ("rule_id",), ())


def load_programs(context: Context, path: Path) -> StageResult:
    """Load programs from CSV (columns as the canonical table). A known program may only be named anew or ended."""
    return _load(context, path, _PROGRAMS)


def load_rules(context: Context, path: Path) -> StageResult:
    """Load cashback rules from CSV (columns as the canonical table). A known rule may only be ended."""
    return _load(context, path, _RULES)


def _load(context: Context, path: Path, kind: _Kind) -> StageResult:
    rows = {tuple(row[name] for name in kind.key): (line, row) for line, row in _unique(path, kind)}
    names = ", ".join(kind.schema.names)
    with context.warehouse.transaction() as connection:
        lock(connection, kind.table)
        stored = fetch(connection, f"SELECT {names} FROM {kind.table}", kind.schema).to_pylist()
        known = {tuple(row[name] for name in kind.key): row for row in stored}
        new = [row for key, (_, row) in rows.items() if key not in known]
        changed = 0
        for key, (line, row) in rows.items():
            if key not in known or row == known[key]:
                continue
            _require_allowed(path, line, kind, known[key], row)
            changed += 1
            assignments = (*kind.may_change, "valid_until")
            connection.execute(
                f"UPDATE {kind.table} SET {', '.join(f'{name} = %s' for name in assignments)}"
                f" WHERE {' AND '.join(f'{name} = %s' for name in kind.key)}",
                [*(row[name] for name in assignments), *key],
            )
        copy_in(connection, kind.table, pa.Table.from_pylist(new, schema=kind.schema))
    label = kind.name.replace(" ", "_")
    counts = ((f"new_{label}", len(new)), (f"changed_{label}", changed))
    return StageResult("reference", path.name, counts, f"{len(rows):,} {kind.name} read, {len(new):,} new")


def _require_allowed(path: Path, line: int, kind: _Kind, known: Row, row: Row) -> None:
    for name in kind.schema.names:
        if row[name] == known[name] or name in kind.may_change:
            continue
        if name == "valid_until" and known[name] is None:
            continue
        key = ", ".join(str(row[part]) for part in kind.key)
        raise Stop(
            f"{path.name} line {line}: {name} of {key} is {row[name]}, but was loaded as {known[name]} and sales may "
            "be booked by it; end the known one with valid_until and add a new one from then on"
        )


def _unique(path: Path, kind: _Kind) -> Iterator[tuple[int, Row]]:
    seen: dict[tuple[object, ...], tuple[int, Row]] = {}
    for line, row in _read(path, kind):
        key = tuple(row[name] for name in kind.key)
        if key in seen and seen[key][1] != row:
            raise Stop(
                f"{path.name} line {line}: {', '.join(map(str, key))} stands on line {seen[key][0]} with other terms"
            )
        seen.setdefault(key, (line, row))
    yield from seen.values()


def _read(path: Path, kind: _Kind) -> Iterator[tuple[int, Row]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as source:
            reader = csv.reader(source, strict=True)
            header = next(reader, [])
            missing = [name for name in kind.schema.names if name not in header]
            unknown = [name for name in header if name not in kind.schema.names]
            if missing or unknown:
                raise Stop(
                    f"{path.name}: the header must name {', '.join(kind.schema.names)}"
                    + (f"; missing: {', '.join(missing)}" if missing else "")
                    + (f"; unknown: {', '.join(unknown)}" if unknown else "")
                )
            for count, cells in enumerate(reader):
                line = reader.line_num
                if len(cells) != len(header):
                    raise Stop(f"{path.name} line {line}: {len(cells)} fields, the header has {len(header)}")
                if count >= ROWS_MAX:
                    raise Stop(f"{path.name}: more than {ROWS_MAX:,} rows; is it the right file?")
                row = dict(zip(header, cells, strict=True))
                yield line, {item.name: _value(path, line, item, row[item.name]) for item in kind.schema}
    except OSError as error:
        raise Stop(f"{path} cannot be read ({error.strerror}): name the folder with TALLYBACK_REFERENCE") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise Stop(f"{path.name} is no CSV in UTF-8: {error}") from error


def _value(path: Path, line: int, item: pa.Field, text: str) -> object:
    if text == "":
        if item.nullable:
            return None
        raise Stop(f"{path.name} line {line}: {item.name} is empty; it must be given")
    read, form = _reader(item)
    value = read(text)
    if value is None:
        raise Stop(f"{path.name} line {line}: {item.name} is {text!r}; write it as {form}")
    return value


def _reader(item: pa.Field) -> tuple[Callable[[str], object], str]:
    if pa.types.is_decimal(item.type):
        scale = item.type.scale
        return (lambda text: _decimal(text, scale)), f"0.05, with at most {scale} decimals"
    if pa.types.is_int32(item.type):
        return (lambda text: int(text) if _WHOLE.fullmatch(text) else None), "30"
    if pa.types.is_timestamp(item.type):
        return _instant, "2026-09-01T00:00:00Z"
    if item.name in _CHOICES:
        choices = _CHOICES[item.name]
        return (lambda text: text if text in choices else None), " or ".join(sorted(choices))
    if item.name == "currency":
        return (lambda text: text if re.fullmatch(r"[A-Z]{3}", text) else None), "EUR"
    return (lambda text: text if text == text.strip() and text.isprintable() else None), "text without outer blanks"


def _decimal(text: str, scale: int) -> Decimal | None:
    if not _DECIMAL.fullmatch(text):
        return None
    value = Decimal(text)
    quantum = Decimal(1).scaleb(-scale)
    return value.quantize(quantum) if value == value.quantize(quantum) else None


def _instant(text: str) -> datetime | None:
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if value.tzinfo is None else value.astimezone(UTC).replace(tzinfo=None)
