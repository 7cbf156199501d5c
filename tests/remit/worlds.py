"""Random sales, remittances and write-offs for the properties of remit."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

from hypothesis import strategies as st

from tests.accrue import naive as accruing
from tests.accrue.books import world
from tests.accrue.test_properties import LAST, _days, _sale
from tests.remit import naive

REFERENCES = ("P-1", "P-1", "P-2", None)


@st.composite
def _line(draw: st.DrawFn, versions: list[accruing.Version]) -> naive.Line:
    row = draw(st.sampled_from(versions))
    worth = int(row.commission_amount * 10000)
    amount = draw(st.sampled_from((worth, worth, worth - 40, worth + 900, 12345)))
    kind = draw(st.sampled_from((*["commission"] * 6, "adjustment", "fee", "carry_forward")))
    if kind == "fee":
        return naive.Line("fee", -draw(st.integers(1, 9999)))
    if kind == "carry_forward":
        return naive.Line(kind, draw(st.sampled_from((-50000, 50000))))
    named = draw(st.sampled_from(("transaction", "line", "reference", "reference", "reference", "unknown")))
    if named == "reference":
        first: dict[tuple[str, str], int] = {}
        account = row.sale_id.partition(":")[0]
        for each in versions:
            if each.payment_ref == "P-1" and each.sale_id.startswith(account) and not each.is_absent:
                worth = int(each.commission_amount * 10000)
                first.setdefault((each.transaction_id, each.line_id), worth)
        off = draw(st.sampled_from((0, 0, 37, 40000)))
        return naive.Line("commission", sum(first.values()) + off, payment_ref="P-1")
    if named == "unknown":
        return naive.Line(kind, amount, transaction_id="unheard of")
    return naive.Line(kind, amount, row.transaction_id, row.line_id if named == "line" else None)


@st.composite
def _remittance(draw: st.DrawFn, place: int, facts: accruing.World) -> list[naive.Remittance]:
    """Return a remittance in one or two revisions."""
    account = draw(st.sampled_from(sorted({each.partner_account for each in facts.sales} | {"shop_a"})))
    mine = [each for each in facts.versions if each.sale_id.startswith(account)]
    found = []
    for revision in range(1, draw(st.sampled_from((2, 2, 3)))):
        received_on = draw(_days(5, 80))
        period = None
        lines = [draw(_line(mine))] if mine else [naive.Line("commission", 70000, "unheard of")]
        if mine and draw(st.booleans()):
            lines.append(draw(_line(mine)))
        if draw(st.integers(0, 2)):
            begin = draw(_days(-5, 50))
            period = (begin, begin + timedelta(days=draw(st.integers(5, 60))))
            left = naive._left(facts, {}, account, period[1], LAST)
            since = draw(st.sampled_from((period[0], date.min, date.min)))
            whole = sum(amount for amount, on in left.values() if on >= since)
            lines = [naive.Line("commission", whole + draw(st.sampled_from((0, 0, 0, 55, 90000, 90000))))]
        told = sum(line.amount for line in lines)
        bank = max(0, told // 100 * 100 + draw(st.sampled_from((0, 0, 0, 0, 0, 0, 100, 5000))))
        is_told_only = draw(st.integers(0, 7)) == 7
        found.append(
            naive.Remittance(
                account,
                f"R-{place}",
                revision,
                None if is_told_only else received_on,
                None if is_told_only else bank,
                tuple(lines),
                period,
                draw(st.integers(0, 9)) == 9,
            )
        )
    return found


@st.composite
def worlds(draw: st.DrawFn) -> tuple[accruing.World, list[naive.Remittance]]:
    """Return sales in EUR, some rows with a payment's reference, and up to four remittances."""
    sales = [draw(_sale(place)) for place in range(draw(st.integers(1, 3)))]
    versions = tuple(
        replace(
            each,
            currency="EUR",
            payment_ref=draw(st.sampled_from(REFERENCES)),
            status=draw(st.sampled_from(("approved", "approved", "approved", "pending", "declined", None))),
        )
        for _, rows in sales
        for each in rows
    )
    programs = (accruing.Program("p1", None, None), accruing.Program("p2", None, draw(st.integers(0, 40))))
    facts = world(versions, sales=tuple(found for found, _ in sales), programs=programs)
    remittances = [each for place in range(draw(st.integers(1, 4))) for each in draw(_remittance(place, facts))]
    return facts, remittances


@st.composite
def lost_ones(draw: st.DrawFn, facts: accruing.World) -> list[naive.WriteOff]:
    """Return what people wrote off: of what was open then, or of something they saw that is no more."""
    found = []
    for one in draw(st.lists(st.sampled_from(facts.sales), max_size=2)):
        worth = sum(int(each.commission_amount * 10000) for each in facts.versions if each.sale_id == one.sale_id)
        amount = draw(st.sampled_from((max(1, worth), max(1, worth // 2), 7000)))
        found.append(naive.WriteOff(one.sale_id, draw(_days(5, 80)), amount, draw(st.sampled_from((worth, 90000)))))
    return found
