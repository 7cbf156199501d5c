"""What is amiss with sales in plain Python: amounts, rates, what happened to a row, what is told twice or never."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

from tests.reconcile.naive_facts import Key, Row, Sale, World, is_valid, local_day


def misses_rate(world: World, sale: Sale) -> bool:
    if world.rate_days is None or not sale.standing:
        return False
    needed = {sale.lead["currency"]}
    if sale.click is not None and sale.program is not None:
        needed |= {
            rule["currency"]
            for rule in world.rules
            if rule["program_id"] == sale.program["program_id"] and is_valid(rule, sale.click["clicked_at"])
        }
    sale_on = local_day(sale.lead["occurred_at"], world.books_zone)
    if sale_on + timedelta(days=5) >= world.day:
        return False
    for currency in needed - {world.base_currency}:
        days = world.rate_days.get(currency, set())
        if not days or min(days) > sale_on or max(days) <= sale_on:
            return True
    return False


def amounts_amiss(sale: Sale) -> list[tuple[str, Decimal | None]]:
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


def row_breaks(row: Row, chains: dict[Key, list[Row]]) -> list[tuple[str, datetime]]:
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


def losers_of(sales: list[Sale]) -> list[Sale]:
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


def is_possible(orphan: Sale, sale: Sale) -> bool:
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


def missing(world: World, sales: dict[str, Sale], clicks: dict[str, Row]) -> dict[tuple[Key, str], Decimal | None]:
    out: dict[tuple[Key, str], Decimal | None] = {}
    for one in world.conversions:
        click = clicks.get(one["click_id"]) if one["click_id"] is not None else None
        if click is None:
            continue
        valid = [
            program
            for program in world.programs
            if (program["program_id"], program["partner"]) == (click["program_id"], click["partner"])
            and is_valid(program, click["clicked_at"])
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
