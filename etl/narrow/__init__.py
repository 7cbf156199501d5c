"""What reconcile has to look at again: the sales that new rows, clicks, conversions, decisions or days could touch.

A sale is touched if any of its rows may have other versions, its click may be another, or something was decided or
became due. What may then differ in others is found by what they share with a touched sale, in its states of before and
now: an order, a click reference, the amount of a reversal. These are looked at again, too (`sale`); what is needed to
judge them, and whatever answers a conversion, is computed with them and not written. All of it is a superset: to look
at a sale for nothing costs time, to miss one is a defect. `narrowed` gives up, and all is to be looked at, where it
cannot tell or it would be much.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from etl.core.seen import Seen
from etl.core.warehouse import Connection
from etl.given import Given, settled_matches
from etl.match import Matched, grouped_sales, matched, run_step
from etl.narrow.needed import asked_conversions, clicks_for, conversion_rows
from etl.narrow.rows import conflicts_of, touched_versions
from etl.narrow.sales import context_of, links_of, touched_otherwise
from etl.narrow.search import KEY, Search, among, keys, union, without_click


@dataclass(frozen=True, slots=True)
class Narrowed:
    """What was looked at again, and what came of it.

    Staged for the queries of the transaction are narrow_key, the rows whose `versions` were found anew, and what
    `matched` is about: narrow_sale, narrow_row (rows of these sales) and narrow_conversion. `known_link` is what the
    sales could be found by before.
    """

    versions: pa.Table
    matched: Matched
    known_link: pa.Table


def narrowed(connection: Connection, given: Given, before: Seen) -> Narrowed | None:
    """Return what has to be looked at again since `before`, and what comes of it; None if that is all there is."""
    now = given.seen
    if before.inputs_hash != now.inputs_hash or before.day > now.day:
        return None
    if before.sealed_until is not None and (now.sealed_until is None or now.sealed_until < before.sealed_until):
        return None
    changed = before.changed(now, "delivery")
    if any(delivery_id not in now.of("delivery") for delivery_id in changed):
        return None
    return _found(Search(connection, given, before), changed)


def _found(search: Search, changed: Sequence[str]) -> Narrowed | None:
    """Return what is touched and what comes of it; None if it is too much."""
    key, versions, conflict = touched_versions(search, changed)
    if key.num_rows > search.limit:
        return None
    touched = union(versions["sale_id"], search.sales_of(key), *touched_otherwise(search))
    if touched.num_rows > search.limit:
        return None
    rows = search.versions_of(touched, key, versions)
    new_link = links_of(search, rows)
    own = among(search.known_links(touched, new_link), touched)
    sale = union(touched["sale_id"], search.linked(without_click([own, new_link])))
    asked = asked_conversions(search, own)
    conversion_row = conversion_rows(search, asked, None)
    context, known_link = context_of(search, sale, new_link, conversion_row)
    if sale.num_rows + context.num_rows > search.limit:
        return None
    everyone = union(sale["sale_id"], context["sale_id"])
    rows = search.versions_of(everyone, key, versions)
    current = run_step(search.given.engine, "current_row", {"version": rows, "moved_key": search.given.moved}, {})
    result = _matched(
        search, current, everyone, asked, pa.concat_tables([conflict, conflicts_of(search, everyone, key)])
    )
    row = keys([among(current, sale).select(KEY.names), key])
    search.stage("narrow_key", key)
    search.stage("narrow_sale", sale)
    search.stage("narrow_row", row)
    search.stage("narrow_conversion", asked)
    return Narrowed(versions, _about(result, sale, row, asked), known_link)


def _matched(search: Search, current: pa.Table, sales: pa.Table, asked: pa.Table, conflict: pa.Table) -> Matched:
    engine, given = search.given.engine, search.given
    grouped = grouped_sales(engine, current, given.program)
    conversion = conversion_rows(search, asked, grouped)
    click = clicks_for(search, sales, grouped, conversion)
    search.stage("judged_sale", sales)
    settled = settled_matches(search.connection, "s.sale_id IN (SELECT sale_id FROM judged_sale)")
    return matched(engine, given.matching(current, click, conversion, conflict, settled, is_linked=True))


def _about(result: Matched, sale: pa.Table, row: pa.Table, conversion: pa.Table) -> Matched:
    """Return what was found of some sales, rows and conversions, without that of others computed with them."""
    breaks = result.breaks
    is_missing = pc.equal(breaks["kind"], "missing_at_partner")
    is_asked = pc.is_in(breaks["transaction_id"], conversion["conversion_id"].combine_chunks())
    is_ours = pc.or_(pc.is_null(breaks["sale_id"]), pc.is_in(breaks["sale_id"], sale["sale_id"].combine_chunks()))
    return replace(
        result,
        sale=among(result.sale, sale),
        match=result.match.join(row, KEY.names, join_type="left semi"),
        breaks=breaks.filter(pc.if_else(is_missing, is_asked, is_ours)),
        link=among(result.link, sale),
        reference=among(result.reference, sale),
    )
