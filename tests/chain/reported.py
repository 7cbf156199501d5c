"""What partners report in random small worlds: few orders, told anew, corrected, broken and left out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import Any

from hypothesis import strategies as st

from etl.core.connector import Window
from tests.reconcile.naive import Row
from tests.reconcile.worlds import at, row

AWIN, CJ, CLOCKED, KELKOO, RAKUTEN, TRADETRACKER = "awin", "cj", "clocked", "kelkoo", "rakuten", "tradetracker"
REFS = ["abcdefghijklmnopQRST", "abcdefghijklmnopQRSX", "Zz+9/x=1234567890aaa", "late", "LATE", "plain-1", "plain-2"]
# What a partner makes of a reference, and whose it was; the last one is nobody's.
BENT = {
    REFS[0][:16]: REFS[0],
    REFS[2].lower(): REFS[2],
    "Zz%2B9%2Fx%3D1234567890aaa": REFS[2],
    "LaTe": "late",
    "nobodys-reference": "",
}
INSTANTS = [
    at(text)
    for text in ("02-27 23:30", "03-01 08:59", "03-01 09:00", "03-01 10:00", "03-01 10:00:20", "03-01 22:50", "03-04")
]
WINDOWS = [Window(date(2026, 2, 27), date(2026, 3, 10)), Window(date(2026, 3, 1), date(2026, 3, 2))]
# Which of the number's programs is meant depends on the day; the third is nobody's.
NUMBERS = {
    AWIN: ["9001", "9002", "9009"],
    TRADETRACKER: ["777"],
    RAKUTEN: ["41000"],
    CLOCKED: ["P5"],
    KELKOO: ["fr"],
    CJ: ["41001"],
}
NETWORKS = {"3": "GBP", "9": "EUR"}
# Days in Paris, as Kelkoo sums them.
KELKOO_DAYS = {"2026-02-28": at("02-27 23:00"), "2026-03-01": at("02-28 23:00"), "2026-03-02": at("03-01 23:00")}
instants = st.sampled_from(INSTANTS)


@dataclass(frozen=True)
class Report:
    """One answer of a partner: its rows in the order of the file; a row whose `fault` is named is broken there."""

    account: str
    window: Window
    observed_at: datetime
    rows: tuple[Row, ...]
    states_scope: bool = True
    network: str = "9"
    is_released: bool = False


@st.composite
def orders(draw: st.DrawFn, partner: str, number: int) -> Row:
    """Draw what a row of a partner says at first."""
    if partner == KELKOO:
        return draw(totals(number))
    amount = draw(st.sampled_from([Decimal(100), Decimal("40.5"), Decimal("1234.5")]))
    clicked_at = draw(st.sampled_from([None, None, at("03-01 09:00"), at("03-01 08:59:30")]))
    has_clock = partner in (AWIN, CJ, TRADETRACKER)
    occurred_at = draw(instants)
    return {
        "transaction_id": f"t{number}",
        "partner": partner,
        "kind": draw(st.sampled_from(["sale", "sale", "sale", "lead"])) if has_clock else "sale",
        "order_ref": draw(st.sampled_from([None, "o1", "o2"])),
        "partner_program_id": draw(st.sampled_from(NUMBERS[partner][:1] * 3 + NUMBERS[partner])),
        "click_ref": draw(st.sampled_from([REFS[number % len(REFS)]] * 12 + [None] * 4 + [*REFS, *BENT])),
        "partner_clicked_at": clicked_at if has_clock else None,
        "partner_clicked_precision_seconds": (
            {AWIN: 60, CJ: 1, TRADETRACKER: 1}[partner] if has_clock and clicked_at else None
        ),
        "occurred_at": occurred_at.replace(second=0) if partner == AWIN else occurred_at,
        "occurred_precision_seconds": 60 if partner == AWIN else 1,
        "processed_at": None if has_clock and partner != CJ else occurred_at,
        "original_transaction_id": f"action{number}" if partner == CJ else None,
        "sale_amount": amount,
        "commission_amount": amount * draw(st.sampled_from([Decimal("0.1"), Decimal("0.1"), Decimal("0.0777")])),
        "status": None if partner == RAKUTEN else "pending",
        "currency": draw(st.sampled_from(["EUR", "EUR", "EUR", "GBP"])),
    }


@st.composite
def totals(draw: st.DrawFn, number: int) -> Row:
    """Draw the sum of a day: it has no id, and no sale but clicks."""
    commission = draw(st.sampled_from([Decimal("1.5"), Decimal("1.5"), Decimal("2.0777"), Decimal("-0.5")]))
    return {
        "partner": KELKOO,
        "kind": "lead",
        "order_ref": None,
        "partner_program_id": "fr",
        "click_ref": draw(st.sampled_from([*REFS[:2], REFS[number % len(REFS)], None])),
        "occurred_at": draw(st.sampled_from(sorted(KELKOO_DAYS.values()))),
        "occurred_precision_seconds": 86_400,
        "sale_amount": Decimal("0.0000"),
        "commission_amount": commission.quantize(Decimal("0.0001")),
        "status": None,
    }


@st.composite
def told_totals(draw: st.DrawFn, order: Row, number: int) -> Row:
    """Draw what an answer says of the sum of a day."""
    told = dict(order)
    if draw(st.integers(0, 2)) == 2:
        told["commission_amount"] = draw(st.sampled_from([Decimal("1.0000"), Decimal("0.0000"), Decimal("-2.0000")]))
    day = next(day for day, begin in KELKOO_DAYS.items() if begin == told["occurred_at"])
    ref = told["click_ref"] or ""
    # A reference that is no name of our own making is in the key as its hash.
    key = (
        ref if re.fullmatch("[A-Za-z0-9][A-Za-z0-9._:/-]*", ref) or not ref else "~" + sha256(ref.encode()).hexdigest()
    )
    fault = draw(st.sampled_from([None] * 12 + ["key", "amount", "amount"]))
    return row(f"{day}/fr/{key}", number, **told) | {"fault": fault}


@st.composite
def states(draw: st.DrawFn, order: Row, number: int) -> Row:
    """Draw what a partner says of an order at some moment, and in which line of the file."""
    partner = order["partner"]
    if partner == KELKOO:
        return draw(told_totals(order, number))
    told = dict(order)
    if partner == RAKUTEN:
        # What takes back is a row of its own, of the same order and time.
        if draw(st.integers(0, 3)) == 3:
            told |= {"transaction_id": f"{order['transaction_id']}-back", "sale_amount": -order["sale_amount"]}
            told["commission_amount"] = -order["commission_amount"]
            told["processed_at"] = draw(st.sampled_from([told["occurred_at"], at("03-05 12:00")]))
        late = told["processed_at"] >= told["occurred_at"] + timedelta(hours=1)
        told["kind"] = "adjustment" if told["sale_amount"] < 0 and late else "sale"
    elif partner == CJ:
        # A restatement is two records of the same action: all of it back, and what it is now.
        change = draw(st.sampled_from(["", "", "back", "now"]))
        if change:
            factor = {"back": Decimal(-1), "now": Decimal("0.5")}[change]
            told |= {"transaction_id": f"{order['transaction_id']}-{change}", "kind": "adjustment"}
            told |= {name: order[name] * factor for name in ("sale_amount", "commission_amount")}
            told["processed_at"] = draw(st.sampled_from([told["occurred_at"], at("03-05 12:00")]))
        told["status"] = draw(st.sampled_from(["pending", "approved"]))
        told["raw_status"] = {"pending": "new", "approved": "locked"}[told["status"]]
    else:
        told["status"] = draw(st.sampled_from(["pending", "approved", "approved", "declined"]))
        told["raw_status"] = told["status"]
        told["processed_at"] = draw(st.sampled_from([None, at("03-03 12:00"), at("03-05 23:30")]))
        told["partner_paid"] = told["status"] == "approved" and draw(st.booleans())
        if draw(st.integers(0, 5)) == 5:
            told["reason"] = draw(st.sampled_from(["coupon", "returned goods"]))
        if draw(st.integers(0, 4)) == 4:
            told["sale_amount"] = order["sale_amount"] / 2
            told["commission_amount"] = order["commission_amount"] / 2
    if partner == CLOCKED:
        told["modified_at"] = draw(st.sampled_from([None, at("03-02 08:00"), at("03-02 08:00:30"), at("03-05 23:30")]))
        told["line_id"] = draw(st.sampled_from(["", "", "b"]))
    if draw(st.integers(0, 7)) == 7:
        told["occurred_at"] = draw(instants).replace(second=0)
        if partner in (RAKUTEN, CJ):
            told["processed_at"] = max(told["processed_at"], told["occurred_at"])
        if partner == RAKUTEN:
            late = told["processed_at"] >= told["occurred_at"] + timedelta(hours=1)
            told["kind"] = "adjustment" if told["sale_amount"] < 0 and late else "sale"
    if draw(st.integers(0, 5)) == 5:
        told["click_ref"] = draw(st.sampled_from([None, *REFS]))
    for name in ("sale_amount", "commission_amount"):
        told[name] = told[name].quantize(Decimal("0.0001"))
    faults = ["key", "amount", "amount"] if partner != CLOCKED else ["amount"]
    fault = draw(st.sampled_from([None] * 12 + faults))
    return row(told.pop("transaction_id"), number, **told) | {"fault": fault}


@st.composite
def reports(draw: st.DrawFn, known: list[Row]) -> Report:
    """Draw an answer about some of the orders of one partner."""
    partner = draw(st.sampled_from(sorted({order["partner"] for order in known})))
    own = [order for order in known if order["partner"] == partner]
    rows: list[Row] = []
    for order in own:
        for _ in range(draw(st.sampled_from([0, 1, 1, 1, 1, 2]))):
            rows.append(draw(states(order, len(rows) + 1)))
    network = draw(st.sampled_from(sorted(NETWORKS)))
    if partner in (RAKUTEN, KELKOO, CJ):
        # One answer is of one network, or was asked for in one currency, which tells the currency.
        rows = [retold(each, currency=NETWORKS[network]) for each in rows]
    observed_at = at("03-06 08:00") + timedelta(days=draw(st.integers(0, 3)), hours=draw(st.sampled_from([0, 15])))
    return Report(
        f"{partner}_main",
        draw(st.sampled_from([*WINDOWS[:1] * 4, *WINDOWS])),
        observed_at,
        tuple(rows),
        states_scope={RAKUTEN: False, CJ: False, CLOCKED: draw(st.booleans())}.get(partner, True),
        network=network,
        is_released=draw(st.booleans()),
    )


def retold(told: Row, **changed: Any) -> Row:
    """Return a row that says something else; its hash follows."""
    plain = {name: value for name, value in told.items() if name not in ("fault", "content_hash", "partner_account")}
    plain |= changed
    return row(plain.pop("transaction_id"), plain.pop("row_number"), **plain) | {"fault": told["fault"]}
