"""Load programs, cashback rules and contract terms from CSV: dated, loaded once, and known ones never change."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
from psycopg import sql

from etl.core.context import Context, StageResult
from etl.core.schemas import CASHBACK_RULE, CONTRACT_TERM, PROGRAM
from etl.core.typed_csv import Column, Value, currency, instant, number, one_of, read_csv, stop_with, text, whole
from etl.core.warehouse import Connection, copy_in, fetch, lock

_DAYS_MAX = 3_650
Row = dict[str, Value]


@dataclass(frozen=True, slots=True)
class _Relation:
    """A table of ref: its columns, its key, what else may change, and within what validities must not overlap."""

    table: str
    what: str
    schema: pa.Schema
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    renamed: tuple[str, ...]
    exclusive: tuple[tuple[str, ...], ...]


_VALIDITY = (Column("valid_from", instant), Column("valid_until", instant, True))
_PROGRAM = _Relation(
    "ref.program",
    "program",
    PROGRAM,
    (
        Column("program_id", text),
        Column("merchant_id", text),
        Column("partner", text),
        Column("partner_program_id", text),
        Column("name", text),
        Column("currency", currency),
        Column("commission_rate", number(3, 6), True),
        Column("lookback_days", whole(1, _DAYS_MAX)),
        Column("validation_days", whole(0, _DAYS_MAX), True),
        *_VALIDITY,
    ),
    key=("program_id", "valid_from"),
    renamed=("name",),
    # Two programs for one programme of a partner would make a sale's program a matter of chance.
    exclusive=(("program_id",), ("partner", "partner_program_id")),
)
_RULE = _Relation(
    "ref.cashback_rule",
    "cashback rule",
    CASHBACK_RULE,
    (
        Column("rule_id", text),
        Column("program_id", text),
        Column("basis", one_of("commission_share", "sale_rate", "fixed")),
        Column("value", number(11, 6)),
        Column("cap", number(14, 4), True),
        Column("currency", currency),
        Column("rounding", one_of("half_even", "half_up")),
        *_VALIDITY,
    ),
    key=("rule_id",),
    renamed=(),
    exclusive=(("program_id",),),
)
_TERM = _Relation(
    "ref.contract_term",
    "contract term",
    CONTRACT_TERM,
    (
        Column("term_id", text),
        Column("program_id", text),
        Column("commission_group", text, True),
        Column("customer_type", text, True),
        Column("basis", one_of("rate", "fixed")),
        Column("value", number(11, 6)),
        Column("currency", currency),
        *_VALIDITY,
    ),
    key=("term_id",),
    renamed=(),
    exclusive=(("program_id", "commission_group", "customer_type"),),
)


def load_programs(context: Context, csv_path: Path) -> StageResult:
    """Load programs from CSV (columns as in the canonical table) and return how many are new, changed and known.

    A known key (program_id, valid_from) may only get another name, or an end where it had none. Stop with every fault,
    and with nothing loaded, if a value has not its form, terms differ from known ones, or validities overlap.
    """
    return _load(context, csv_path, _PROGRAM)


def load_rules(context: Context, csv_path: Path) -> StageResult:
    """Load cashback rules from CSV and return how many are new, changed and known.

    A known rule_id may only get an end where it had none. Stop as `load_programs` does.
    """
    return _load(context, csv_path, _RULE)


def load_terms(context: Context, csv_path: Path) -> StageResult:
    """Load contract terms from CSV and return how many are new, changed and known.

    A known term_id may only get an end where it had none. Stop as `load_programs` does.
    """
    return _load(context, csv_path, _TERM)


def _load(context: Context, path: Path, relation: _Relation) -> StageResult:
    lines = read_csv(path, relation.columns)
    names = [column.name for column in relation.columns]
    told = [(line.number, dict(zip(names, line.values, strict=True))) for line in lines]
    faults = list(_faults_within(told, relation))
    with context.warehouse.transaction() as connection:
        lock(connection, f"reference:{relation.table}")
        known = {
            _key(row, relation): row
            for row in fetch(
                connection, f"SELECT {', '.join(names)} FROM {relation.table}", relation.schema
            ).to_pylist()
        }
        new: list[Row] = []
        changed: list[Row] = []
        for number_, row in told:
            before = known.get(_key(row, relation))
            if before is None:
                new.append(row)
            elif before != row:
                faults += _faults_of_change(number_, before, row, relation)
                changed.append(row)
        after = {**known, **{_key(row, relation): row for _, row in told}}
        faults += _overlaps(after.values(), relation)
        stop_with(path, faults)
        copy_in(connection, relation.table, pa.Table.from_pylist(new, schema=relation.schema))
        _update(connection, changed, relation)
    same = len(told) - len(new) - len(changed)
    note = f"{relation.what}s: {len(new):,} new, {len(changed):,} changed, {same:,} known"
    return StageResult("reference", path.name, (("new", len(new)), ("changed", len(changed)), ("known", same)), note)


def _key(row: Mapping[str, Value], relation: _Relation) -> tuple[Value, ...]:
    return tuple(row[name] for name in relation.key)


def _faults_within(told: Sequence[tuple[int, Row]], relation: _Relation) -> Iterable[str]:
    seen: dict[tuple[Value, ...], int] = {}
    for number_, row in told:
        first = seen.setdefault(_key(row, relation), number_)
        if first != number_:
            yield f"line {number_}: the same {' and '.join(relation.key)} as line {first}: keep one of them"
        begin, end = row["valid_from"], row["valid_until"]
        if isinstance(begin, datetime) and isinstance(end, datetime) and end <= begin:
            yield f"line {number_}, column valid_until: {end.isoformat()}Z is not after valid_from"


def _faults_of_change(number_: int, before: Row, after: Row, relation: _Relation) -> Iterable[str]:
    for name, value in after.items():
        is_ended = name == "valid_until" and before[name] is None
        if value != before[name] and not is_ended and name not in relation.renamed:
            yield (
                f"line {number_}, column {name}: {value} differs from {before[name]}, which is in force for this"
                f" {relation.what}: end that one by valid_until and add the new terms under a key of their own"
            )


def _overlaps(rows: Iterable[Row], relation: _Relation) -> Iterable[str]:
    listed = list(rows)
    for scope in relation.exclusive:
        groups: dict[tuple[Value, ...], list[Row]] = defaultdict(list)
        for row in listed:
            groups[tuple(row[name] for name in scope)].append(row)
        for group in groups.values():
            group.sort(key=lambda row: str(row["valid_from"]))
            for earlier, later in pairwise(group):
                end, begin = earlier["valid_until"], later["valid_from"]
                if end is None or (isinstance(end, datetime) and isinstance(begin, datetime) and begin < end):
                    named = ", ".join(f"{name} {later[name]}" for name in scope)
                    key = relation.key[0]
                    yield (
                        f"{relation.what}s {earlier[key]} and {later[key]} are both in force at {begin} for {named}:"
                        " end one before the other begins"
                    )


def _update(connection: Connection, rows: Sequence[Row], relation: _Relation) -> None:
    mutable = (*relation.renamed, "valid_until")
    statement = sql.SQL("UPDATE {} SET {} WHERE {}").format(
        sql.Identifier(*relation.table.split(".")),
        sql.SQL(", ").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name in mutable),
        sql.SQL(" AND ").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name in relation.key),
    )
    with connection.cursor() as cursor:
        cursor.executemany(statement, [[row[name] for name in (*mutable, *relation.key)] for row in rows])
