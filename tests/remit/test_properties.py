"""Random remittances over random sales: the pipeline and the naive reference agree, whatever came first."""

from __future__ import annotations

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import psycopg
import pyarrow as pa
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from etl.accrue import accrue
from etl.core.allocation import allocated, remittance_target
from etl.core.engine import Engine
from etl.core.told import DECISION_FACT, KNOWN_ROW, LATE_ROW, LINE_FACT, REFERENCED_ROW, REMITTANCE_FACT, Told
from etl.core.write_off import WRITE_OFF, write_off_target
from etl.remit import remit
from etl.verify import verify
from tests.accrue import naive as accruing
from tests.accrue.books import context, read, sale, version, world, write
from tests.accrue.test_properties import FIRST, LAST, _days, _facts, _sale, _target_books
from tests.remit import naive
from tests.remit.statements import load, statement

NOW = datetime.fromisoformat("2026-06-20T12:00")
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


@st.composite
def _lost(draw: st.DrawFn, facts: accruing.World) -> list[naive.WriteOff]:
    """Return what people wrote off: of what was open then, or of something they saw that is no more."""
    found = []
    for one in draw(st.lists(st.sampled_from(facts.sales), max_size=2)):
        worth = sum(int(each.commission_amount * 10000) for each in facts.versions if each.sale_id == one.sale_id)
        amount = draw(st.sampled_from((max(1, worth), max(1, worth // 2), 7000)))
        found.append(naive.WriteOff(one.sale_id, draw(_days(5, 80)), amount, draw(st.sampled_from((worth, 90000)))))
    return found


def _of_write_offs(lost: Sequence[naive.WriteOff]) -> pa.Table:
    rows = [
        {
            "sale_id": each.sale_id, "partner_account": each.sale_id.partition(":")[0], "currency": "EUR",
            "written_on": each.on, "amount_minor": each.amount, "approved_minor": each.approved,
        }
        for each in lost
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=WRITE_OFF)


def _agree(
    facts: accruing.World,
    remittances: list[naive.Remittance],
    day: date,
    is_oldest_first: bool,
    lost: Sequence[naive.WriteOff] = (),
) -> set[str]:
    """Assert that pipeline and reference say the same, and return the rules by which money found its sales."""
    engine, told = Engine(), replace(_told(facts, remittances, is_oldest_first), write_off=_of_write_offs(lost))
    made = allocated(engine, _facts(facts), told, day)
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
    assert _target_books(paid, day) == accruing.books(paid, day)
    given_up = _booked(write_off_target(engine, _facts(facts), told.write_off, made.row_state, made.payment))
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
        seen.update(_agree(*given_world, day, is_oldest_first, data.draw(_lost(given_world[0]))))

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


def _statements(one: naive.Remittance) -> list[dict[str, str]]:
    """Return the rows of a file that tells of a remittance."""

    def told(minor: int) -> str:
        return str(Decimal(minor) / 10000)

    net = sum(line.amount for line in one.lines if line.kind in ("commission", "adjustment"))
    head = {
        "remittance_id": one.remittance_id,
        "revision": str(one.revision),
        "received_on": "" if one.received_on is None else one.received_on.isoformat(),
        "bank": "" if one.received_on is None else "house_bank",
        "bank_amount": "" if one.bank_amount is None else told(one.bank_amount),
        "bank_currency": "" if one.received_on is None else "EUR",
        "net": told(net),
        "gross": told(net),
        "period_from": "" if one.period is None else one.period[0].isoformat(),
        "period_until": "" if one.period is None else one.period[1].isoformat(),
    }
    lines = [
        {
            "line_kind": line.kind, "line_amount": told(line.amount), "transaction_id": line.transaction_id or "",
            "line_id": line.line_id or "", "payment_ref": line.payment_ref or "",
        }
        for line in one.lines
    ]  # fmt: skip
    return statement(*lines, **head)


def _write_off(url: str, number: int, one: naive.WriteOff) -> None:
    """Record that a person wrote something off, at noon of its day."""
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO ops.decision (decision_id, kind, sale_id, partner_account, transaction_id, line_id,"
            " break_kind, decided_by, decided_at, reason, evidence_hash, amount, currency, approved_amount)"
            " VALUES (%s, 'write_off', %s, %s, 't', 'EUR', 'remittance_short', 'Clara', %s, 'lost', 'e', %s, 'EUR',"
            " %s)",
            (
                f"d{number}", one.sale_id, one.sale_id.partition(":")[0],
                datetime.combine(one.on, datetime.min.time()) + timedelta(hours=11),
                Decimal(one.amount) / 10000, Decimal(one.approved) / 10000,
            ),
        )  # fmt: skip


def _empty(url: str) -> None:
    with psycopg.connect(url) as connection:
        for table in ("ledger.posting", "ledger.journal_entry", "ledger.account", "ops.remittance_line"):
            connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER refuse_change")
        connection.execute("ALTER TABLE ops.remittance DISABLE TRIGGER refuse_change")
        connection.execute("ALTER TABLE ops.remittance_decision DISABLE TRIGGER refuse_change")
        connection.execute("ALTER TABLE ops.decision DISABLE TRIGGER refuse_change")
        connection.execute("ALTER TABLE ops.agreement DISABLE TRIGGER refuse_change")
        connection.execute(
            "TRUNCATE ledger.posting, ledger.journal_entry, ledger.account, ops.remittance_file, ops.remittance,"
            " ops.remittance_line, ops.remittance_reject, ops.remittance_decision, ops.remittance_allocation,"
            " ops.decision, ops.agreement"
        )


@given(worlds(), st.randoms(use_true_random=False), st.data())
@settings(
    max_examples=4,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_statements_in_any_order_split_and_repetition_make_the_same_books(
    warehouse_url: str,
    tmp_path: Path,
    given_world: tuple[accruing.World, list[naive.Remittance]],
    chance: random.Random,
    data: st.DataObject,
) -> None:
    facts, told = given_world
    lost = data.draw(_lost(facts))
    remittances = [
        replace(each, is_withheld=False)
        for each in told
        # Their files cannot say a line without a transaction's line, nor money below zero.
        if all(line.transaction_id or not line.line_id for line in each.lines)
    ]
    _empty(warehouse_url)
    write(warehouse_url, replace(facts, versions=facts.versions[: chance.randint(0, len(facts.versions))]))
    pile = [*remittances, *chance.sample(remittances, len(remittances) // 2)]
    chance.shuffle(pile)
    pile = chance.sample([*pile, *lost], len(pile) + len(lost))
    for number, one in enumerate(pile):
        if isinstance(one, naive.WriteOff):
            _write_off(warehouse_url, number, one)
            continue
        here = context(warehouse_url, tmp_path, f"run-{number}", NOW)
        assert load(here, _statements(one), one.account, name=f"{number}.csv").count("rejects") == 0
        if chance.random() < 0.4:
            remit(here, LAST)
            accrue(here, LAST)
    write(warehouse_url, facts)
    for number in range(2):
        remit(context(warehouse_url, tmp_path, f"last-{number}", NOW), LAST)
    accrue(context(warehouse_url, tmp_path, "accrue", NOW), LAST)
    expected = naive.allocations(facts, remittances, LAST, False, lost)
    assert read(warehouse_url, "remittance") == naive.books(remittances, expected)
    paid = replace(facts, payments=naive.payments(facts, expected))
    assert read(warehouse_url) == accruing.books(paid, LAST)
    assert read(warehouse_url, "write_off") == naive.write_offs(paid, lost, LAST)
    again = remit(context(warehouse_url, tmp_path, "again", NOW), LAST)
    assert [again.count(name) for name in ("new_allocations", "gone_allocations", "postings")] == [0, 0, 0]
    assert [check for check in verify(context(warehouse_url, tmp_path, "v", NOW), LAST) if not check.is_ok] == []


def test_two_runs_at_once_make_the_books_of_one(warehouse_url: str, tmp_path: Path) -> None:
    sales = tuple(sale(f"shop_c:{place}") for place in range(10))
    versions = [version("3.1005", "approved", sale_id=each.sale_id, transaction_id=each.sale_id) for each in sales]
    write(warehouse_url, world(versions, sales=sales))
    lines = tuple(naive.Line("commission", 31005, each.sale_id) for each in sales)
    one = naive.Remittance("shop_c", "R-1", 1, FIRST + timedelta(days=30), 310000, lines)
    one = replace(one, bank_amount=one.told // 100 * 100)
    load(context(warehouse_url, tmp_path, "load", NOW), _statements(one), "shop_c")
    with ThreadPoolExecutor(3) as pool:
        runs = [pool.submit(remit, context(warehouse_url, tmp_path, f"run-{number}", NOW), LAST) for number in range(3)]
    assert sorted(run.result().count("new_allocations") for run in runs) == [0, 0, 10]
    assert read(warehouse_url, "remittance") == naive.books(
        [one], naive.allocations(world(versions, sales=sales), [one], LAST, False)
    )
