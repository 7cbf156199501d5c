"""The clicks and conversions that touched sales need, and the conversions of which a partner may now have told."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from etl.core.engine import Relation
from etl.core.schemas import CLICK, CONVERSION, TEXT
from etl.match import run_step
from etl.narrow.search import Search, evidence, union

_CONVERSION_ID = pa.schema([("conversion_id", TEXT)])
_CLICK_ID = pa.schema([("click_id", TEXT)])
_DAYS = pa.schema([("days", pa.int32())])


def asked_conversions(search: Search, own: pa.Table) -> pa.Table:
    """Return the conversions of which it may be said otherwise now whether the partner told of them."""
    program = search.given.program
    days = {
        max(lookback, validation or 0)
        for lookback, validation in zip(
            program["lookback_days"].to_pylist(), program["validation_days"].to_pylist(), strict=True
        )
    }
    decided = pa.array(search.before.changed(search.now, "decision"), TEXT)
    search.stage("changed_id", pa.table([decided], names=["id"]))
    named = search.fetch(
        "SELECT transaction_id FROM ops.break WHERE kind = 'missing_at_partner' UNION"
        " SELECT d.transaction_id FROM changed_id AS c JOIN ops.decision AS d ON d.decision_id = c.id"
        " WHERE d.break_kind = 'missing_at_partner'",
        _CONVERSION_ID,
    )
    relations: dict[str, Relation] = {
        "conversion": search.all_files("conversion", CONVERSION),
        "new_conversion": search.new_files("conversion", CONVERSION),
        "new_click": search.new_files("click", CLICK),
        "named_conversion": named,
        "evidence": own,
        "waiting_days": pa.table([pa.array(sorted(days), pa.int32())], schema=_DAYS),
    }
    since_until = {"last_day": search.before.day, "day": search.now.day}
    return run_step(search.given.engine, "prepare/asked_conversion", relations, since_until).cast(_CONVERSION_ID)


def conversion_rows(search: Search, asked: pa.Table, sales: pa.Table | None) -> pa.Table:
    """Return the conversions asked about, and those with an order of some sales (schema CONVERSION)."""
    relations: dict[str, Relation] = {
        "tracked_conversion": search.all_files("conversion", CONVERSION),
        "asked": asked,
        "sale_order": evidence().select(["order_ref"]) if sales is None else sales.select(["order_ref"]),
    }
    rows = run_step(search.given.engine, "prepare/named_conversion", relations, {})
    return run_step(search.given.engine, "conversion", {"tracked_conversion": rows}, {})


def clicks_for(search: Search, sales: pa.Table, grouped: pa.Table, conversion: pa.Table) -> pa.Table:
    """Return all clicks that any rule could name for these sales, or that their conversions and decisions name."""
    engine, given = search.given.engine, search.given
    tracked = search.all_files("click", CLICK)
    decision = given.decision.filter(pc.is_in(given.decision["sale_id"], sales["sale_id"].combine_chunks()))
    named = union(grouped["click_ref"], conversion["click_id"], decision["click_id"]).rename_columns(_CLICK_ID.names)
    rows = run_step(engine, "prepare/named_click", {"tracked_click": tracked, "named": named}, {})
    click = run_step(engine, "click", {"tracked_click": rows}, {})
    exact = run_step(engine, "exact_click", {"grouped_sale": grouped, "click": click}, {})
    if pc.all(pc.is_in(grouped["click_ref"], exact["click_id"].combine_chunks())).as_py():
        return click
    residue: dict[str, Relation] = {
        "grouped_sale": grouped,
        "exact_click": exact,
        "folded_ref": run_step(engine, "prepare/folded_ref", {"grouped_sale": grouped, "exact_click": exact}, {}),
        "truncation": pa.table({"ref_length": pa.array(given.truncated_lengths, pa.int32())}),
        "tracked_click": tracked,
    }
    possible = run_step(engine, "prepare/possible_click", residue, {})
    more = possible.filter(pc.invert(pc.is_in(possible["click_id"], named["click_id"].combine_chunks())))
    if more.num_rows == 0:
        return click
    found = run_step(engine, "prepare/named_click", {"tracked_click": tracked, "named": more.cast(_CLICK_ID)}, {})
    return run_step(engine, "click", {"tracked_click": pa.concat_tables([rows, found])}, {})
