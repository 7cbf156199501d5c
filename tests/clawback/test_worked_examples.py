"""A sale declined after it was paid out, by hand: the debt, its offset, what policy writes off, what is told."""

from __future__ import annotations

import dataclasses
from datetime import date
from decimal import Decimal
from pathlib import Path

import psycopg
import pyarrow as pa

from etl.accrue import accrue
from etl.clawback import list_debts, write_off_debts
from etl.core.as_of import AsOf
from etl.core.configuration import ClawbackPolicy
from etl.core.context import Context
from etl.core.ledger import FLOW, post
from etl.statement import statement
from etl.verify import verify
from tests.accrue import naive
from tests.accrue.books import balances, read, sale, version, world, write
from tests.opening.desk import desk
from tests.payout.office import TODAY, Office
from tests.remit.statements import stored

POLICY = ClawbackPolicy(date(2026, 1, 1), {"EUR": 5000}, 90, {"EUR": 300})
BATCH = (
    "INSERT INTO payout.batch (batch_id, entity, rail, bank, currency, selected_for, execute_on, created_at,"
    " payout_count, total_minor, state, sha256)"
    " VALUES ('b1', 'house', 'sepa', 'b', 'EUR', %s, %s, %s, 1, %s, 'sent', 'x')"
)


def _under(here: Context, *policies: ClawbackPolicy) -> Context:
    entity = dataclasses.replace(here.entity, clawback=policies)
    return dataclasses.replace(here, configuration=dataclasses.replace(here.configuration, entity=entity))


def _paid_out(here: Context, member: str, sale_id: str, minor: int, on: date) -> None:
    """Write and book a payout of one sale as the bank settled it."""
    flow = {
        "document_id": "p1", "debit_kind": "cashback_payable", "debit_owner": member, "credit_kind": "bank",
        "credit_owner": "b", "asset": "EUR/2", "amount": minor, "effective_for": on, "component": "payout",
    }  # fmt: skip
    with psycopg.connect(here.warehouse.url) as connection:
        connection.execute(BATCH, (on, on, on, minor))
        connection.execute(
            "INSERT INTO payout.payout VALUES ('p1', 'b1', %s, 'EUR', %s, 1, 'p1', 'settled')", (member, minor)
        )
        connection.execute("INSERT INTO payout.payout_line VALUES ('p1', 'sale', %s, %s)", (sale_id, minor))
        table = pa.Table.from_pylist([flow], schema=FLOW)
        post(connection, "house", "payout", table, run_id="r", created_by="Anna", posted_at=here.known_at)


def _booked(here: Context, facts: naive.World, day: date) -> int:
    """Accrue the facts and write off as of a day; return how many postings wrote something off."""
    write(here.warehouse.url, facts)
    accrue(here, day)
    return write_off_debts(here, day).count("write_off_postings")


def test_a_debt_is_offset_written_off_and_taken_back_once(warehouse_url: str, tmp_path: Path) -> None:
    """5.00 are paid out and lost; 3.00 of a later sale are taken off; 2.00 are written off, and then taken back."""
    here = _under(desk(warehouse_url, tmp_path), POLICY)
    shoes = version("10", "approved")
    declined = version("10", "declined", version_no=2, effective_on=date(2026, 3, 9))
    book = version("6", "approved", sale_id="shop_a:2", transaction_id="2", effective_on=date(2026, 3, 20))
    facts = world([shoes], sales=(sale(), sale("shop_a:2")))
    assert _booked(here, facts, date(2026, 3, 5)) == 0
    _paid_out(here, "member-1", "shop_a:1", 500, date(2026, 3, 5))

    facts = dataclasses.replace(facts, versions=(shoes, declined, book))
    assert _booked(here, facts, date(2026, 6, 6)) == 0
    (owed,) = list_debts(here, date(2026, 6, 6))
    assert (owed.member_id, owed.owed, owed.since, owed.offset) == (
        "member-1", Decimal("2.00"), date(2026, 3, 9), Decimal("3.00"),
    )  # fmt: skip
    assert owed.next_text == "written off on 2026-06-07"

    careful = dataclasses.replace(POLICY, review_above_minor={"EUR": 199}, write_off_below_minor={"EUR": 199})
    (owed,) = list_debts(_under(here, careful), date(2026, 6, 30))
    assert owed.next_text == "a person looks at it"

    assert write_off_debts(here, date(2026, 6, 7)).count("write_off_postings") == 1
    assert write_off_debts(here, date(2026, 6, 30)).count("write_off_postings") == 0
    document, on = "clawback/member-1/sale/shop_a:1", date(2026, 6, 7)
    assert read(warehouse_url, "write_off") == {
        (document, "clawback_write_off", "", "EUR/2", on): 200,
        (document, "cashback_payable", "member-1", "EUR/2", on): -200,
    }
    assert list_debts(here, date(2026, 6, 30)) == []
    found = statement(here, "member-1", AsOf(date(2026, 6, 7)))
    assert str(found.totals[0].payable) == "0.00"
    (story,) = found.owed_back
    assert story.sentences == (
        "2026-03-09: Shop, bought on 2026-03-01 (number 1): the shop declined or changed the sale after its cashback"
        " had been paid out or used, so EUR 5.00 is owed back.",
        "2026-03-20: EUR 3.00 was taken off the cashback of Shop, bought on 2026-03-01 (number 2).",
        "2026-06-07: EUR 2.00 was written off: it need not be paid back.",
        "Nothing of it is left.",
    )

    again = version("10", "approved", version_no=3, effective_on=date(2026, 6, 20))
    assert _booked(here, dataclasses.replace(facts, versions=(*facts.versions, again)), date(2026, 6, 30)) == 1
    assert read(warehouse_url, "write_off")[document, "cashback_payable", "member-1", "EUR/2", date(2026, 6, 20)] == 200
    books = balances({**read(warehouse_url), **read(warehouse_url, "payout"), **read(warehouse_url, "write_off")})
    assert (books["cashback_payable", "EUR/2"], books.get(("clawback_write_off", "EUR/2"), 0)) == (-300, 0)
    assert [check.name for check in verify(here, date(2026, 6, 30)) if not check.is_ok] == []


def test_a_reversal_that_is_true_later_moves_the_write_off_with_it(warehouse_url: str, tmp_path: Path) -> None:
    """Whatever came first: cashback that is known late was there before the write-off, so less is written off."""
    here = _under(desk(warehouse_url, tmp_path), POLICY)
    shoes = version("6", "approved")
    declined = version("6", "declined", version_no=2, effective_on=date(2026, 3, 9))
    late = version("2", "approved", sale_id="shop_a:2", transaction_id="2", effective_on=date(2026, 4, 1))
    facts = world([shoes], sales=(sale(), sale("shop_a:2")))
    _booked(here, facts, date(2026, 3, 5))
    _paid_out(here, "member-1", "shop_a:1", 300, date(2026, 3, 5))
    _booked(here, dataclasses.replace(facts, versions=(shoes, declined)), date(2026, 6, 30))
    assert balances(read(warehouse_url, "write_off"))["clawback_write_off", "EUR/2"] == 300
    _booked(here, dataclasses.replace(facts, versions=(shoes, declined, late)), date(2026, 6, 30))
    assert balances(read(warehouse_url, "write_off"))["clawback_write_off", "EUR/2"] == 200
    # Without a policy nothing is written off, and what was comes back.
    write_off_debts(_under(here), date(2026, 6, 30))
    assert balances(read(warehouse_url, "write_off")) == {}


def test_what_was_written_off_does_not_lower_a_payout(warehouse_url: str, tmp_path: Path) -> None:
    office = Office(warehouse_url, tmp_path)
    office.owe("m2", "s3", -250)
    office.payee("m2")
    here = _under(office.context, POLICY)
    assert write_off_debts(here, TODAY).count("write_off_postings") == 0
    early = dataclasses.replace(POLICY, write_off_after_days=30)
    assert write_off_debts(_under(here, early), TODAY).count("write_off_postings") == 1
    office.owe("m2", "s4", 400, date(2026, 10, 20))
    office.select(maturity=20)
    assert stored(
        warehouse_url,
        "SELECT p.amount_minor, l.document_id, l.amount_minor FROM payout.payout AS p"
        " JOIN payout.payout_line AS l USING (payout_id) WHERE p.member_id = 'm2' ORDER BY 2",
    ) == [(400, "clawback/m2/sale/s3", 250), (400, "s3", -250), (400, "s4", 400)]
