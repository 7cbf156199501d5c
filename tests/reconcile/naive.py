"""The reconciliation in plain Python, row by row, from the words of docs/matching.md: what the SQL is compared with.

It shares no line with etl/ or sql/. It is slow on purpose: loops over everything, no index, no cleverness. What
partners said is read in naive_facts, the click is looked for in naive_match, what is amiss is told in naive_amiss.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any

from tests.reconcile.naive_amiss import amounts_amiss, is_possible, losers_of, misses_rate, missing, row_breaks
from tests.reconcile.naive_facts import Delivery, Key, Row, Sale, World, acts_at, standing, versions
from tests.reconcile.naive_match import match

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
        kind = match(world, sale, clicks)
        if kind is not None:
            tell(sale.key, kind, sale.net("commission_amount"), sale_id, kind == "unknown_program")
            seen[sale.key, kind] = sale.least("click_ref")
        for kind, amount in amounts_amiss(sale):
            tell(sale.key, kind, amount, sale_id, True)
            seen[sale.key, kind] = (sale.net("sale_amount"), sale.net("commission_amount"))
        if misses_rate(world, sale):
            tell(sale.key, "rate_missing", sale.net("commission_amount"), sale_id, True)
        for row in rows:
            for kind, when in row_breaks(row, chains):
                tell(_key(row), kind, row["commission_amount"], sale_id, True)
                seen[_key(row), kind] = when
        paid = _paid(world, sale)
        if paid is not None and sale.outcome != "waiting" and (sale.click or {}).get("click_id") != paid["click_id"]:
            tell(sale.key, "match_would_change", sale.net("commission_amount"), sale_id, True)
    losers = losers_of(list(sales.values()))
    for loser in losers:
        tell(loser.key, "duplicate", loser.net("commission_amount"), loser.sale_id, True)
    by_key = {_key(row): row for row in current}
    for key in conflicts:
        row = by_key.get(key)
        if row is None:
            breaks[key, "conflicting_versions"] = None
        else:
            tell(key, "conflicting_versions", row["commission_amount"], row["sale_id"], True)
    breaks |= missing(world, sales, clicks)
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
        held |= {sale.sale_id for sale in sales.values() if is_possible(orphan, sale)}
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
