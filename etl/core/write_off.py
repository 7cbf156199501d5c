"""What write-offs should have in the ledger: decisions in force, approved commission and payments in, flows out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc

from etl.core.engine import DoesNotFit, Relation, SqlEngine
from etl.core.errors import Stop
from etl.core.exchange import usable_rates
from etl.core.money import PARTNER_SCALE
from etl.core.schemas import INSTANT, TEXT
from etl.core.target import POSTED, Facts, read_posted
from etl.core.warehouse import Connection, fetch

WRITE_OFF = pa.schema(
    [
        pa.field("sale_id", TEXT, nullable=False),
        pa.field("partner_account", TEXT, nullable=False),
        pa.field("currency", TEXT, nullable=False),
        pa.field("written_on", pa.date32(), nullable=False),
        # What was seen to be open, and the approved commission it was open of; in 1/10,000.
        pa.field("amount_minor", pa.int64(), nullable=False),
        pa.field("approved_minor", pa.int64(), nullable=False),
    ]
)
"""A decision in force to write off what a sale leaves open."""

GIVEN_UP = pa.schema(
    [("partner_account", TEXT), ("transaction_id", TEXT), ("currency", TEXT), ("written_on", pa.date32())]
)
"""A transaction of a sale that is written off."""

WRITTEN = pa.schema([("sale_id", TEXT), ("currency", TEXT), ("written_minor", pa.int64())])
_SAID = pa.schema([pa.field("acts_at", INSTANT) if field.name == "written_on" else field for field in WRITE_OFF])


def read_write_offs(connection: Connection, books_zone: str) -> pa.Table:
    """Return the write-offs in force (schema WRITE_OFF), each on the day it began to act in the zone of the books."""
    said, zone = fetch(connection, _WRITE_OFFS, _SAID), ZoneInfo(books_zone)
    days = [_day(moment, zone) for moment in said["acts_at"].to_pylist()]
    return said.set_column(said.schema.get_field_index("acts_at"), "written_on", pa.array(days, pa.date32())).cast(
        WRITE_OFF
    )


def _day(moment: datetime, zone: ZoneInfo) -> date:
    return moment.replace(tzinfo=UTC).astimezone(zone).date()


def write_off_target(
    engine: SqlEngine, facts: Facts, write_offs: pa.Table, row_state: Relation, payment: pa.Table
) -> pa.Table:
    """Return the signed flows (schema POSTED) that all write-offs of commission should have in the ledger."""
    if not write_offs.num_rows:
        return POSTED.empty_table()
    days = facts.sale.filter(pc.is_in(facts.sale["sale_id"], pc.unique(write_offs["sale_id"])))["sale_on"]
    currencies = pc.unique(write_offs["currency"]).to_pylist()
    needed = {(on, currency, facts.base_currency) for on in days.to_pylist() for currency in currencies}
    relations: dict[str, Relation] = {
        "write_off": write_offs,
        "row_state": row_state,
        "payment": payment,
        "sale": facts.sale,
        "conversion_rate": usable_rates(facts.fx_rate, needed),
    }
    try:
        return engine.run("remit/write_off", relations, {"base_currency": facts.base_currency}).cast(POSTED)
    except DoesNotFit as error:
        raise Stop(f"an amount of a write-off is too large to be booked ({error}): look for a wrong version") from error


def written(flows: pa.Table) -> pa.Table:
    """Return how much of each sale is written off in all (schema WRITTEN)."""
    summed = flows.group_by(["document_id", "asset"]).aggregate([("amount", "sum")])
    currencies = pc.replace_substring(summed["asset"], f"/{PARTNER_SCALE}", "")
    return pa.table([summed["document_id"], currencies, summed["amount_sum"]], schema=WRITTEN)


def given_up(write_offs: pa.Table, row_state: pa.Table) -> pa.Table:
    """Return the transactions of sales that are written off, and since when (schema GIVEN_UP)."""
    keys = ["sale_id", "partner_account", "currency"]
    since = write_offs.group_by(keys).aggregate([("written_on", "min")])
    found = row_state.group_by([*keys, "transaction_id"]).aggregate([]).join(since, keys, join_type="inner")
    return found.rename_columns({"written_on_min": "written_on"}).select(GIVEN_UP.names).cast(GIVEN_UP)


def read_posted_write_offs(connection: Connection, entity: str, sales: Sequence[str] | None = None) -> pa.Table:
    """Return what is posted of write-offs of commission (schema POSTED), of all sales or the named ones.

    Those of members' debts are another matter.
    """
    named = None if sales is None else list(sales)
    rows = connection.execute(_DOCUMENTS, (entity, "commission", named, named)).fetchall()
    return read_posted(connection, entity, [str(row[0]) for row in rows], kind="write_off")


_WRITE_OFFS = """
SELECT sale_id, partner_account, currency, acts_at, (amount * 10000)::bigint, (approved_amount * 10000)::bigint
FROM ops.decision_in_force
WHERE kind = 'write_off'
ORDER BY decision_id
"""
_DOCUMENTS = """
SELECT DISTINCT j.document_id
FROM ledger.journal_entry AS j
JOIN ledger.posting AS p ON p.entity = j.entity AND p.year = j.year AND p.number = j.number
WHERE j.entity = %s AND j.document_kind = 'write_off' AND p.component = %s
    AND (%s::text[] IS NULL OR j.document_id = ANY(%s))
ORDER BY j.document_id
"""
