"""The sales that are touched otherwise than by their rows, and those that hang together with touched ones."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

import pyarrow as pa
import pyarrow.compute as pc

from etl.core.engine import Relation
from etl.core.schemas import CLICK, CONVERSION, TEXT
from etl.match import SALE_LINK, grouped_sales, run_step
from etl.narrow.search import Search, among, evidence, union, without_click

# For so many days a missing rate is no break; see sql/reconcile/break.sql.
_RATE_DAYS = 5
_NO_MATCH = pa.schema([("sale_id", TEXT), ("outcome", TEXT), ("rule", TEXT), ("click_id", TEXT)]).empty_table()
_NO_FOLDED_REF = pa.schema([("click_ref", TEXT), ("ref_folded", TEXT)]).empty_table()


def touched_otherwise(search: Search) -> Iterable[pa.ChunkedArray]:
    """Yield the sales that may have another click, were decided about, payouts let go, or are due."""
    yield _clicked(search)
    decided = pa.array(search.before.changed(search.now, "decision"), TEXT)
    search.stage("changed_id", pa.table([decided], names=["id"]))
    yield search.sales(
        "SELECT d.sale_id FROM changed_id AS c JOIN ops.decision AS d ON d.decision_id = c.id"
        " WHERE d.sale_id IS NOT NULL"
    )
    accepted = search.given.decision.filter(pc.is_in(search.given.decision["click_id"], search.new_click_ids()))
    yield accepted["sale_id"]
    released = pa.array(search.before.changed(search.now, "payout"), TEXT)
    search.stage("changed_id", pa.table([released], names=["id"]))
    yield search.sales(
        "SELECT l.document_id FROM changed_id AS c JOIN payout.payout_line AS l ON l.payout_id = c.id"
        " WHERE l.document_kind = 'sale'"
    )
    since = search.before.day - timedelta(days=_RATE_DAYS)
    until = search.now.day - timedelta(days=_RATE_DAYS)
    yield search.sales("SELECT sale_id FROM ops.sale WHERE sale_on >= %s AND sale_on < %s", since, until)
    yield search.sales("SELECT sale_id FROM ops.break WHERE kind = 'rate_missing' AND sale_id IS NOT NULL")


def _clicked(search: Search) -> pa.ChunkedArray:
    relations: dict[str, Relation] = {
        "sale_link": search.links,
        "new_click": search.new_files("click", CLICK),
        "new_conversion": search.new_files("conversion", CONVERSION),
        "conversion": search.all_files("conversion", CONVERSION),
    }
    parameters = {
        "shortest": min(search.given.truncated_lengths),
        "sealed_from": search.before.sealed_until,
        "sealed_until": search.now.sealed_until,
    }
    return run_step(search.given.engine, "prepare/clicked_sale", relations, parameters)["sale_id"]


def links_of(search: Search, versions: pa.Table) -> pa.Table:
    """Return by what the sales of these versions can be found now; their clicks are not looked for."""
    engine, given = search.given.engine, search.given
    current = run_step(engine, "current_row", {"version": versions, "moved_key": given.moved}, {})
    relations: dict[str, Relation] = {
        "grouped_sale": grouped_sales(engine, current, given.program),
        "sale_match": _NO_MATCH,
        "folded_ref": _NO_FOLDED_REF,
    }
    return run_step(engine, "prepare/sale_link", relations, {}).cast(SALE_LINK)


def context_of(search: Search, sale: pa.Table, new_link: pa.Table, conversion: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Return the sales that are needed to judge these and whether conversions are answered, and their own links."""
    known = search.known_links(sale, new_link)
    reversals = known.filter(pc.fill_null(known["is_reduction"], False))["sale_id"]
    shared = search.linked(without_click([among(known, sale)]))
    answers = search.linked(evidence(order_ref=conversion["order_ref"], click_id=conversion["click_id"]))
    found = union(reversals, shared, answers)
    is_other = pc.invert(pc.is_in(found["sale_id"], sale["sale_id"].combine_chunks()))
    return found.filter(is_other), among(known, sale)
