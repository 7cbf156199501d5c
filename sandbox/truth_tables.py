"""The truth as Parquet files, and the clicks and conversions in the canonical columns for those who match by file."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from sandbox.model import ACCOUNTS, World

_TEXT, _INSTANT = pa.string(), pa.timestamp("us")
_LATE_AFTER_SECONDS = 60
CLICK = pa.schema([(name, _TEXT) for name in ("click_id", "partner", "program_id", "member_id")]).append(
    pa.field("clicked_at", _INSTANT)
)
CONVERSION = pa.schema(
    [
        ("conversion_id", _TEXT),
        ("click_id", _TEXT),
        ("order_ref", _TEXT),
        ("occurred_at", _INSTANT),
        ("amount", pa.decimal128(18, 4)),
        ("currency", _TEXT),
    ]
)
TRUTH_SALE = pa.schema(
    [
        ("partner", _TEXT),
        ("partner_account", _TEXT),
        ("transaction_id", _TEXT),
        ("sale_key", _TEXT),
        ("order_key", _TEXT),
        ("order_ref", _TEXT),
        ("program_id", _TEXT),
        ("true_click_id", _TEXT),
        ("true_member_id", _TEXT),
        ("defects", _TEXT),
        ("finding_rule", _TEXT),
        ("is_credited", pa.bool_()),
        ("occurred_at", _INSTANT),
        ("reported_at", _INSTANT),
        ("life", _TEXT),
    ]
)
TRUTH_ROW = pa.schema(
    [(name, _TEXT) for name in ("partner", "partner_account", "transaction_id", "sale_key", "row_kind")]
).append(pa.field("is_original", pa.bool_()))
TRUTH_CLICK = pa.schema([("click_id", _TEXT), ("committed_at", _INSTANT), ("is_late", pa.bool_())])
TRUTH_MISSING = pa.schema(
    [
        ("conversion_id", _TEXT),
        ("click_id", _TEXT),
        ("order_ref", _TEXT),
        ("member_id", _TEXT),
        ("occurred_at", _INSTANT),
    ]
)


def write(world: World, directory: Path) -> None:
    """Write every table of the truth, and clicks and conversions, into a folder."""
    for name, table in tables(world).items():
        pq.write_table(table, directory / f"{name}.parquet")


def tables(world: World) -> dict[str, pa.Table]:
    """Return every table of the truth by name."""
    member_of = {click.click_id: click.member_id for click in world.clicks}
    originals = {(sale.partner, sale.original_transaction_id) for sale in world.sales}
    sales = [
        {
            **{name: getattr(sale, name) for name in TRUTH_SALE.names if hasattr(sale, name)},
            "partner_account": ACCOUNTS[sale.partner],
            "transaction_id": sale.original_transaction_id,
        }
        for sale in world.sales
    ]
    rows = [
        {
            **{name: getattr(row, name) for name in ("partner", "transaction_id", "sale_key", "row_kind")},
            "partner_account": ACCOUNTS[row.partner],
            "is_original": (row.partner, row.transaction_id) in originals,
        }
        for row in world.rows
    ]
    late = [
        {
            "click_id": click.click_id,
            "committed_at": click.committed_at,
            "is_late": (click.committed_at - click.clicked_at).total_seconds() > _LATE_AFTER_SECONDS,
        }
        for click in world.clicks
    ]
    missing = [
        {
            **{name: getattr(one, name) for name in TRUTH_MISSING.names if hasattr(one, name)},
            "member_id": member_of[one.click_id] if one.click_id is not None else None,
        }
        for one in world.missing
    ]
    return {
        "clicks": _from(world.clicks, CLICK),
        "conversions": _from(world.conversions, CONVERSION),
        "truth_sale": pa.Table.from_pylist(sales, schema=TRUTH_SALE),
        "truth_row": pa.Table.from_pylist(rows, schema=TRUTH_ROW),
        "truth_click": pa.Table.from_pylist(late, schema=TRUTH_CLICK),
        "truth_missing": pa.Table.from_pylist(missing, schema=TRUTH_MISSING),
    }


def _from(records: tuple[object, ...], schema: pa.Schema) -> pa.Table:
    return pa.table(
        [pa.array([getattr(record, name) for record in records], schema.field(name).type) for name in schema.names],
        schema=schema,
    )
