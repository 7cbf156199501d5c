"""The click of a sale in plain Python: its program, and the first rule that names one click."""

from __future__ import annotations

from datetime import datetime, timedelta
from urllib.parse import unquote

from tests.reconcile.naive_facts import CUTS, Row, Sale, World, is_valid


def match(world: World, sale: Sale, clicks: dict[str, Row]) -> str | None:
    """Set the outcome of a sale; return the kind of break it is, if any."""
    lead, told_at = sale.lead, sale.least("partner_clicked_at")
    known = _programs(world, sale)
    for at in (lead["occurred_at"], told_at):
        valid = sorted((one for one in known if is_valid(one, at)), key=lambda p: p["program_id"])
        if valid and sale.program is None:
            sale.program = max(valid, key=lambda p: p["valid_from"])
    if sale.is_orphan and lead["kind"] != "bonus":
        return "reversal_without_original"
    refs = {row["click_ref"] for row in sale.credits if row["click_ref"] is not None}
    if len(refs) > 1:
        return "ambiguous"
    ref = next(iter(refs), None)
    exact = clicks.get(ref) if ref is not None else None
    if exact is not None:
        agreeing = [one for one in known if one["program_id"] == exact["program_id"]]
        agreeing = [one for one in agreeing if exact["partner"] == lead["partner"]]
        at_click = [one for one in agreeing if is_valid(one, exact["clicked_at"])]
        at_sale = [one for one in agreeing if is_valid(one, lead["occurred_at"])]
        if at_click or at_sale:
            sale.program = max(at_click or at_sale, key=lambda p: p["valid_from"])
            return _believe(sale, exact, "click_ref", True)
        return "unknown_program" if sale.program is None else "click_of_another_program"
    if sale.program is None:
        return "unknown_program"
    if lead["kind"] in ("bonus", "adjustment") or lead["reason"] in ("coupon", "cross_device"):
        return "no_click_expected"
    precision = max((row["partner_clicked_precision_seconds"] or 0 for row in sale.credits), default=0)
    needed = sale.until
    if told_at is not None and 1 <= precision <= 3600:
        needed = max(needed, told_at + timedelta(seconds=2 * precision))
    if world.sealed_until is None or world.sealed_until < needed:
        sale.outcome = "waiting"
        return None
    named = _named(world, sale, clicks, ref, told_at, precision)
    for rule, found in named:
        if rule == "click_time" and len(dict(named).get("order_ref", [])) > 1:
            continue
        if len(found) == 1:
            click = found[0]
            agrees = click["program_id"] == sale.program["program_id"] and click["partner"] == lead["partner"]
            return _believe(sale, click, rule, agrees)
    return "ambiguous" if any(len(found) > 1 for _, found in named) else "unmatched"


def _programs(world: World, sale: Sale) -> list[Row]:
    lead = sale.lead
    return [
        one
        for one in world.programs
        if one["partner"] == lead["partner"]
        and one["partner_program_id"] == lead["partner_program_id"]
        and lead["program_id"] in (None, one["program_id"])
    ]


def _named(
    world: World, sale: Sale, clicks: dict[str, Row], ref: str | None, told_at: datetime | None, precision: int
) -> list[tuple[str, list[Row]]]:
    assert sale.program is not None
    folded = None if ref is None else unquote(ref.strip(" ")).strip(" ").replace(" ", "+").lower()
    bent = [
        click
        for name, click in clicks.items()
        if folded
        and (
            name.lower() == folded
            or (len(folded) in CUTS and len(name) > len(folded) and name.lower().startswith(folded))
        )
    ]
    ours = [
        click
        for click in clicks.values()
        if click["program_id"] == sale.program["program_id"] and click["partner"] == sale.lead["partner"]
    ]
    # A reference that contradicts a click keeps every other rule from it.
    ours = [click for click in ours if ref is None or click in bent]
    order_ref = sale.least("order_ref", sale.original)
    seen = {one["click_id"] for one in world.conversions if order_ref and one["order_ref"] == order_ref}
    ordered = [click for click in ours if click["click_id"] in seen]
    timed = []
    if told_at is not None and 1 <= precision <= 3600:
        step = timedelta(seconds=precision)
        timed = [click for click in ours if told_at - step <= click["clicked_at"] < told_at + 2 * step]
    return [("click_ref_repaired", bent), ("order_ref", ordered), ("click_time", timed)]


def _believe(sale: Sale, click: Row, rule: str, agrees: bool) -> str | None:
    assert sale.program is not None
    if not agrees:
        return "click_of_another_program"
    occurred = sale.lead["occurred_at"]
    if click["clicked_at"] > occurred and click["clicked_at"] >= sale.until:
        return "click_after_sale"
    if click["clicked_at"] < occurred - timedelta(days=sale.program["lookback_days"]):
        return "outside_window"
    sale.outcome, sale.rule, sale.click = "matched", rule, click
    return None
