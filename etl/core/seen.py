"""What a stage saw when it last ran, kept in the warehouse, so that the next run looks only at what changed since."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cache
from importlib.metadata import version

import pyarrow as pa
import pyarrow.csv as pa_csv

from etl.core.engine import SQL_ROOT
from etl.core.schemas import TEXT
from etl.core.warehouse import Connection, copy_in, fetch

NARROW_FROM = 100_000
"""With fewer versions than this everything is looked at each time: to find out what is touched would cost more."""
FEW_SALES, SHARE_MAX = 10_000, 4
"""If more sales than these, and more than one in so many, would be looked at again, all are."""

_INPUT = pa.schema([("kind", TEXT), ("input_id", TEXT), ("state", TEXT)])
_HEAD = pa.schema([("day", pa.date32()), ("inputs_hash", TEXT), ("sealed_until", pa.timestamp("us")), ("run_id", TEXT)])
Inputs = Mapping[tuple[str, str], str]
"""The state of each input that may change, by its kind (delivery, tracked_file, decision, payout) and id."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What reconcile looked at: as of which day, how far clicks were sealed, and the inputs."""

    day: date
    inputs_hash: str
    sealed_until: datetime | None
    inputs: Inputs = field(default_factory=dict)

    def changed(self, now: Seen, kind: str) -> list[str]:
        """Return the ids of inputs of a kind that are new, other or gone `now`."""
        mine, theirs = self.of(kind), now.of(kind)
        return sorted(name for name in {*mine, *theirs} if mine.get(name) != theirs.get(name))

    def of(self, kind: str) -> dict[str, str]:
        """Return the states of the inputs of a kind, by id."""
        return {name: state for (of_kind, name), state in self.inputs.items() if of_kind == kind}


@cache
def code_hash() -> str:
    """Return what names the code of this installation: its version and the text of its queries."""
    digest = hashlib.sha256(version("tallyback").encode())
    for folder in ("reconcile", "accrue", "remit"):
        for place in sorted((SQL_ROOT / folder).rglob("*.sql")):
            digest.update(place.read_bytes())
    return digest.hexdigest()


def has_versions(connection: Connection, least: int) -> bool:
    """Return whether there are at least so many versions."""
    return _has_rows(connection, "ops.transaction_version", least)


def has_sales(connection: Connection, least: int) -> bool:
    """Return whether there are at least so many sales."""
    return _has_rows(connection, "ops.sale", least)


def _has_rows(connection: Connection, table: str, least: int) -> bool:
    query = f"SELECT count(*) FROM (SELECT 1 FROM {table} LIMIT %s) AS found"
    found = connection.execute(query, (least,)).fetchone()
    return found is not None and int(str(found[0])) >= least


def hash_of(tables: Iterable[pa.Table], texts: Iterable[str]) -> str:
    """Return what tables (in the order they have) and texts say, as one hash."""
    digest = hashlib.sha256()
    for table in tables:
        text = io.BytesIO()
        pa_csv.write_csv(table, text)
        digest.update(text.getvalue())
    for each in texts:
        digest.update(f"\x1f{each}".encode())
    return digest.hexdigest()


def read_seen(connection: Connection, entity: str) -> Seen | None:
    """Return what reconcile last saw of `entity`, None if it has not run or is to forget it."""
    query = "SELECT day, inputs_hash, sealed_until, run_id FROM ops.reconciled WHERE entity = %s"
    head = fetch(connection, query, _HEAD, (entity,)).to_pylist()
    if not head:
        return None
    return Seen(head[0]["day"], head[0]["inputs_hash"], head[0]["sealed_until"], dict(_inputs(connection)))


def _inputs(connection: Connection) -> Iterator[tuple[tuple[str, str], str]]:
    table = fetch(connection, "SELECT kind, input_id, state FROM ops.reconciled_input", _INPUT)
    for kind, name, state in zip(*(table[column].to_pylist() for column in _INPUT.names), strict=True):
        yield (kind, name), state


def write_seen(connection: Connection, entity: str, before: Seen | None, now: Seen, run_id: str) -> None:
    """Remember `now`; what is as it was `before` is not written again."""
    if before is None:
        # What was forgotten may have left its inputs behind.
        connection.execute("DELETE FROM ops.reconciled_input")
    if before == now:
        return
    known: Inputs = {} if before is None else before.inputs
    gone = [key for key, state in known.items() if now.inputs.get(key) != state]
    if gone:
        connection.execute(
            "DELETE FROM ops.reconciled_input AS i USING unnest(%s::text[], %s::text[]) AS g (kind, input_id)"
            " WHERE i.kind = g.kind AND i.input_id = g.input_id",
            ([kind for kind, _ in gone], [name for _, name in gone]),
        )
    new = [(*key, state) for key, state in now.inputs.items() if known.get(key) != state]
    columns = [pa.array([row[place] for row in new], TEXT) for place in range(3)]
    copy_in(connection, "ops.reconciled_input", pa.table(columns, schema=_INPUT))
    connection.execute(
        "INSERT INTO ops.reconciled (entity, day, inputs_hash, sealed_until, run_id) VALUES (%s, %s, %s, %s, %s)"
        " ON CONFLICT (entity) DO UPDATE SET day = excluded.day, inputs_hash = excluded.inputs_hash,"
        " sealed_until = excluded.sealed_until, run_id = excluded.run_id",
        (entity, now.day, now.inputs_hash, now.sealed_until, run_id),
    )


def forget_seen(connection: Connection, entity: str) -> None:
    """Forget what was seen of `entity`: the next run looks at everything."""
    connection.execute("DELETE FROM ops.reconciled WHERE entity = %s", (entity,))
