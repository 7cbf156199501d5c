"""The map from kinds of ledger accounts to accounts of the general ledger: from CSV, checked to be whole."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from etl.core.errors import Stop
from etl.core.typed_csv import Column, one_of, read_csv, stop_with, text
from etl.core.warehouse import Connection, lock


class Statement(StrEnum):
    """Where an account stands; memorandum accounts are not handed to the general ledger."""

    ASSET = "asset"
    LIABILITY = "liability"
    INCOME = "income"
    COST = "cost"
    MEMORANDUM = "memorandum"


TOGETHER = (
    ("commission_expected", "commission_expected_contra"),
    ("cashback_expected_cost", "cashback_pending"),
)
"""Both sides of what is pending: recognised both or memorandum both, or the border between them would stay open."""


@dataclass(frozen=True, slots=True)
class GlAccount:
    """Where one kind of account goes."""

    kind: str
    gl_account: str
    statement: Statement


def kinds_in_use(connection: Connection, entity: str) -> list[str]:
    """Return the kinds of account that the books of `entity` have."""
    rows = connection.execute("SELECT DISTINCT kind FROM ledger.account WHERE entity = %s ORDER BY 1", (entity,))
    return [str(row[0]) for row in rows.fetchall()]


def read_gl_map(connection: Connection, entity: str) -> tuple[GlAccount, ...]:
    """Return the map of `entity`, by kind."""
    rows = connection.execute(
        "SELECT kind, gl_account, statement FROM ref.gl_map WHERE entity = %s ORDER BY kind", (entity,)
    )
    return tuple(
        GlAccount(str(kind), str(gl_account), Statement(str(statement)))
        for kind, gl_account, statement in rows.fetchall()
    )


def require_whole(accounts: Sequence[GlAccount], in_use: Sequence[str]) -> None:
    """Stop if a kind of account in use has no place in the map, or what belongs together is apart."""
    if faults := _faults(accounts, in_use):
        raise Stop("the map to the general ledger is not whole:\n  " + "\n  ".join(faults))


def load_gl_map(connection: Connection, entity: str, path: Path) -> int:
    """Make the CSV at `path` (kind, gl_account, statement) the map of `entity`; return how many lines changed it.

    Stop with every fault: a kind twice, a kind in use that is missing, a pair of pending accounts mapped apart.
    """
    columns = (
        Column("kind", text),
        Column("gl_account", text),
        Column("statement", one_of(*(str(each) for each in Statement))),
    )
    faults, accounts = [], {}
    for line in read_csv(path, columns):
        kind, gl_account, statement = (str(value) for value in line.values)
        if kind in accounts:
            faults.append(f"line {line.number}: {kind} is mapped twice: keep one of them")
        accounts[kind] = GlAccount(kind, gl_account, Statement(statement))
    lock(connection, f"reference:ref.gl_map:{entity}")
    stop_with(path, [*faults, *_faults(tuple(accounts.values()), kinds_in_use(connection, entity))])
    before = {each.kind: each for each in read_gl_map(connection, entity)}
    changed = [each for each in accounts.values() if before.get(each.kind) != each]
    gone = sorted(before.keys() - accounts.keys())
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO ref.gl_map VALUES (%s, %s, %s, %s) ON CONFLICT (entity, kind)"
            " DO UPDATE SET gl_account = excluded.gl_account, statement = excluded.statement",
            [(entity, each.kind, each.gl_account, each.statement) for each in changed],
        )
        cursor.execute("DELETE FROM ref.gl_map WHERE entity = %s AND kind = ANY(%s)", (entity, gone))
    return len(changed) + len(gone)


def as_text(accounts: Sequence[GlAccount]) -> str:
    """Return the map as one text, from which `from_text` makes it again."""
    return json.dumps([[each.kind, each.gl_account, each.statement] for each in accounts])


def from_text(stored: str) -> tuple[GlAccount, ...]:
    """Return the map that `as_text` wrote."""
    return tuple(
        GlAccount(kind, gl_account, Statement(statement)) for kind, gl_account, statement in json.loads(stored)
    )


def _faults(accounts: Sequence[GlAccount], in_use: Sequence[str]) -> list[str]:
    mapped = {each.kind: each for each in accounts}
    faults = []
    if missing := [kind for kind in in_use if kind not in mapped]:
        faults.append(f"no account for {', '.join(missing)}: add a line for each, and `tallyback reference gl FILE`")
    for one, other in TOGETHER:
        if one in mapped and other in mapped:
            is_apart = Statement.MEMORANDUM in (mapped[one].statement, mapped[other].statement)
            if is_apart and mapped[one].statement != mapped[other].statement:
                faults.append(f"{one} and {other} must both be memorandum, or neither")
    return faults
