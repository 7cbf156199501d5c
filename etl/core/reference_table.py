"""The reference tables people write as CSV: programs, cashback rules, contract terms; their form and what must hold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations, pairwise

import pyarrow as pa

from etl.core.schemas import CASHBACK_RULE, CONTRACT_TERM, PROGRAM
from etl.core.typed_csv import Column, Value, currency, instant, number, one_of, text, whole
from etl.core.warehouse import Connection, fetch

_DAYS_MAX = 3_650
Row = dict[str, Value]


@dataclass(frozen=True, slots=True)
class ReferenceTable:
    """A table of ref: its columns, its key, what else may change, and within what validities must not overlap."""

    table: str
    what: str
    schema: pa.Schema
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    renamed: tuple[str, ...]
    exclusive: tuple[tuple[str, ...], ...]
    agreeing: tuple[tuple[str, ...], tuple[str, ...]] | None = None
    # Of what members were promised: the columns whose rows stand for each other. A change of the past is a correction.
    promised: tuple[str, ...] = ()


_VALIDITY = (Column("valid_from", instant), Column("valid_until", instant, True))
PROGRAMS = ReferenceTable(
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
RULES = ReferenceTable(
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
        Column("commission_group", text, True, True),
        Column("component", one_of("cashback", "bonus"), True, True, "cashback"),
    ),
    key=("rule_id",),
    renamed=(),
    exclusive=(("program_id", "component", "commission_group"),),
    # Rules that one sale may earn by are added before the one cap and the one rounding.
    agreeing=(("program_id", "component"), ("currency", "cap", "rounding")),
    promised=("program_id", "component"),
)
TERMS = ReferenceTable(
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
    promised=("program_id",),
)


def key_of(row: Mapping[str, Value], relation: ReferenceTable) -> tuple[Value, ...]:
    """Return the values of the key of a row."""
    return tuple(row[name] for name in relation.key)


def faults_within(told: Sequence[tuple[int, Row]], relation: ReferenceTable) -> Iterable[str]:
    """Yield a fault for each key that a file tells twice, and each end that is not after its beginning."""
    seen: dict[tuple[Value, ...], int] = {}
    for number_, row in told:
        first = seen.setdefault(key_of(row, relation), number_)
        if first != number_:
            yield f"line {number_}: the same {' and '.join(relation.key)} as line {first}: keep one of them"
        begin, end = row["valid_from"], row["valid_until"]
        if isinstance(begin, datetime) and isinstance(end, datetime) and end <= begin:
            yield f"line {number_}, column valid_until: {end.isoformat()}Z is not after valid_from"


def _overlaps(rows: Sequence[Row], relation: ReferenceTable) -> Iterable[str]:
    """Yield a fault for each two rows that hold at one instant where only one may."""
    for scope in relation.exclusive:
        groups: dict[tuple[Value, ...], list[Row]] = defaultdict(list)
        for row in rows:
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


def faults_together(rows: Iterable[Row], relation: ReferenceTable) -> list[str]:
    """Return what is amiss with rows that are to be known: two hold where one may, or differ where they must not."""
    listed = list(rows)
    return [*_overlaps(listed, relation), *_disagreements(listed, relation)]


def in_force_faults(connection: Connection, relation: ReferenceTable) -> list[str]:
    """Return what is amiss with rules or terms as they are in force, corrections applied."""
    if not relation.promised:
        return []
    names = ", ".join(relation.schema.names)
    rows = fetch(connection, f"SELECT {names} FROM {relation.table}_in_force", relation.schema).to_pylist()
    return faults_together(rows, relation)


def _disagreements(rows: Iterable[Row], relation: ReferenceTable) -> Iterable[str]:
    """Yield a fault for each two that hold at one instant in one scope and differ where they must not."""
    if relation.agreeing is None:
        return
    scope, names = relation.agreeing
    groups: dict[tuple[Value, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[tuple(row[name] for name in scope)].append(row)
    for group in groups.values():
        for one, other in combinations(sorted(group, key=lambda row: str(row["valid_from"])), 2):
            end, begin = one["valid_until"], other["valid_from"]
            if isinstance(end, datetime) and isinstance(begin, datetime) and end <= begin:
                continue
            differing = [name for name in names if one[name] != other[name]]
            differing += ["basis"] if (one["basis"] == "fixed") != (other["basis"] == "fixed") else []
            if differing:
                key = relation.key[0]
                yield (
                    f"{relation.what}s {one[key]} and {other[key]} hold for groups of one order and differ in"
                    f" {' and '.join(differing)}: an order has one currency, cap and rounding, and a fixed amount"
                    " stands with fixed amounts only"
                )
