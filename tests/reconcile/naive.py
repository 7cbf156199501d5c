"""The reconciliation in plain Python, row by row, from the words of docs/matching.md: what the SQL is compared with.

It shares no line with etl/ or sql/. It is slow on purpose: loops over everything, no index, no cleverness.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any
from urllib.parse import unquote

from tests.reconcile.naive_facts import (
    CUTS,
    Delivery,
    Key,
    Row,
    Sale,
    World,
    acts_at,
    local_day,
    standing,
    versions,
)

__all__ = ["Answer", "Delivery", "Key", "Row", "Sale", "World", "reconcile", "versions"]


OF_MATCHING = (
    "unmatched", "ambiguous", "click_of_another_program", "click_after_sale", "outside_window", "no_click_expected",
)  # fmt: skip


@dataclass
class Answer:
    versions: dict[Key, list[Row]]
    sales: dict[str, Sale]
    breaks: dict[tuple[Key, str], Decimal | None]
    held: set[str]
    # What a break says beside its money: the reference, the amounts, or when it happened to a row.
    seen: dict[tuple[Key, str], object] = field(default_factory=dict)


def reconcile(world: World) -> Answer:
    """Return versions, sales with their clicks, breaks with the money at stake, and the sales whose payout is held.

    A decision says by `answers` which break's evidence it saw: the key and kind, None if none of those there are; if it
    is of before what is told now, also the `amount` at stake then and what else was `seen`.
    """
    chains, conflicts = versions(world)
    current = [row for chain in chains.values() if (row := _current(chain)) is not None]
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in current:
        groups[row["sale_id"]].append(row)
    for rows in groups.values():
        _tell_moves(rows)
        _tell_corrections(rows)
    clicks: dict[str, Row] = {}
    for click in sorted(world.clicks, key=lambda c: (c["clicked_at"], c["partner"], c["program_id"], c["member_id"])):
        clicks.setdefault(click["click_id"], click)
    sales: dict[str, Sale] = {}
    breaks: dict[tuple[Key, str], Decimal | None] = {}
    # The sale that each break is about, and whether the break holds its payout.
    about: dict[tuple[Key, str], tuple[str, bool]] = {}
    seen: dict[tuple[Key, str], object] = {}

    def tell(key: Key, kind: str, amount: Decimal | None, sale_id: str, holds: bool) -> None:
        breaks[key, kind] = amount
        about[key, kind] = (sale_id, holds)

    for sale_id, rows in groups.items():
        lead = min(rows, key=_lead_rank)
        sale = sales[sale_id] = Sale(sale_id, rows, lead)
        kind = _match(world, sale, clicks)
        if kind is not None:
            tell(sale.key, kind, sale.net("commission_amount"), sale_id, kind == "unknown_program")
            seen[sale.key, kind] = sale.least("click_ref")
        for kind, amount in _money(sale):
            tell(sale.key, kind, amount, sale_id, True)
            seen[sale.key, kind] = (sale.net("sale_amount"), sale.net("commission_amount"))
        if _misses_rate(world, sale):
            tell(sale.key, "rate_missing", sale.net("commission_amount"), sale_id, True)
        for row in rows:
            for kind, when in _row_breaks(row, chains):
                tell(_key(row), kind, row["commission_amount"], sale_id, True)
                seen[_key(row), kind] = when
        paid = _paid(world, sale)
        if paid is not None and sale.outcome != "waiting" and (sale.click or {}).get("click_id") != paid["click_id"]:
            tell(sale.key, "match_would_change", sale.net("commission_amount"), sale_id, True)
    losers = _losers(list(sales.values()))
    for loser in losers:
        tell(loser.key, "duplicate", loser.net("commission_amount"), loser.sale_id, True)
    by_key = {_key(row): row for row in current}
    for key in conflicts:
        row = by_key.get(key)
        if row is None:
            breaks[key, "conflicting_versions"] = None
        else:
            tell(key, "conflicting_versions", row["commission_amount"], row["sale_id"], True)
    breaks |= _missing(world, sales, clicks)
    said = standing(world.decisions)
    for decision in said:
        answered = decision.get("answers")
        is_answer = decision["kind"] in ("accept_click", "no_cashback", "release_hold")
        if is_answer and answered in about and about[answered][0] == decision["sale_id"]:
            is_more = abs(breaks.get(answered) or 0) > abs(decision["amount"] or 0) if "amount" in decision else False
            if not is_more and decision.get("seen", seen.get(answered)) == seen.get(answered):
                breaks.pop(answered, None)
    held = {sale_id for told, (sale_id, holds) in about.items() if holds and told in breaks}
    for orphan in [one for one in sales.values() if (one.key, "reversal_without_original") in breaks]:
        held |= {sale.sale_id for sale in sales.values() if _is_possible(orphan, sale)}
    for loser in losers:
        loser.earns = False
    for sale in sales.values():
        # A click that money was paid out on stays until a person says otherwise.
        paid = _paid(world, sale)
        if paid is not None:
            sale.outcome, sale.rule, sale.click = "matched", paid["rule"], paid
        _decide(sale, said, clicks, (sale.key, "duplicate") in breaks)
        # A person accepted a click on what the break no longer says.
        if sale.rule == "decision" and any((sale.key, kind) in breaks for kind in OF_MATCHING):
            held.add(sale.sale_id)
    return Answer(chains, sales, breaks, held, seen)


def _lead_rank(row: Row) -> tuple[Any, ...]:
    reduces = row["is_moved"], row["is_reduction"], row["is_correction"]
    return *reduces, row["occurred_at"], row["transaction_id"], row["line_id"]


def _paid(world: World, sale: Sale) -> Row | None:
    mine = [one for one in world.settled if one["sale_id"] == sale.sale_id and one["rule"] != "decision"]
    return mine[0] if mine else None


def _key(row: Row) -> Key:
    return row["partner_account"], row["transaction_id"], row["line_id"]


def _decide(sale: Sale, standing_: list[Row], clicks: dict[str, Row], is_disputed: bool) -> None:
    """Let the last word of a person about the click of a sale count."""
    sale.member_id = None if sale.click is None else sale.click["member_id"]
    said = [
        one for one in standing_ if one["sale_id"] == sale.sale_id and one["kind"] in ("accept_click", "no_cashback")
    ]
    if not said:
        return
    last = max(said, key=lambda one: (acts_at(one), one["decision_id"]))
    if last["kind"] == "no_cashback":
        sale.earns = False
    elif last["click_id"] in clicks:
        sale.outcome, sale.rule, sale.click = "matched", "decision", clicks[last["click_id"]]
        sale.member_id = sale.click["member_id"]
        # A losing duplicate earns only if that very break was answered.
        sale.earns = sale.earns or not is_disputed


def _misses_rate(world: World, sale: Sale) -> bool:
    if world.rate_days is None or not sale.standing:
        return False
    needed = {sale.lead["currency"]}
    if sale.click is not None and sale.program is not None:
        needed |= {
            rule["currency"]
            for rule in world.rules
            if rule["program_id"] == sale.program["program_id"] and _valid(rule, sale.click["clicked_at"])
        }
    sale_on = local_day(sale.lead["occurred_at"], world.books_zone)
    if sale_on + timedelta(days=5) >= world.day:
        return False
    for currency in needed - {world.base_currency}:
        days = world.rate_days.get(currency, set())
        if not days or min(days) > sale_on or max(days) <= sale_on:
            return True
    return False


def _current(chain: list[Row]) -> Row | None:
    told = [row for row in chain if not row["is_absent"]]
    row = dict(told[-1])
    row["is_absent"] = chain[-1]["is_absent"]
    row["first_sale_amount"] = chain[0]["sale_amount"]
    row["is_reduction"] = chain[0]["sale_amount"] < 0 or chain[0]["commission_amount"] < 0
    return row


def _tell_moves(rows: list[Row]) -> None:
    """Say of each row whether it is of a key that the sale moved to; what has no alias moves with the others."""
    steps = []
    for row in rows:
        beside = [one["step"] for one in rows if one["partner_account"] == row["partner_account"]]
        known = [step for step in beside if step is not None]
        steps.append(row["step"] if row["step"] is not None else min(known, default=0))
    for row, step in zip(rows, steps, strict=True):
        row["is_moved"] = step > min(steps)


def _tell_corrections(rows: list[Row]) -> None:
    """Say of each row whether it takes back or states anew, and came later than the rows that make the sale."""
    for row in rows:
        row["is_restated"] = row["kind"] == "adjustment" and row["original_transaction_id"] is not None
    made = [
        row["processed_at"]
        for row in rows
        if not row["is_reduction"] and not row["is_restated"] and row["processed_at"] is not None
    ]
    for row in rows:
        begun = min(made) if made else row["occurred_at"]
        late = row["processed_at"] is not None and row["processed_at"] >= begun + timedelta(hours=1)
        is_adjustment = row["kind"] == "adjustment" and (not made or row["processed_at"] is None)
        row["is_correction"] = (row["is_reduction"] or row["is_restated"]) and (late or is_adjustment)


def _valid(program: Row, at: datetime | None) -> bool:
    if at is None or program["valid_from"] > at:
        return False
    return program["valid_until"] is None or at < program["valid_until"]


def _programs(world: World, sale: Sale) -> list[Row]:
    lead = sale.lead
    return [
        one
        for one in world.programs
        if one["partner"] == lead["partner"]
        and one["partner_program_id"] == lead["partner_program_id"]
        and lead["program_id"] in (None, one["program_id"])
    ]


def _match(world: World, sale: Sale, clicks: dict[str, Row]) -> str | None:
    """Set the outcome of a sale; return the kind of break it is, if any."""
    lead, told_at = sale.lead, sale.least("partner_clicked_at")
    known = _programs(world, sale)
    for at in (lead["occurred_at"], told_at):
        valid = sorted((one for one in known if _valid(one, at)), key=lambda p: p["program_id"])
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
        agreeing = [one for one in known if one["program_id"] == exact["program_id"] == one["program_id"]]
        agreeing = [one for one in agreeing if exact["partner"] == lead["partner"]]
        at_click = [one for one in agreeing if _valid(one, exact["clicked_at"])]
        at_sale = [one for one in agreeing if _valid(one, lead["occurred_at"])]
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


def _money(sale: Sale) -> list[tuple[str, Decimal | None]]:
    if sale.program is None or not sale.standing:
        return []
    reported = sale.net("commission_amount")
    currencies = {row["currency"] for row in sale.rows}
    if currencies != {sale.program["currency"]}:
        return [("currency_differs", reported)]
    rate = sale.program["commission_rate"]
    if rate is None or sale.lead["kind"] != "sale" or sale.is_orphan:
        return []
    contract = rate * sale.net("sale_amount")
    tolerance = max(Decimal("0.01"), Decimal("0.005") * len(sale.standing))
    return [("commission_differs", None)] if abs(reported - contract) > tolerance else []


def _row_breaks(row: Row, chains: dict[Key, list[Row]]) -> list[tuple[str, datetime]]:
    chain = chains[row["partner_account"], row["transaction_id"], row["line_id"]]
    kinds = [("vanished_at_partner", chain[-1]["observed_at"])] if row["is_absent"] else []
    told = [one for one in chain if not one["is_absent"]]
    moves = [
        (before, after)
        for before, after in pairwise(told)
        if (before["status"], before["partner_paid"]) != (after["status"], after["partner_paid"])
    ]
    if moves:
        before, after = moves[-1]
        if (
            (before["status"], after["status"]) == ("approved", "pending")
            or (before["partner_paid"] and not after["partner_paid"])
            or (before["status"] is not None and after["status"] is None)
        ):
            kinds.append(("illegal_status_change", after["observed_at"]))
    return kinds


def _losers(sales: list[Sale]) -> list[Sale]:
    competing = [
        sale
        for sale in sales
        if sale.program is not None and sale.standing and not sale.is_orphan and sale.first_amount > 0
    ]

    def rank(sale: Sale) -> tuple[Any, ...]:
        return sale.lead["occurred_at"], sale.lead["partner"], sale.lead["partner_account"], sale.sale_id

    return [one for one in competing if any(rank(other) < rank(one) and _is_same(other, one) for other in competing)]


def _is_same(first: Sale, second: Sale) -> bool:
    assert first.program is not None and second.program is not None
    if (first.program["merchant_id"], first.lead["currency"], first.first_amount) != (
        second.program["merchant_id"],
        second.lead["currency"],
        second.first_amount,
    ):
        return False
    order = first.least("order_ref", first.original)
    if order is not None and order == second.least("order_ref", second.original):
        return True
    ref = first.least("click_ref")
    if ref is None or ref != second.least("click_ref"):
        return False
    precisions = first.lead["occurred_precision_seconds"], second.lead["occurred_precision_seconds"]
    if max(precisions) > 3600:
        return False
    seconds = max(60, *precisions)
    return bool(second.lead["occurred_at"] - first.lead["occurred_at"] <= timedelta(seconds=seconds))


def _is_possible(orphan: Sale, sale: Sale) -> bool:
    same = ("partner_account", "partner_program_id", "currency")
    if sale.is_orphan or any(sale.lead[name] != orphan.lead[name] or sale.lead[name] is None for name in same):
        return False
    if sale.lead["occurred_at"] >= orphan.until:
        return False
    ref, order = orphan.least("click_ref", orphan.original), orphan.least("order_ref", orphan.original)
    whole = sum((row["first_sale_amount"] for row in orphan.original), Decimal(0))
    return (
        (ref is not None and ref == sale.least("click_ref"))
        or (order is not None and order == sale.least("order_ref", sale.original))
        or (whole != 0 and sale.first_amount == -whole)
    )


def _missing(world: World, sales: dict[str, Sale], clicks: dict[str, Row]) -> dict[tuple[Key, str], Decimal | None]:
    out: dict[tuple[Key, str], Decimal | None] = {}
    for one in world.conversions:
        click = clicks.get(one["click_id"]) if one["click_id"] is not None else None
        if click is None:
            continue
        valid = [
            program
            for program in world.programs
            if (program["program_id"], program["partner"]) == (click["program_id"], click["partner"])
            and _valid(program, click["clicked_at"])
        ]
        if not valid:
            continue
        program = max(valid, key=lambda p: p["valid_from"])
        lag = timedelta(days=max(program["lookback_days"], program["validation_days"] or 0))
        if one["occurred_at"] + lag >= datetime.combine(world.day, datetime.min.time()):
            continue
        if any(_tells(sale, one, click) for sale in sales.values()):
            continue
        accounts = [model["partner_account"] for model in world.models if model["partner"] == click["partner"]]
        out[(min(accounts, default=click["partner"]), one["conversion_id"], ""), "missing_at_partner"] = one["amount"]
    return out


def _tells(sale: Sale, conversion: Row, click: Row) -> bool:
    order = sale.least("order_ref", sale.original)
    if sale.click is not None and sale.click["click_id"] == click["click_id"]:
        return order is None or conversion["order_ref"] is None or order == conversion["order_ref"]
    is_program = sale.program is not None and sale.program["program_id"] == click["program_id"]
    return order is not None and order == conversion["order_ref"] and is_program
