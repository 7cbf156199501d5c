"""Random remittances over random sales, without a warehouse: the pipeline and the naive reference agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, astuple, replace
from datetime import date, timedelta

import pyarrow as pa
import pyarrow.compute as pc
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from etl.core.allocation import allocated, remittance_target, settled
from etl.core.configuration import Configuration, Entity, PartnerAccount
from etl.core.target import Facts
from etl.core.told import DECISION_FACT, KNOWN_ROW, LATE_ROW, LINE_FACT, REFERENCED_ROW, REMITTANCE_FACT, Told
from etl.core.write_off import WRITE_OFF
from tests.accrue import naive as accruing
from tests.accrue.books import ACCOUNTS, sale, version, world
from tests.accrue.test_properties import FIRST, LAST, _days, _facts
from tests.engine import ENGINE
from tests.remit import naive
from tests.remit.worlds import lost_ones, worlds

CONFIGURATION = Configuration(
    Entity("test", "EUR", "Europe/Berlin"),
    tuple(PartnerAccount(name, "awin", "test", "", "UTC", None, payable_on) for name, payable_on in ACCOUNTS.items()),
    (),
    (),
    "0" * 64,
)


def _told(facts: accruing.World, remittances: list[naive.Remittance], is_oldest_first: bool) -> Told:
    """Return the relations that the warehouse would give."""
    heads, lines, decisions = [], [], []
    highest = {(each.account, each.remittance_id): each.revision for each in naive.newest(remittances)}
    for one in remittances:
        key = {"partner_account": one.account, "remittance_id": one.remittance_id, "revision": one.revision}
        received = {"bank": "house_bank", "bank_amount_minor": one.bank_amount, "bank_currency": "EUR"}
        heads.append(
            {
                **key, "partner": "awin", "received_on": one.received_on, "currency": "EUR", "net_minor": 0,
                "coverage": "lines" if one.period is None else "period",
                "period_from": one.period and one.period[0], "period_until": one.period and one.period[1],
                **(received if one.received_on else {}),
            }
        )  # fmt: skip
        if highest[one.account, one.remittance_id] == one.revision:
            for number, each in enumerate(one.lines, start=1):
                told = {**asdict(each), "line_no": number, "amount_minor": each.amount, "currency": "EUR"}
                lines.append({**key, **told})
        if one.is_withheld:
            decisions.append({**key, "kind": "withhold"})
    known = {
        (each.sale_id.partition(":")[0], each.transaction_id, each.line_id, each.currency) for each in facts.versions
    }
    first: dict[tuple[str, str | None, str, str], int] = {}
    for each in sorted(facts.versions, key=lambda one: one.version_no):
        if each.payment_ref is not None and not each.is_absent:
            worth = int(each.commission_amount * 10000)
            account = each.sale_id.partition(":")[0]
            first.setdefault((account, each.payment_ref, each.transaction_id, each.line_id), worth)
    names = ("partner_account", "payment_ref", "transaction_id", "line_id")
    referenced = [
        {**dict(zip(names, key, strict=True)), "currency": "EUR", "commission_minor": worth}
        for key, worth in first.items()
    ]
    rows = [dict(zip(KNOWN_ROW.names, each, strict=True)) for each in sorted(known)]
    late = [
        {**dict(zip(LATE_ROW.names, (each.sale_id.partition(":")[0], each.transaction_id, each.line_id), strict=False)),
         "told_on": each.processed_on}
        for each in facts.versions
        if each.version_no == 1 and each.processed_on is not None and each.processed_on > each.effective_on
    ]  # fmt: skip
    return Told(
        pa.Table.from_pylist(heads, schema=REMITTANCE_FACT),
        pa.Table.from_pylist(lines, schema=LINE_FACT),
        pa.Table.from_pylist(decisions, schema=DECISION_FACT),
        pa.Table.from_pylist(rows, schema=KNOWN_ROW),
        pa.Table.from_pylist(referenced, schema=REFERENCED_ROW),
        pa.Table.from_pylist(late, schema=LATE_ROW),
        is_oldest_first,
    )


def _of_write_offs(lost: Sequence[naive.WriteOff]) -> pa.Table:
    rows = [
        {
            "sale_id": each.sale_id, "partner_account": each.sale_id.partition(":")[0], "currency": "EUR",
            "written_on": each.on, "amount_minor": each.amount, "approved_minor": each.approved,
        }
        for each in lost
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=WRITE_OFF)


def _parts(facts: Facts) -> list[Facts]:
    """Return the facts of every other sale, and those of the others."""
    sales = facts.sale["sale_id"].to_pylist()
    return [
        replace(facts, **{
            name: table.filter(pc.is_in(table["sale_id"], pa.array(sales[first::2], pa.string())))
            for name, table in (("version", facts.version), ("sale", facts.sale), ("payment", facts.payment))
        })
        for first in (0, 1)
    ]  # fmt: skip


def _agree(
    facts: accruing.World,
    remittances: list[naive.Remittance],
    day: date,
    is_oldest_first: bool,
    lost: Sequence[naive.WriteOff] = (),
) -> set[str]:
    """Assert that pipeline and reference say the same, and return the rules by which money found its sales."""
    engine, told = ENGINE, replace(_told(facts, remittances, is_oldest_first), write_off=_of_write_offs(lost))
    parts = _parts(_facts(facts))
    made = allocated(engine, lambda: parts, told, day)
    expected = naive.allocations(facts, remittances, day, is_oldest_first, lost)
    key_of = ("partner_account", "remittance_id", "line_no", "transaction_id", "line_id")
    value_of = ("amount_minor", "rule", "received_on", "funded_on")
    found = {
        tuple(row[name] for name in key_of): tuple(row[name] for name in value_of)
        for row in made.allocation.to_pylist()
    }
    assert found == expected
    assert _booked(remittance_target(engine, _facts(facts), told, made)) == naive.books(remittances, expected)
    paid = replace(facts, payments=naive.payments(facts, expected))
    # What accrue makes of payments, tests/accrue/test_properties.py tries.
    done = [settled(engine, each, told, made, CONFIGURATION, day) for each in parts]
    payments = [tuple(row.values()) for each in done for row in each.payment.to_pylist()]
    assert Counter(payments) == Counter(map(astuple, paid.payments))
    given_up = _booked(pa.concat_tables([each.write_off for each in done]))
    assert given_up == naive.write_offs(paid, lost, day)
    return {rule for _, rule, _, _ in expected.values()} | ({"write_off"} if given_up else set())


def _booked(flows: pa.Table) -> accruing.Books:
    """Return flows as sums by document, account and day."""
    books: accruing.Books = {}
    for flow in flows.to_pylist():
        for side, sign in (("debit", 1), ("credit", -1)):
            key = (
                flow["document_id"], flow[f"{side}_kind"], flow[f"{side}_owner"], flow["asset"], flow["effective_for"],
            )  # fmt: skip
            books[key] = books.get(key, 0) + sign * flow["amount"]
    return {key: amount for key, amount in books.items() if amount}


def test_allocations_and_books_are_what_the_naive_reference_says() -> None:
    seen: set[str] = set()

    @given(worlds(), _days(60, 90), st.booleans())
    @settings(
        max_examples=30,
        deadline=None,
        phases=(Phase.explicit, Phase.reuse, Phase.generate),
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        derandomize=True,
    )
    def agree(given_world: tuple[accruing.World, list[naive.Remittance]], day: date, is_oldest_first: bool) -> None:
        seen.update(_agree(*given_world, day, is_oldest_first))

    agree()
    # Which rules are drawn depends on what else is loaded; each is in a worked example.
    assert len(seen) > 1


def test_write_offs_and_what_is_paid_past_them_are_what_the_naive_reference_says() -> None:
    seen: set[str] = set()

    @given(worlds(), _days(60, 90), st.booleans(), st.data())
    @settings(
        max_examples=14,
        deadline=None,
        phases=(Phase.explicit, Phase.reuse, Phase.generate),
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        derandomize=True,
    )
    def agree(
        given_world: tuple[accruing.World, list[naive.Remittance]],
        day: date,
        is_oldest_first: bool,
        data: st.DataObject,
    ) -> None:
        seen.update(_agree(*given_world, day, is_oldest_first, data.draw(lost_ones(given_world[0]))))

    agree()
    assert seen


@st.composite
def _months(draw: st.DrawFn) -> tuple[accruing.World, list[naive.Remittance]]:
    """Return sales that the partner processed when it liked, and two lump sums that pay all it knew of by then."""
    versions = []
    for place in range(draw(st.integers(1, 4))):
        on = draw(_days(0, 45))
        name = {"sale_id": f"shop_a:{place}", "transaction_id": str(place), "line_id": ""}
        processed_on = draw(st.none() | _days(0, 60))
        amount = str(draw(st.integers(1, 9)))
        versions.append(version(amount, "approved", **name, effective_on=on, processed_on=processed_on))
        if draw(st.booleans()):
            later = {**name, "version_no": 2, "effective_on": on + timedelta(days=draw(st.integers(0, 30)))}
            versions.append(version(amount, draw(st.sampled_from(("declined", "approved"))), **later))
    facts = world(versions, sales=[sale(name) for name in sorted({each.sale_id for each in versions})])
    cut = draw(_days(10, 50))
    found: list[naive.Remittance] = []
    for place, (begin, until) in enumerate([(FIRST, cut), (cut, cut + timedelta(days=30))]):
        out = naive.allocations(facts, found, LAST, False)
        left = naive._left(facts, out, "shop_a", until, LAST)
        whole = sum(amount for amount, on in left.values() if on >= begin)
        if whole > 0:
            lines = (naive.Line("commission", whole),)
            found.append(naive.Remittance("shop_a", f"R-{place}", 1, until, whole, lines, (begin, until)))
    return facts, found


def test_lump_sums_pay_what_the_partner_knew_of_when_it_sent_them() -> None:
    @given(_months())
    @settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
    def agree(months: tuple[accruing.World, list[naive.Remittance]]) -> None:
        facts, remittances = months
        assert _agree(facts, remittances, LAST, False) <= {"period"}

    agree()
