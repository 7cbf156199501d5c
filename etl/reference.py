"""Load programs, cashback rules and contract terms from CSV: dated, loaded once, and known ones never change."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

import pyarrow as pa
from psycopg import sql

from etl.core.alias import faults
from etl.core.context import Context, StageResult
from etl.core.reference_table import (
    PROGRAMS,
    RULES,
    TERMS,
    ReferenceTable,
    Row,
    faults_together,
    faults_within,
    in_force_faults,
    key_of,
)
from etl.core.schemas import ALIAS
from etl.core.typed_csv import Column, Value, day, one_of, read_rows, stop_with, text, whole
from etl.core.warehouse import Connection, copy_in, fetch, lock

_CORRECT = "what follows from it so far would change. Load the {} as a correction: `tallyback rules correct FILE`"


def load_programs(context: Context, csv_path: Path) -> StageResult:
    """Load programs from CSV (columns as in the canonical table) and return how many are new, changed and known.

    A known key (program_id, valid_from) may only get another name, or an end where it had none. Stop with every fault,
    and with nothing loaded, if a value has not its form, terms differ from known ones, or validities overlap.
    """
    return _load(context, csv_path, PROGRAMS)


def load_rules(context: Context, csv_path: Path) -> StageResult:
    """Load cashback rules from CSV and return how many are new, changed and known.

    A known rule_id may only get an end where it had none. Stop as `load_programs` does.
    """
    return _load(context, csv_path, RULES)


def load_terms(context: Context, csv_path: Path) -> StageResult:
    """Load contract terms from CSV and return how many are new, changed and known.

    A known term_id may only get an end where it had none. Stop as `load_programs` does.
    """
    return _load(context, csv_path, TERMS)


_ALIAS_COLUMNS = (
    Column("alias_id", text),
    Column("revision", whole(1, 1_000_000)),
    Column("former_account", text),
    Column("former_transaction_id", text),
    Column("partner_account", text),
    Column("transaction_id", text),
    Column("moved_on", day),
    Column("state", one_of("in_force", "void")),
    Column("reason", text),
)


def load_aliases(context: Context, csv_path: Path) -> StageResult:
    """Load keys that moved from CSV and return how many are new and known; of one alias_id the highest revision counts.

    Stop with every fault, and with nothing loaded, if a value has not its form, an account is not configured, a known
    revision says something else, or the aliases in force contradict one another.
    """
    names = ALIAS.names
    told = read_rows(csv_path, _ALIAS_COLUMNS)
    accounts = {account.name for account in context.configuration.accounts}
    wrong: list[str] = []
    with context.warehouse.transaction() as connection:
        lock(connection, "reference:ref.alias")
        query = f"SELECT {', '.join(names)} FROM ref.alias ORDER BY alias_id, revision"
        known = {(row["alias_id"], row["revision"]): row for row in fetch(connection, query, ALIAS).to_pylist()}
        new: dict[tuple[Value, Value], Row] = {}
        for number_, row in told:
            key = row["alias_id"], row["revision"]
            before = known.get(key, new.get(key))
            if before is None:
                new[key] = row
            elif before != row:
                wrong.append(
                    f"line {number_}: revision {row['revision']} of alias {row['alias_id']} says something else than"
                    " the one that is known: a correction is a higher revision"
                )
            wrong += [
                f"line {number_}, column {name}: {row[name]!r} is no configured account"
                for name in ("former_account", "partner_account")
                if row[name] not in accounts
            ]
            if (row["former_account"], row["former_transaction_id"]) == (row["partner_account"], row["transaction_id"]):
                wrong.append(f"line {number_}: the key and the one it moved to are the same")
        stop_with(csv_path, wrong or list(faults([*known.values(), *new.values()])))
        copy_in(connection, "ref.alias", pa.Table.from_pylist(list(new.values()), schema=ALIAS))
    counts = (("new", len(new)), ("changed", 0), ("known", len(told) - len(new)))
    return StageResult("reference", csv_path.name, counts, f"aliases: {len(new):,} new, {counts[2][1]:,} known")


def _load(context: Context, path: Path, relation: ReferenceTable) -> StageResult:
    told = read_rows(path, relation.columns)
    faults = list(faults_within(told, relation))
    with context.warehouse.transaction() as connection:
        lock(connection, f"reference:{relation.table}")
        known = {
            key_of(row, relation): row
            for row in fetch(
                connection, f"SELECT {', '.join(relation.schema.names)} FROM {relation.table}", relation.schema
            ).to_pylist()
        }
        new: list[Row] = []
        changed: list[Row] = []
        for number_, row in told:
            before = known.get(key_of(row, relation))
            if before is None:
                new.append(row)
                faults += _faults_of_past(number_, row, known.values(), context.known_at, relation)
            elif before != row:
                faults += _faults_of_change(number_, before, row, context.known_at, relation)
                changed.append(row)
        after = {**known, **{key_of(row, relation): row for _, row in told}}
        faults += faults_together(after.values(), relation)
        stop_with(path, faults)
        copy_in(connection, relation.table, pa.Table.from_pylist(new, schema=relation.schema))
        _update(connection, changed, relation)
        stop_with(path, in_force_faults(connection, relation))
    same = len(told) - len(new) - len(changed)
    note = f"{relation.what}s: {len(new):,} new, {len(changed):,} changed, {same:,} known"
    return StageResult("reference", path.name, (("new", len(new)), ("changed", len(changed)), ("known", same)), note)


def _faults_of_past(
    number_: int, row: Row, known: Iterable[Row], known_at: datetime, relation: ReferenceTable
) -> Iterable[str]:
    """Yield a fault if a new row would take the place of known ones for what is past by the clock of the load."""
    begin, end = row["valid_from"], row["valid_until"]
    if not relation.promised or not isinstance(begin, datetime) or begin >= known_at:
        return
    until = min(end, known_at) if isinstance(end, datetime) else known_at
    for other in known:
        of_other, ended = other["valid_from"], other["valid_until"]
        if (
            all(other[name] == row[name] for name in relation.promised)
            and isinstance(of_other, datetime)
            and of_other < until
            and (not isinstance(ended, datetime) or ended > begin)
        ):
            yield (
                f"line {number_}, column valid_from: {begin} is past, and {other[relation.key[0]]} holds since:"
                f" {_CORRECT.format(relation.what)}"
            )
            return


def _faults_of_change(
    number_: int, before: Row, after: Row, known_at: datetime, relation: ReferenceTable
) -> Iterable[str]:
    end = after["valid_until"]
    if relation.promised and before["valid_until"] is None and isinstance(end, datetime) and end < known_at:
        yield f"line {number_}, column valid_until: {end} is past: {_CORRECT.format(relation.what)}"
    for name, value in after.items():
        is_ended = name == "valid_until" and before[name] is None
        if value != before[name] and not is_ended and name not in relation.renamed:
            yield (
                f"line {number_}, column {name}: {value} differs from {before[name]}, which is in force for this"
                f" {relation.what}: end that one by valid_until and add the new terms under a key of their own"
                + ("; if it was wrong, `tallyback rules correct`" if relation.promised else "")
            )


def _update(connection: Connection, rows: Sequence[Row], relation: ReferenceTable) -> None:
    mutable = (*relation.renamed, "valid_until")
    statement = sql.SQL("UPDATE {} SET {} WHERE {}").format(
        sql.Identifier(*relation.table.split(".")),
        sql.SQL(", ").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name in mutable),
        sql.SQL(" AND ").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name in relation.key),
    )
    with connection.cursor() as cursor:
        cursor.executemany(statement, [[row[name] for name in (*mutable, *relation.key)] for row in rows])
