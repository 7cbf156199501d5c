"""The world on disk: what others read (CSV, Parquet, truth) and what the servers need, all from one World."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import types
import typing
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from sandbox import clock, credentials, files, remittances, truth_tables
from sandbox.instants import midnight, shown
from sandbox.model import (
    ACCOUNTS,
    BOOKS_ZONE,
    Cancellation,
    Click,
    Conversion,
    Counts,
    Member,
    Program,
    Row,
    Rule,
    Sale,
    State,
    World,
)

Record = TypeVar("Record", Member, Program, Rule, Click, Conversion, Sale, Row, State, Cancellation)
INTERNAL = "internal"
RATES_FILE = "eurofxref-hist.csv"
_ARROW: dict[type, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    bool: pa.bool_(),
    datetime: pa.timestamp("us"),
    Decimal: pa.decimal128(24, 6),
}
_PROGRAM_COLUMNS = (
    "program_id", "merchant_id", "partner", "partner_program_id", "name", "currency", "commission_rate",
    "lookback_days", "validation_days", "valid_from", "valid_until",
)  # fmt: skip
_RULE_COLUMNS = (
    "rule_id", "program_id", "basis", "value", "cap", "currency", "rounding", "valid_from", "valid_until",
)  # fmt: skip


def save(world: World, directory: Path, tracker_url: str | None = None) -> None:
    """Write a world into an empty or new folder, with fresh credentials, its clock at the first instant of its span.

    `tracker_url` is where the tracker database is to be (any SQLAlchemy URL of an empty database); without it a SQLite
    file in the folder. FileExistsError if the folder holds something.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if any(directory.iterdir()):
        raise FileExistsError(f"{directory} is not empty; build a world in a folder of its own")
    (directory / INTERNAL).mkdir()
    (directory / "bank" / "inbox").mkdir(parents=True)
    _write_internal(world, directory / INTERNAL)
    truth_tables.write(world, directory)
    remittances.write(world, directory)
    (directory / "programs.csv").write_text(_csv(_PROGRAM_COLUMNS, world.programs), encoding="utf-8", newline="")
    (directory / "cashback_rules.csv").write_text(_csv(_RULE_COLUMNS, world.rules), encoding="utf-8", newline="")
    (directory / RATES_FILE).write_text(world.rates_text, encoding="ascii", newline="")
    credentials.generate(directory, tracker_url)
    manifest = {
        "seed": world.seed,
        "size": world.size,
        "from_on": world.from_on.isoformat(),
        "until_on": world.until_on.isoformat(),
        "books_zone": BOOKS_ZONE,
        "accounts": ACCOUNTS,
        "counts": dataclasses.asdict(world.counts),
    }
    files.write_atomically(directory / "world.json", json.dumps(manifest, indent=2) + "\n")
    clock.begin(directory, midnight(world.from_on))


def load(directory: Path) -> World:
    """Return the world of a folder."""
    manifest = json.loads((directory / "world.json").read_text(encoding="utf-8"))
    inside = directory / INTERNAL
    return World(
        seed=manifest["seed"],
        size=manifest["size"],
        from_on=date.fromisoformat(manifest["from_on"]),
        until_on=date.fromisoformat(manifest["until_on"]),
        members=_read(Member, inside / "members.parquet"),
        member_changes=_read(Member, inside / "member_changes.parquet"),
        programs=load_programs(directory),
        rules=_read(Rule, inside / "rules.parquet"),
        clicks=_read(Click, inside / "clicks.parquet"),
        conversions=_read(Conversion, inside / "conversions.parquet"),
        missing=_read(Conversion, inside / "missing.parquet"),
        sales=_read(Sale, inside / "sales.parquet"),
        rows=tuple(row for partner in ACCOUNTS for row in load_rows(directory, partner)),
        rates_text=(directory / RATES_FILE).read_text(encoding="ascii"),
        counts=Counts(**manifest["counts"]),
        cancellations=_read(Cancellation, inside / "cancellations.parquet"),
    )


def first_day(directory: Path) -> date:
    """Return the first day of a world's span."""
    return date.fromisoformat(json.loads((directory / "world.json").read_text(encoding="utf-8"))["from_on"])


def load_programs(directory: Path) -> tuple[Program, ...]:
    """Return the programs of a world."""
    return _read(Program, directory / INTERNAL / "programs.parquet")


def load_rows(directory: Path, partner: str) -> tuple[Row, ...]:
    """Return the rows of one partner with all their states."""
    states: dict[str, list[State]] = {}
    table = pq.read_table(directory / INTERNAL / f"states_{partner}.parquet")
    ids = table.column("transaction_id").to_pylist()
    for transaction_id, state in zip(ids, _records(State, table), strict=True):
        states.setdefault(transaction_id, []).append(state)
    rows = pq.read_table(directory / INTERNAL / f"rows_{partner}.parquet")
    return tuple(dataclasses.replace(row, states=tuple(states[row.transaction_id])) for row in _records(Row, rows))


def _write_internal(world: World, inside: Path) -> None:
    _write(Member, world.members, inside / "members.parquet")
    _write(Member, world.member_changes, inside / "member_changes.parquet")
    _write(Program, world.programs, inside / "programs.parquet")
    _write(Rule, world.rules, inside / "rules.parquet")
    _write(Click, world.clicks, inside / "clicks.parquet")
    _write(Conversion, world.conversions, inside / "conversions.parquet")
    _write(Conversion, world.missing, inside / "missing.parquet")
    _write(Sale, world.sales, inside / "sales.parquet")
    _write(Cancellation, world.cancellations, inside / "cancellations.parquet")
    for partner in ACCOUNTS:
        rows = [row for row in world.rows if row.partner == partner]
        _write(Row, rows, inside / f"rows_{partner}.parquet")
        states = _table(State, [state for row in rows for state in row.states])
        ids = pa.array([row.transaction_id for row in rows for _ in row.states], pa.string())
        pq.write_table(states.append_column("transaction_id", ids), inside / f"states_{partner}.parquet")


def _columns(record: type[Record]) -> dict[str, tuple[type, pa.DataType]]:
    """Return the columns of a kind of record: its fields but the nested ones, with plain and Arrow types."""
    out: dict[str, tuple[type, pa.DataType]] = {}
    for name, hint in typing.get_type_hints(record).items():
        plain = hint
        if isinstance(hint, types.UnionType):
            plain = next(option for option in typing.get_args(hint) if option is not type(None))
        if typing.get_origin(plain) is tuple:
            continue
        out[name] = (plain, pa.string() if issubclass(plain, StrEnum) else _ARROW[plain])
    return out


def _table(record: type[Record], records: Sequence[Record]) -> pa.Table:
    columns = _columns(record)
    arrays = [pa.array([getattr(one, name) for one in records], arrow) for name, (_, arrow) in columns.items()]
    return pa.table(arrays, names=list(columns))


def _write(record: type[Record], records: Sequence[Record], path: Path) -> None:
    pq.write_table(_table(record, records), path)


def _read(record: type[Record], path: Path) -> tuple[Record, ...]:
    return tuple(_records(record, pq.read_table(path)))


def _records(record: type[Record], table: pa.Table) -> Iterator[Record]:
    values: dict[str, list[Any]] = {}
    for name, (plain, _) in _columns(record).items():
        column = table.column(name).to_pylist()
        if issubclass(plain, StrEnum):
            column = [plain(value) for value in column]
        values[name] = column
    for row in zip(*values.values(), strict=True):
        yield record(**dict(zip(values, row, strict=True)))


def _csv(columns: Sequence[str], records: Iterable[Program | Rule]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    for record in records:
        writer.writerow([_text(getattr(record, column)) for column in columns])
    return out.getvalue()


def _text(value: str | int | Decimal | datetime | None) -> str:
    if value is None:
        return ""
    return shown(value) if isinstance(value, datetime) else str(value)
