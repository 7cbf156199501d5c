"""What partners tell on a day, drawn: orders with clicks, states that wander, refunds, and statements of money."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from tests.books.known import MEMBERS, PROGRAMS, Known
from tests.chain.dialects import ZONES
from tests.reconcile.naive import Delivery, Row
from tests.reconcile.worlds import click, row
from tests.remit.naive import Line, Remittance, _left, newest

CLICKS = ("own", "own", "own", "own", "own", "late", "none", "of somebody else")


def order(draw: st.DataObject, known: Known, partner: str) -> Row:
    """Draw a new order of the last days and, with it, its click; both become known facts."""
    number = len(known.orders) + 1
    sold_on = known.day - timedelta(days=draw.draw(st.sampled_from((1, 1, 2, 4))))
    occurred_at = datetime.combine(sold_on, time(10))
    amount = draw.draw(st.sampled_from((Decimal(100), Decimal("40.5"), Decimal("333.33"))))
    how = draw.draw(st.sampled_from(CLICKS))
    ref: str | None = f"c{number}"
    if how in ("own", "late"):
        late = timedelta(days=6 if how == "late" else 0)
        found = click(f"c{number}", program_id=f"p-{partner}", member_id=draw.draw(st.sampled_from(MEMBERS)))
        clicked_at = occurred_at - timedelta(hours=draw.draw(st.sampled_from((1, 30, 900))))
        # The tracker is read forward: what is new is committed now, or later.
        known.clicks.append(found | {"partner": partner, "clicked_at": clicked_at, "committed_at": known.now + late})
    elif how == "none":
        ref = None
    elif known.clicks:
        ref = str(draw.draw(st.sampled_from(known.clicks))["click_id"])
    told: Row = {
        "transaction_id": f"t{number}",
        "partner": partner,
        "partner_program_id": PROGRAMS[partner],
        "order_ref": f"o{number}" if partner == "rakuten" else draw.draw(st.sampled_from((None, "o-same"))),
        "click_ref": ref,
        "occurred_at": occurred_at,
        "occurred_precision_seconds": 60 if partner == "awin" else 1,
        "processed_at": occurred_at if partner == "rakuten" else None,
        "sale_amount": amount,
        "commission_amount": amount * draw.draw(st.sampled_from((Decimal("0.1"), Decimal("0.1"), Decimal("0.0777")))),
        "status": None if partner == "rakuten" else "pending",
        "currency": draw.draw(st.sampled_from(("EUR",) * 8 + ("GBP",))),
    }
    known.orders[told["transaction_id"]] = told
    return told


def state(draw: st.DataObject, known: Known, first: Row, number: int, observed_at: datetime) -> Row:
    """Draw what a partner says of an order now."""
    told = dict(first)
    share = draw.draw(st.sampled_from((Decimal(1),) * 5 + (Decimal("0.5"), Decimal(0))))
    if told["partner"] == "rakuten":
        if draw.draw(st.integers(0, 2)) == 2:
            back = draw.draw(st.integers(1, 2))
            told |= {"transaction_id": f"{first['transaction_id']}-back{back}", "kind": "adjustment"}
            told |= {name: -told[name] / back for name in ("sale_amount", "commission_amount")}
            told["processed_at"] = observed_at - timedelta(hours=5)
    else:
        told["status"] = draw.draw(st.sampled_from(("pending", "approved", "approved", "approved", "declined")))
        told["partner_paid"] = told["status"] == "approved" and draw.draw(st.booleans())
        told["payment_ref"] = draw.draw(st.sampled_from((None, "P-1"))) if told["partner_paid"] else None
        told["processed_at"] = draw.draw(st.sampled_from((None, observed_at - timedelta(days=1))))
        told |= {name: told[name] * share for name in ("sale_amount", "commission_amount")}
    if told["partner"] == "clocked":
        told["modified_at"] = draw.draw(st.sampled_from((None, observed_at, observed_at - timedelta(days=3))))
    for name in ("sale_amount", "commission_amount"):
        told[name] = told[name].quantize(Decimal("0.0001"))
    return row(told.pop("transaction_id"), number, **told)


def delivery(draw: st.DataObject, known: Known, partner: str) -> Delivery:
    """Draw an answer of a partner about new orders and old ones; it may have been observed some days ago."""
    new = [order(draw, known, partner) for _ in range(draw.draw(st.sampled_from((0, 1, 2, 3))))]
    old = [one for one in known.orders.values() if one["partner"] == partner and one not in new]
    again = (
        draw.draw(st.lists(st.sampled_from(old), max_size=3, unique_by=lambda one: one["transaction_id"]))
        if old
        else []
    )
    observed_at = known.tick()
    if not new and draw.draw(st.integers(0, 3)) == 3:
        observed_at -= timedelta(days=3)
    rows: list[Row] = []
    for one in (*new, *again):
        for _ in range(draw.draw(st.sampled_from((1, 1, 1, 1, 1, 2)))):
            if one["occurred_at"] < observed_at:
                rows.append(state(draw, known, one, len(rows) + 1, observed_at))
    zone = ZoneInfo(ZONES[partner])

    def midnight(days: int) -> datetime:
        day = known.day + timedelta(days=days)
        return datetime.combine(day, time(), zone).astimezone(UTC).replace(tzinfo=None)

    states_scope = partner != "rakuten" and draw.draw(st.integers(0, 4)) == 4
    name = f"{partner}/{len(known.deliveries) + 1}"
    return Delivery(name, f"{partner}_main", observed_at, rows, midnight(-15), midnight(1), states_scope)


def first_delivery(known: Known) -> Delivery:
    """Return an answer with an approved sale of each member, so that there is money to pay out from the first day."""
    rows = []
    occurred_at = datetime.combine(known.day - timedelta(days=2), time(10))
    for number, member in enumerate(MEMBERS, start=1):
        own = click(f"c{number}", program_id="p-clocked", member_id=member)
        times = {"clicked_at": occurred_at - timedelta(hours=1), "committed_at": known.now}
        known.clicks.append(own | {"partner": "clocked", **times})
        told: Row = {
            "partner": "clocked", "partner_program_id": PROGRAMS["clocked"], "click_ref": f"c{number}",
            "occurred_at": occurred_at, "status": "pending", "sale_amount": Decimal(100),
            "commission_amount": Decimal(10 * number),
        }  # fmt: skip
        known.orders[f"t{number}"] = {"transaction_id": f"t{number}", "currency": "EUR", **told}
        rows.append(row(f"t{number}", number, **(told | {"status": "approved"})))
    begin, end = occurred_at - timedelta(days=9), occurred_at + timedelta(days=9)
    return Delivery("clocked/1", "clocked_main", known.tick(), rows, begin, end, False)


def remittance(draw: st.DataObject, known: Known, account: str) -> Remittance:
    """Draw money that a partner paid, or says it will pay: for rows it names, for a payment, or a sum of a period."""
    assert known.last is not None
    worth = known.approved(account)
    mine = [one for one in newest(known.remittances) if one.account == account]
    corrected = draw.draw(st.sampled_from(mine)) if mine and draw.draw(st.integers(0, 3)) == 3 else None
    received_on = known.day - timedelta(days=draw.draw(st.integers(0, 3)))
    how = draw.draw(st.sampled_from(("rows", "rows", "reference", "period", "nothing")))
    period = None
    lines = [Line("commission", 123456, "unheard of")]
    if how == "rows" and worth:
        chosen = draw.draw(st.lists(st.sampled_from(sorted(worth)), min_size=1, max_size=3, unique=True))
        off = draw.draw(st.sampled_from((0, 0, 0, -40, -10000, 900)))
        # A statement that names a line names its transaction; rows here have no lines of their own.
        lines = [Line("commission", worth[one] + off, one[0]) for one in chosen]
    elif how == "reference":
        first: dict[str, int] = {}
        for each in sorted(known.last.facts.versions, key=lambda one: one.version_no):
            if each.payment_ref == "P-1" and each.sale_id.startswith(account) and not each.is_absent:
                first.setdefault(each.transaction_id, int(each.commission_amount * 10000))
        if first:
            lines = [Line("commission", sum(first.values()), payment_ref="P-1")]
    elif how == "period":
        period = (known.day - timedelta(days=draw.draw(st.integers(5, 40))), known.day)
        left = _left(known.last.facts, known.last.allocations, account, period[1], known.day)
        lines = [Line("commission", sum(amount for amount, _ in left.values()) or 7000)]
    if how != "period" and draw.draw(st.integers(0, 4)) == 4:
        lines.append(Line(*draw.draw(st.sampled_from((("fee", -2500), ("carry_forward", -5000), ("set_off", -1500))))))
    told = sum(line.amount for line in lines)
    is_received = draw.draw(st.integers(0, 7)) < 7
    bank = max(0, told // 100 * 100 + draw.draw(st.sampled_from((0, 0, 0, 0, 0, 5000))))
    return Remittance(
        account,
        corrected.remittance_id if corrected else f"R-{len({one.remittance_id for one in known.remittances}) + 1}",
        corrected.revision + 1 if corrected else 1,
        received_on if is_received else None,
        bank if is_received else None,
        tuple(lines),
        period,
    )


def replaced(one: Remittance, is_withheld: bool) -> Remittance:
    """Return a remittance whose money a person withholds, or not."""
    return replace(one, is_withheld=is_withheld)
