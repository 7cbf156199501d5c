"""Random remittances over random sales, on a warehouse: the same books, whatever came first or ran at once."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import psycopg
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from etl.accrue import accrue
from etl.remit import remit
from etl.verify import verify
from tests.accrue import naive as accruing
from tests.accrue.books import context, read, sale, version, world, write
from tests.accrue.test_properties import FIRST, LAST
from tests.engine import A_FEW_AT_ONCE
from tests.remit import naive
from tests.remit.statements import load, statement
from tests.remit.worlds import lost_ones, worlds

NOW = datetime.fromisoformat("2026-06-20T12:00")


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
    lost = data.draw(lost_ones(facts))
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
    proving = replace(context(warehouse_url, tmp_path, "v", NOW), engine=A_FEW_AT_ONCE)
    assert [check for check in verify(proving, LAST) if not check.is_ok] == []


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
