"""Random small worlds of the whole chain: what partners report, what we tracked, what people say of it."""

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
from tests.reconcile.worlds import alias, at, click, conversion, program, row

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
CHANGED_AT = at("03-01 10:00:10")
OVERLAP = timedelta(hours=6)


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


@dataclass(frozen=True)
class World:
    """All that comes in, and the day the books are kept for. `reports` differ in what identifies them."""

    reports: tuple[Report, ...]
    clicks: tuple[Row, ...]
    conversions: tuple[Row, ...]
    programs: tuple[Row, ...]
    rules: tuple[Row, ...]
    rates: dict[tuple[str, date], Decimal]
    tracked_until: datetime
    day: date
    decisions: tuple[Row, ...] = ()
    aliases: tuple[Row, ...] = ()


instants = st.sampled_from(INSTANTS)


def decimals(least: str, most: str, places: int) -> st.SearchStrategy[Decimal]:
    """Return exact decimals between two."""
    return st.decimals(Decimal(least), Decimal(most), places=places, allow_nan=False)


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


@st.composite
def programs(draw: st.DrawFn) -> list[Row]:
    """Draw seven programs; the terms of one change at an instant between two sales."""

    def drawn(program_id: str, partner: str, number: str, **changed: Any) -> Row:
        return program(
            program_id,
            partner,
            partner_program_id=number,
            merchant_id=draw(st.sampled_from(["m1", "m2"])),
            currency=draw(st.sampled_from(["EUR", "EUR", "GBP"])),
            commission_rate=draw(st.sampled_from([None, Decimal("0.100000"), Decimal("0.080000")])),
            validation_days=draw(st.sampled_from([None, 0, 10])),
            lookback_days=draw(st.sampled_from([1, 30, 30])),
            **changed,
        )

    return [
        drawn("p1", AWIN, "9001"),
        drawn("p2", AWIN, "9002", valid_until=CHANGED_AT),
        drawn("p2", AWIN, "9002", valid_from=CHANGED_AT),
        drawn("p3", TRADETRACKER, "777"),
        drawn("p4", RAKUTEN, "41000"),
        drawn("p5", CLOCKED, "P5"),
        drawn("p6", KELKOO, "fr"),
        drawn("p7", CJ, "41001"),
    ]


@st.composite
def rules(draw: st.DrawFn) -> list[Row]:
    """Draw how sales of each program become cashback; one program changes its rule."""
    out = []
    for program_id, begin, end in (
        ("p1", at("01-01"), at("03-01 09:00")),
        ("p1", at("03-01 09:00"), None),
        *((name, at("01-01"), None) for name in ("p2", "p3", "p4", "p5", "p6", "p7")),
    ):
        basis = draw(st.sampled_from(["commission_share", "commission_share", "sale_rate", "fixed"]))
        span = {"commission_share": ("0.1", "1.1", 3), "sale_rate": ("0.001", "0.1", 6), "fixed": ("0.01", "9", 4)}
        out.append(
            {
                "rule_id": f"r-{program_id}-{begin:%m%d}",
                "program_id": program_id,
                "basis": basis,
                "value": draw(decimals(*span[basis])),
                "cap": draw(st.none() | decimals("0.5", "20", 2)),
                "currency": draw(st.sampled_from(["EUR", "EUR", "EUR", "JPY"])),
                "rounding": draw(st.sampled_from(["half_even", "half_up"])),
                "valid_from": begin,
                "valid_until": end,
                "commission_group": None,
                "component": "cashback",
            }
        )
    return out


@st.composite
def aliases(draw: st.DrawFn, known: list[Row]) -> list[Row]:
    """Draw orders that moved from one partner to another, once or twice, or did not after all."""
    named = sorted(
        {f"{order['partner']}_main:{order['transaction_id']}" for order in known if "transaction_id" in order}
    )
    keys = draw(st.permutations(named))
    days = ["03-01", "03-04", "03-07"]
    moves = [alias(f"m{place}", *keys[place : place + 2], days[place]) for place in range(min(len(keys) - 1, 2))]
    told = moves[: draw(st.sampled_from([0, 0, 1, 2]))]
    return told + [each | {"revision": 2, "state": "void"} for each in told if draw(st.integers(0, 3)) == 3]


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Draw a world; few values, so that keys, references and instants meet."""
    partners = draw(st.lists(st.sampled_from(sorted(NUMBERS)), min_size=4, max_size=8))
    known = [draw(orders(partner, number)) for number, partner in enumerate(partners, start=1)]
    told = draw(st.lists(reports(known), min_size=3, max_size=8))
    own = draw(programs())
    of_partner = {one["program_id"]: one["partner"] for one in own}
    clicks: list[Row] = []
    for name in draw(st.permutations(REFS))[: draw(st.sampled_from([3, 6, 6, 7]))]:
        # Mostly before a sale whose reference it is, or that has none, and of its program, so that some sales earn.
        meant = [
            (one["program_id"], order["occurred_at"])
            for order in known
            for one in own
            if order["click_ref"] == name or BENT.get(order["click_ref"]) == name
            if order["partner_program_id"] == one["partner_program_id"]
        ] or [
            (one["program_id"], order["occurred_at"])
            for order in known
            for one in own
            if order["click_ref"] is None and order["partner_program_id"] == one["partner_program_id"]
        ]
        program_id, sold_at = draw(st.sampled_from(meant * 8 + [(one, INSTANTS[-1]) for one in sorted(of_partner)]))
        before = [moment for moment in [at("02-27 12:00"), at("03-01 09:00")] if moment <= sold_at]
        moment = draw(st.sampled_from(before * 8 + INSTANTS))
        late = timedelta(hours=draw(st.sampled_from([0, 0, 0, 0, 3, 100])))
        clicks.append(
            click(name, program_id=program_id)
            | {"partner": of_partner[program_id], "clicked_at": moment, "committed_at": moment + late}
        )
    conversions = draw(
        st.lists(
            st.builds(
                lambda name, click_id, order_ref: (
                    conversion(name, click_id, order_ref) | {"committed_at": at("03-01 10:00")}
                ),
                st.sampled_from(["v1", "v2", "v3"]),
                st.sampled_from([*(one["click_id"] for one in clicks), None]),
                st.sampled_from(["o1", "o2", None]),
            ),
            max_size=3,
            unique_by=lambda one: one["conversion_id"],
        )
    )
    rates = {
        (currency, on): draw(decimals(*span))
        for currency, span in {"GBP": ("0.83", "0.88", 5), "JPY": ("150", "175", 2)}.items()
        for on in sorted(draw(st.sets(st.sampled_from([date(2026, 2, 26), *_DAYS]), min_size=1, max_size=4)))
    }
    return World(
        tuple({(one.account, one.window, one.observed_at, one.network, repr(one.rows)): one for one in told}.values()),
        tuple(clicks),
        tuple(conversions),
        tuple(own),
        tuple(draw(rules())),
        rates,
        draw(st.sampled_from([at("03-01 18:00"), at("03-12"), at("03-12")])),
        draw(st.sampled_from([date(2026, 3, 7), date(2026, 3, 12), date(2026, 4, 20)])),
        aliases=tuple(draw(aliases(known))),
    )


_DAYS = [date(2026, 2, 27), date(2026, 3, 1), date(2026, 3, 2), date(2026, 3, 5)]


@dataclass(frozen=True)
class Pick:
    """What a person will decide once there are breaks: about which of them, counted round and round."""

    break_no: int
    kind: str
    click_no: int
    is_stale: bool
    is_less: bool
    decided_at: datetime
    # None: nobody agreed, which matters only where somebody must.
    agreed_at: datetime | None
    is_proposed: bool


_days = st.sampled_from([at("03-20"), at("03-21"), at("03-21")])
picks = st.builds(
    Pick,
    st.integers(0, 50),
    st.sampled_from(
        ["accept_click", "accept_click", "no_cashback", "release_hold", "release_hold", "undo", "wait", "dispute"]
    ),
    st.integers(0, 7),
    st.sampled_from([False, False, False, True]),
    st.sampled_from([False, False, False, True]),
    _days,
    st.sampled_from([None, None, None, at("03-20 12:00"), at("03-22")]),
    st.sampled_from([False, False, False, True]),
)
