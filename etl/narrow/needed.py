"""The clicks and conversions that touched sales need, and the conversions of which a partner may now have told."""

from __future__ import annotations

from datetime import timedelta

import pyarrow as pa
import pyarrow.compute as pc

from etl.core.engine import Relation
from etl.core.schemas import CLICK, CONVERSION, INSTANT, TEXT
from etl.match import run_step
from etl.narrow.files import Ids, Instants
from etl.narrow.search import Search, evidence, union

_CONVERSION_ID = pa.schema([("conversion_id", TEXT)])
_CLICK_ID = pa.schema([("click_id", TEXT)])
_KNOWN_REFERENCE = pa.schema([("sale_id", TEXT), ("first_at", INSTANT), ("last_at", INSTANT)])
_HOUR = timedelta(hours=1)
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
    """Return all clicks that any rule could name for these sales, or that their conversions and decisions name.

    What a sale's reference could mean when the sale was last looked at is known, with the instants; only clicks that
    nobody looked for yet are looked for in all files whose ids do not say otherwise.
    """
    engine, given = search.given.engine, search.given
    decision = given.decision.filter(pc.is_in(given.decision["sale_id"], sales["sale_id"].combine_chunks()))
    known = _known_references(search, grouped)
    unknown = grouped.filter(pc.invert(pc.is_in(grouped["sale_id"], known["sale_id"].combine_chunks())))
    others = _ids(conversion["click_id"], decision["click_id"])["click_id"]
    ids = Ids(
        [*others.to_pylist(), *unknown["click_ref"].drop_null().to_pylist()],
        _folded(search, unknown)["ref_folded"].drop_null().to_pylist(),
    )
    met = known.filter(pc.is_valid(known["first_at"]))
    happened = Instants(zip(met["first_at"].to_pylist(), met["last_at"].to_pylist(), strict=True))
    relations: dict[str, Relation] = {
        "tracked_click": search.clicks_of(happened, ids),
        "named": _ids(grouped["click_ref"], others),
        "bent_ref": _folded(search, grouped),
        "truncation": pa.table({"ref_length": pa.array(given.truncated_lengths, pa.int32())}),
    }
    meant = run_step(engine, "prepare/possible_click", relations, {})
    timed: dict[str, Relation] = {
        "tracked_click": search.clicks_of(_told_times(grouped), None),
        "grouped_sale": grouped,
    }
    return pa.concat_tables([meant, run_step(engine, "prepare/timed_click", timed, {})])


def _ids(*columns: pa.ChunkedArray) -> pa.Table:
    """Return the ids of clicks in any of some columns, each once."""
    return union(*columns).rename_columns(_CLICK_ID.names)


def _known_references(search: Search, grouped: pa.Table) -> pa.Table:
    """Return the sales of whose reference it is known between which instants all lies that it could mean.

    It is known if it was the sale's when the sale was last looked at: any click since that it could mean would have
    touched the sale, so only new files hold one. A sale that asks for no bent form is content with less.
    """
    asks_none = pc.or_(grouped["is_reduction"], pc.or_(grouped["is_ref_mixed"], grouped["is_click_unexpected"]))
    asked = grouped.select(["sale_id", "click_ref"]).filter(pc.is_valid(grouped["click_ref"]))
    search.stage("asked_reference", asked)
    search.stage("unbent_sale", grouped.select(["sale_id"]).filter(asks_none))
    return search.fetch(
        "SELECT a.sale_id, coalesce(r.first_at, s.clicked_at), coalesce(r.last_at, s.clicked_at)"
        " FROM asked_reference AS a JOIN ops.sale AS s USING (sale_id)"
        " LEFT JOIN ops.sale_reference AS r ON r.sale_id = a.sale_id"
        " WHERE CASE WHEN r.sale_id IS NULL THEN s.rule = 'click_ref' AND s.click_id = a.click_ref"
        " ELSE r.click_ref = a.click_ref AND (r.is_bent_known OR a.sale_id IN (SELECT sale_id FROM unbent_sale)) END",
        _KNOWN_REFERENCE,
    )


def _folded(search: Search, grouped: pa.Table) -> pa.Table:
    """Return the references of these sales as a partner may have bent them."""
    relations: dict[str, Relation] = {"grouped_sale": grouped, "exact_click": _CLICK_ID.empty_table()}
    return run_step(search.given.engine, "prepare/folded_ref", relations, {})


def _told_times(grouped: pa.Table) -> Instants:
    """Return the instants of which partners tell that a sale without a reference was clicked then."""
    columns = ["click_ref", "partner_clicked_at", "partner_clicked_precision_seconds"]
    told = grouped.select(columns).filter(
        pc.and_(pc.is_null(grouped["click_ref"]), pc.is_valid(grouped["partner_clicked_at"]))
    )
    return Instants(
        (at - 2 * _HOUR, at + 4 * _HOUR)
        for at, precision in zip(*(told[name].to_pylist() for name in columns[1:]), strict=True)
        if precision is not None and 1 <= precision <= _HOUR.total_seconds()
    )
