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
from etl.given import Given
from etl.match import SETTLED_MATCH, Matched, Matching, matched, run_step
from etl.narrow.needed import asked_conversions, clicks_for, conversion_rows
from etl.narrow.rows import conflicts_of, touched_versions
from etl.narrow.sales import context_of, links_of, touched_otherwise
from etl.narrow.search import KEY, Search, among, keys, union, without_click

SETTLED = """
SELECT s.sale_id, s.rule, s.click_id, s.clicked_at, s.member_id
FROM ops.sale AS s
WHERE s.click_id IS NOT NULL AND EXISTS (
    SELECT 1
    FROM payout.payout_line AS l
    JOIN payout.payout AS p ON p.payout_id = l.payout_id
    WHERE l.document_kind = 'sale' AND l.document_id = s.sale_id AND p.state IN ('reserved', 'in_flight', 'settled')
)
"""
"""The sales that a payout holds on to, with the click it was for."""


@dataclass(frozen=True, slots=True)
class Narrowed:
    """What was looked at again, and what came of it.

    `key` are transaction rows whose versions were found anew, `versions` those; `sale`, `row` and `conversion` say
    which sales, rows of theirs and conversions `matched` is about. They are staged in the warehouse's connection as
    narrow_key, narrow_sale, narrow_row and narrow_conversion. `known_link` is what the sales could be found by before.
    """

    key: pa.Table
    versions: pa.Table
    sale: pa.Table
    row: pa.Table
    conversion: pa.Table
    matched: Matched
    known_link: pa.Table


def matching(
    given: Given,
    *,
    current_row: pa.Table,
    click: pa.Table,
    conversion: pa.Table,
    conflict: pa.Table,
    settled_match: pa.Table,
    is_linked: bool,
) -> Matching:
    """Return what there is to match, of all sales or some."""
    return Matching(
        current_row=current_row,
        program=given.program,
        click=click,
        conversion=conversion,
        seal=given.seal,
        partner_model=given.model,
        day=given.day,
        books_zone=given.books_zone,
        base_currency=given.base_currency,
        truncated_lengths=given.truncated_lengths,
        conflict=conflict,
        decision=given.decision,
        settled_match=settled_match,
        cashback_rule=given.cashback_rule,
        fx_rate=given.fx_rate,
        contract_term=given.contract_term,
        commission_tolerance=given.tolerance,
        is_linked=is_linked,
    )


def narrowed(connection: Connection, given: Given, before: Seen, now: Seen) -> Narrowed | None:
    """Return what has to be looked at again since `before`, and what comes of it; None if that is all there is."""
    if before.inputs_hash != now.inputs_hash or before.day > now.day:
        return None
    if before.sealed_until is not None and (now.sealed_until is None or now.sealed_until < before.sealed_until):
        return None
    changed = before.changed(now, "delivery")
    if any(delivery_id not in now.of("delivery") for delivery_id in changed):
        return None
    return _found(Search(connection, given, before, now), changed)


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
    return Narrowed(key, versions, sale, row, asked, _about(result, sale, row, asked), known_link)


def _matched(search: Search, current: pa.Table, sales: pa.Table, asked: pa.Table, conflict: pa.Table) -> Matched:
    engine, given = search.given.engine, search.given
    grouped = run_step(engine, "grouped_sale", {"current_row": current, "program": given.program}, {})
    conversion = conversion_rows(search, asked, grouped)
    click = clicks_for(search, sales, grouped, conversion)
    search.stage("judged_sale", sales)
    settled = search.fetch(f"{SETTLED} AND s.sale_id IN (SELECT sale_id FROM judged_sale)", SETTLED_MATCH)
    return matched(
        engine,
        matching(
            given,
            current_row=current,
            click=click,
            conversion=conversion,
            conflict=conflict,
            settled_match=settled.sort_by("sale_id"),
            is_linked=True,
        ),
    )


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
    )
