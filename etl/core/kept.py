"""Tables of the warehouse that a stage keeps equal to what it computes: only what differs is written."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import pyarrow as pa

from etl.core.binary_copy import copy_rows, rows_of
from etl.core.context import Context
from etl.core.engine import Relation, register
from etl.core.schemas import AMOUNT, TEXT
from etl.core.stored_rows import Stored, stored_rows
from etl.core.warehouse import Connection, copy_in, stage

BREAK_FOUND = pa.schema(
    [
        ("partner", TEXT),
        ("partner_account", TEXT),
        ("transaction_id", TEXT),
        ("line_id", TEXT),
        ("kind", TEXT),
        ("sale_id", TEXT),
        ("expected", TEXT),
        ("found", TEXT),
        ("amount", AMOUNT),
        ("currency", TEXT),
        ("evidence_hash", TEXT),
    ]
)
"""A break as a stage finds it; ops.break adds when it was opened."""

OUTCOME_BREAKS = ("remittance_short", "remittance_unpaid", "remittance_over")
REMITTANCE_BREAKS = ("remittance_differs", "remittance_unallocated", *OUTCOME_BREAKS, "carry_forward_differs")

OPENING_BREAKS = ("changed_since_opening",)
# Wide rows on their way are Arrow's beside the engine's memory, and PostgreSQL's bytes beside both.
_COPIED_AT_ONCE = 24_576


@dataclass(frozen=True, slots=True)
class KeptTable:
    """A table that a stage keeps equal to what it computes, where `scope` holds; what `carried` says is set once.

    `told` are the columns of changed rows that others want to know. `is_typed` says that a test compares the schema
    with the table: so all rows at once may go as bytes, which PostgreSQL reads faster than text.
    """

    table: str
    key: tuple[str, ...]
    schema: pa.Schema
    noun: str
    carried: bool = False
    scope: str = "true"
    told: tuple[str, ...] = ()
    is_typed: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """How many rows of a table were new, changed and gone, and the `told` columns of them all, some of them twice."""

    new: int
    changed: int
    gone: int
    told: pa.Table

    def __bool__(self) -> bool:
        return bool(self.new or self.changed or self.gone)


def keep(context: Context, connection: Connection, target: KeptTable, computed: Relation, day: date) -> Change:
    """Make `target` hold exactly `computed`; return what that changed. Rows that are equal are not touched.

    Rows are written in the order `computed` has them, which should be that of the key: so indexes grow at their end. A
    table that holds none is filled a part at a time.
    """
    carried = [("opened_on", pa.date32()), ("opened_run", TEXT)] if target.carried else []
    schema = pa.schema([*target.schema, *carried])
    query = f"SELECT {', '.join(schema.names)} FROM {target.table} WHERE {target.scope}"
    with stored_rows(connection, query, schema, context.temporary) as stored:
        if isinstance(stored, pa.Table) and stored.num_rows == 0:
            return _filled(context, connection, target, computed, day)
        fresh, stale, changed, told = _difference(context, target, computed, stored, day)
    if stale.num_rows:
        stage(connection, "stale_key", stale)
        same = " AND ".join(f"s.{name} = t.{name}" for name in target.key)
        connection.execute(f"DELETE FROM {target.table} AS t USING stale_key AS s WHERE {same}")
    copy_in(connection, target.table, fresh.cast(schema))
    return Change(fresh.num_rows - changed, changed, stale.num_rows - changed, told)


def _filled(context: Context, connection: Connection, target: KeptTable, computed: Relation, day: date) -> Change:
    """Write all that was computed to a table without rows."""
    count, told = 0, []
    for batch in context.engine.batches(computed, target.schema, _COPIED_AT_ONCE):
        rows = pa.table(batch)
        if target.carried:
            on = pa.repeat(pa.scalar(day, pa.date32()), rows.num_rows)
            run = pa.repeat(pa.scalar(context.run_id, TEXT), rows.num_rows)
            rows = rows.append_column("opened_on", on).append_column("opened_run", run)
        if target.is_typed:
            copy_rows(connection, target.table, rows_of(rows))
        else:
            copy_in(connection, target.table, rows)
        count += rows.num_rows
        if target.told:
            told.append(rows.select(target.told))
    return Change(count, 0, 0, pa.concat_tables([target.schema.empty_table().select(target.told), *told]))


def _difference(
    context: Context, target: KeptTable, computed: Relation, stored: Stored, day: date
) -> tuple[pa.Table, pa.Table, int, pa.Table]:
    """Return the rows to write, the keys to take out before, how many keys are in both, and what is told of all."""
    key = ", ".join(target.key)
    same = " AND ".join(f"s.{name} = f.{name}" for name in target.key)
    columns = [f"f.{name}" for name in target.schema.names]
    parameters: dict[str, object] = {}
    if target.carried:
        # A break that is still open keeps the day it was opened, whatever else is now known of it.
        columns += ["coalesce(s.opened_on, $day) AS opened_on", "coalesce(s.opened_run, $run) AS opened_run"]
        parameters = {"day": day, "run": context.run_id}
    # Found where the rows are: what is as it was stays there.
    differing, gone = context.engine.differing(computed, stored, target.schema)
    with context.engine.connect() as engine:
        register(engine, "fresh", differing)
        register(engine, "stale", gone)
        register(engine, "stored", stored)
        order = ", ".join(f"f.{name}" for name in target.key)
        fresh = engine.sql(
            f"SELECT {', '.join(columns)} FROM fresh AS f LEFT JOIN stored AS s ON {same} ORDER BY {order}",
            params=parameters,
        ).to_arrow_table()
        stale = engine.sql(f"SELECT {key} FROM stale ORDER BY {key}").to_arrow_table()
        both = engine.sql(f"SELECT f.{target.key[0]} FROM fresh AS f JOIN stale AS s ON {same}").to_arrow_table()
        if not target.told:
            return fresh, stale, both.num_rows, pa.table({})
        either = " UNION ALL ".join(f"SELECT {', '.join(target.told)} FROM {name}" for name in ("fresh", "stale"))
        told = engine.sql(either).to_arrow_table()
    return fresh, stale, both.num_rows, told
