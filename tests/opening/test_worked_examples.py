"""A site goes live with a past, by hand: what an opening books, what it holds, what is paid of it, what is refused."""

from __future__ import annotations

import dataclasses
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest

from etl.accrue import accrue
from etl.core.decisions import BreakFilter, DecisionKind
from etl.core.errors import Stop
from etl.decide import Verdict, decide
from etl.exposure import exposure
from etl.opening import approve_opening, book_openings, list_openings, load_opening
from etl.remit import ageing, remit
from etl.verify import verify
from tests.accrue.books import balances, read, sale, version, world, write
from tests.engine import A_FEW_AT_ONCE, ENGINE
from tests.opening.desk import CUT_OVER, DAY, NOW, desk, file, opened, totals
from tests.payout.office import Office
from tests.remit.statements import line, load, statement, stored

BEFORE = "2026-02-28"
MEMBERS = f"""
    cashback_payable,m1,,EUR,12.50,{BEFORE}
    cashback_payable,m2,,EUR,-3.00,{BEFORE}
    cashback_confirmed,m1,,EUR,4.00,{BEFORE}
    cashback_pending,m1,,JPY,150,{BEFORE}
"""
PARTNERS = f"""
    commission_receivable,shop_a,t-old,EUR,10.0050,{BEFORE}
    commission_receivable,shop_a,,EUR,5.00,{BEFORE}
    commission_receivable,shop_b,,EUR,0,{BEFORE}
    commission_receivable,shop_c,,EUR,0,{BEFORE}
"""
CONTROL = ("cashback_payable:EUR=9.50", "cashback_confirmed:EUR=4.00", "cashback_pending:JPY=150")
CONTROL_PARTNERS = "commission_receivable:EUR=15.0050"


def _proved(url: str, folder: Path) -> list[str]:
    return [check.name for check in verify(desk(url, folder), DAY) if not check.is_ok]


def test_an_opening_is_booked_when_another_person_confirms_it(warehouse_url: str, tmp_path: Path) -> None:
    here = desk(warehouse_url, tmp_path)
    path = file(tmp_path, MEMBERS + PARTNERS)
    loaded = load_opening(here, path, "go-live", 1, totals(*CONTROL, CONTROL_PARTNERS))
    assert loaded.counts == (("rows", 8), ("members", 2), ("accounts", 3))
    book_openings(here, DAY)
    assert read(warehouse_url, "opening") == {}
    with pytest.raises(Stop, match="OLGA loaded opening go-live: another person must confirm it"):
        approve_opening(dataclasses.replace(here, actor=" OLGA "), "go-live", 1, DAY)
    with pytest.raises(Stop, match="'airflow' is no person"):
        approve_opening(dataclasses.replace(here, actor="airflow"), "go-live", 1, DAY)
    with psycopg.connect(warehouse_url) as connection, pytest.raises(psycopg.errors.RaiseException, match="loaded"):
        connection.execute("INSERT INTO ops.opening_approval VALUES ('go-live', 1, 'olga', now())")

    approve_opening(dataclasses.replace(here, actor="Pavel"), "go-live", 1, DAY)
    on = date(2026, 2, 28)
    assert read(warehouse_url, "opening") == {
        ("go-live/cashback_payable/m1", "cashback_payable", "m1", "EUR/2", on): -1250,
        ("go-live/cashback_payable/m1", "opening", "", "EUR/2", on): 1250,
        ("go-live/cashback_payable/m2", "cashback_payable", "m2", "EUR/2", on): 300,
        ("go-live/cashback_payable/m2", "opening", "", "EUR/2", on): -300,
        ("go-live/cashback_confirmed/m1", "cashback_confirmed", "m1", "EUR/2", on): -400,
        ("go-live/cashback_confirmed/m1", "opening", "", "EUR/2", on): 400,
        ("go-live/cashback_pending/m1", "cashback_pending", "m1", "JPY/0", on): -150,
        ("go-live/cashback_pending/m1", "opening", "", "JPY/0", on): 150,
        ("go-live/commission_receivable/shop_a/t-old", "commission_receivable", "shop_a", "EUR/4", on): 100050,
        ("go-live/commission_receivable/shop_a/t-old", "opening", "", "EUR/4", on): -100050,
        ("go-live/commission_receivable/shop_a", "commission_receivable", "shop_a", "EUR/4", on): 50000,
        ("go-live/commission_receivable/shop_a", "opening", "", "EUR/4", on): -50000,
    }
    again = load_opening(here, path, "go-live", 1, totals(*CONTROL, CONTROL_PARTNERS))
    assert "loaded before" in again.note
    assert approve_opening(dataclasses.replace(here, actor="Ben"), "go-live", 1, DAY).count("opening_postings") == 0
    (row,) = list_openings(here).to_pylist()
    assert (row["loaded_by"], row["approved_by"], row["is_in_force"]) == ("Olga", "Pavel", True)
    assert _proved(warehouse_url, tmp_path) == []


def test_a_corrected_file_replaces_the_one_before_by_the_difference(warehouse_url: str, tmp_path: Path) -> None:
    here = desk(warehouse_url, tmp_path)
    opened(here, MEMBERS + PARTNERS, *CONTROL, CONTROL_PARTNERS)
    corrected = MEMBERS.replace("12.50", "12.00") + PARTNERS
    with pytest.raises(Stop, match=r"revision 1 of opening go-live is known with another content.* --revision 2"):
        control = totals("cashback_payable:EUR=9.00", *CONTROL[1:], CONTROL_PARTNERS)
        load_opening(here, file(tmp_path, corrected), "go-live", 1, control)
    done = opened(here, corrected, "cashback_payable:EUR=9.00", *CONTROL[1:], CONTROL_PARTNERS, revision=2)
    assert done.count("opening_postings") == 1
    ((debit, credit, amount),) = stored(
        warehouse_url,
        "SELECT debit_kind, credit_kind, amount FROM mart.posting WHERE document_kind = 'opening' AND entry_no = 2",
    )
    assert (debit, credit, amount) == ("cashback_payable", "opening", Decimal("0.50"))
    assert balances(read(warehouse_url, "opening"))["cashback_payable", "EUR/2"] == -900
    assert [row["is_in_force"] for row in list_openings(here).to_pylist()] == [False, True]


FAULTY = f"""
    cashback_paid,m1,,EUR,1.00,{BEFORE}
    cashback_payable,m1,,EUR,"1,50",{BEFORE}
    cashback_payable,m1,,euro,1.00,{BEFORE}
    cashback_payable,m1,,EUR,1.00,2026-02-30
    cashback_payable,,,EUR,1.00,{BEFORE}
"""
DOUBTFUL = f"""
    cashback_payable,m1,,EUR,1.005,{BEFORE}
    cashback_payable,m2,t1,EUR,1.00,{BEFORE}
    cashback_pending,m3,,EUR,-1.00,{BEFORE}
    cashback_payable,m4,,EUR,1.00,2026-06-01
    cashback_payable,m5,,EUR,0,{BEFORE}
    cashback_payable,m6,,EUR,1.00,{BEFORE}
    cashback_payable,m6,,EUR,2.00,{BEFORE}
    commission_receivable,shop_x,,EUR,1.00,{BEFORE}
    commission_receivable,shop_a,,EUR,1.00,{BEFORE}
    commission_receivable,shop_a,t1,EUR,1.00,2026-01-31
    commission_receivable,shop_b,opening:x,EUR,1.00,{BEFORE}
"""


def test_a_file_with_a_fault_is_refused_whole_and_every_fault_is_named(warehouse_url: str, tmp_path: Path) -> None:
    here = desk(warehouse_url, tmp_path)

    def told(rows: str, *control: str) -> str:
        with pytest.raises(Stop) as refused:
            load_opening(here, file(tmp_path, rows), "go-live", 1, totals(*control))
        return str(refused.value)

    faults = told(FAULTY)
    for fault in (
        "line 2, column kind: 'cashback_paid' must be one of",
        "line 3, column amount: '1,50' must be a plain number",
        "line 4, column currency: 'euro' must be a currency code",
        "line 5, column as_of: '2026-02-30' must be a day that exists",
        "line 6, column owner: is empty",
    ):
        assert fault in faults
    faults = told(DOUBTFUL)
    for fault in (
        "line 2, column amount: '1.005' has more than 2 digits",
        "line 3, column reference: 't1' must be empty",
        "line 4, column amount: '-1.00' must not be below zero",
        "line 5, column as_of: '2026-06-01' is not over",
        "line 6, column amount: '0' must not be zero",
        "line 8: tells the balance of line 7 a second time",
        "line 9, column owner: 'shop_x' is no partner account",
        "line 11, column as_of: '2026-01-31' is not 2026-02-28 as in line 10",
        "line 12, column reference: 'opening:x' must not begin with 'opening:'",
    ):
        assert fault in faults
    faults = told(MEMBERS, "cashback_payable:EUR=9.40", "cashback_confirmed:EUR=4", "cashback_payable:USD=1")
    for fault in (
        "cashback_payable:EUR: the rows sum to 9.50, the control total is 9.40: +0.10 too much",
        "cashback_pending:JPY: the rows sum to 150 and no control total is given",
        "cashback_payable:USD: the rows sum to 0, the control total is 1: -1 too little",
    ):
        assert fault in faults
    assert "account shop_c: balances of members are opened, and nothing says from which day" in told(MEMBERS, *CONTROL)
    assert stored(warehouse_url, "SELECT count(*) FROM ops.opening") == [(0,)]


OLD = sale("shop_a:1", sale_on=date(2026, 2, 28), occurred_at=datetime.fromisoformat("2026-02-28T10:00"))
NEW = sale("shop_a:2")
NAMED = sale("shop_a:t-old")
THREE = world(
    [
        version("10", "approved", effective_on=date(2026, 2, 28)),
        version("20", "approved", sale_id="shop_a:2", transaction_id="2"),
        version("10.005", "approved", sale_id="shop_a:t-old", transaction_id="t-old"),
    ],
    sales=(OLD, NEW, NAMED),
)


def test_what_an_opening_holds_is_counted_once_even_if_it_was_accrued_before(
    warehouse_url: str, tmp_path: Path
) -> None:
    """The sale before the cut-over and the sale the opening names accrue nothing; the one after it does."""
    here = desk(warehouse_url, tmp_path)
    write(warehouse_url, THREE)
    accrue(here, DAY)
    assert balances(read(warehouse_url))["commission_receivable", "EUR/4"] == 400050
    opened(here, PARTNERS, CONTROL_PARTNERS)
    accrue(here, DAY)
    books = balances(read(warehouse_url))
    assert (books["commission_receivable", "EUR/4"], books["cashback_payable", "EUR/2"]) == (200000, -1000)
    assert {key[0] for key, amount in read(warehouse_url).items() if amount} == {"shop_a:2"}
    assert stored(warehouse_url, "SELECT kind FROM ops.break") == []
    assert accrue(here, DAY).count("postings") == 0


def test_a_sale_that_changed_since_the_opening_is_a_break_until_a_person_says_what_follows(
    warehouse_url: str, tmp_path: Path
) -> None:
    here = desk(warehouse_url, tmp_path)
    declined = dataclasses.replace(
        THREE.versions[2], status="declined", version_no=2, effective_on=date(2026, 3, 9), sale_id="shop_a:t-old"
    )
    write(warehouse_url, dataclasses.replace(THREE, versions=(*THREE.versions, declined)))
    opened(here, PARTNERS, CONTROL_PARTNERS)
    accrue(here, DAY)
    assert balances(read(warehouse_url))["commission_receivable", "EUR/4"] == 200000
    query = "SELECT sale_id, expected, found, amount FROM ops.break"
    assert stored(warehouse_url, query) == [
        ("shop_a:t-old", "in the opening as EUR 10.0050", "declined EUR 0", Decimal("-10.0050"))
    ]
    decide(here, DAY, BreakFilter(sale_id="shop_a:t-old"), Verdict(DecisionKind.NO_CASHBACK, "the opening was right"))
    book_openings(here, DAY)
    assert stored(warehouse_url, query) == []


def test_remittances_pay_what_an_opening_holds(warehouse_url: str, tmp_path: Path) -> None:
    """t-old is named; the lump is named as opening:go-live; a sale it holds and does not list pays the lump."""
    here = desk(warehouse_url, tmp_path)
    write(warehouse_url, THREE)
    opened(here, PARTNERS, CONTROL_PARTNERS)
    paid = statement(
        line("commission", "10.005", transaction_id="t-old"),
        line("commission", "1.00", transaction_id="1"),
        line("commission", "3.995", transaction_id="opening:go-live"),
        net="15.00", gross="15.00", bank_amount="15.00",
    )  # fmt: skip
    assert load(here, paid).count("rejects") == 0
    remit(here, DAY)
    accrue(here, DAY)
    books = {**read(warehouse_url, "remittance"), **read(warehouse_url, "opening")}
    assert balances(books)["commission_receivable", "EUR/4"] == 50
    assert ("partner_clearing", "EUR/4") not in balances(books)
    outcome = {row["sale_id"]: (row["outcome"], row["open_minor"]) for row in ageing(here, DAY).sales.to_pylist()}
    # A part at a time the same is found, and kept.
    for engine in (A_FEW_AT_ONCE, ENGINE, A_FEW_AT_ONCE):
        found = remit(dataclasses.replace(here, engine=engine), DAY, is_whole=True, narrow_from=1)
        assert [found.count(name) for name in ("paid", "unpaid", "postings", "looked_at")] == [2, 1, 0, 1]
        kept = stored(warehouse_url, "SELECT sale_id, outcome, open_minor FROM ops.sale_outcome")
        assert {sale_id: rest for sale_id, *rest in kept} == {name: [*rest] for name, rest in outcome.items()}
    assert outcome == {
        "shop_a:2": ("unpaid", 200000),
        "go-live/commission_receivable/shop_a/t-old": ("paid", 0),
        "go-live/commission_receivable/shop_a": ("paid", 50),
    }
    (row,) = [row for row in exposure(here).to_pylist() if row["partner_account"] == "shop_a"]
    assert (row["receivable"], row["received"], row["uncovered"]) == (Decimal("20.005"), Decimal(0), Decimal(10))
    assert _proved(warehouse_url, tmp_path) == []


def test_a_lump_sum_pays_the_opening_and_what_came_since(warehouse_url: str, tmp_path: Path) -> None:
    here = desk(warehouse_url, tmp_path)
    write(warehouse_url, THREE)
    opened(here, PARTNERS, CONTROL_PARTNERS)
    whole = {"period_from": "2026-03-01", "period_until": "2026-04-01"}
    money = {"net": "35.00", "gross": "35.00", "bank_amount": "35.00"}
    load(here, statement(**whole, **money))
    remit(here, DAY)
    accrue(here, DAY)
    assert stored(
        warehouse_url, "SELECT transaction_id, amount_minor, rule FROM ops.remittance_allocation ORDER BY 1"
    ) == [
        ("2", 199983, "until_period"),
        ("opening:go-live", 49983, "until_period"),
        ("t-old", 100034, "until_period"),
    ]
    assert _proved(warehouse_url, tmp_path) == []


def test_money_for_a_sale_the_opening_did_not_count_stays_in_clearing(warehouse_url: str, tmp_path: Path) -> None:
    here = desk(warehouse_url, tmp_path)
    write(warehouse_url, THREE)
    opened(here, CUT_OVER.format("shop_a", BEFORE), "commission_receivable:EUR=0")
    load(here, statement(line("commission", "10.00", transaction_id="1")))
    remit(here, DAY)
    assert balances(read(warehouse_url, "remittance"))["partner_clearing", "EUR/4"] == -100000
    assert stored(warehouse_url, "SELECT kind FROM ops.break") == [("remittance_unallocated",)]


def test_an_opening_is_paid_out_and_its_debts_are_offset(warehouse_url: str, tmp_path: Path) -> None:
    office = Office(warehouse_url, tmp_path)
    here = dataclasses.replace(office.context, actor="Olga")
    here.temporary.mkdir()
    opened(here, MEMBERS, *CONTROL)
    office.owe("m2", "s1", 1000)
    for member in ("m1", "m2"):
        office.payee(member)
    batch = office.selected()
    assert stored(
        warehouse_url,
        "SELECT p.member_id, p.amount_minor, l.document_id, l.amount_minor FROM payout.payout AS p"
        " JOIN payout.payout_line AS l USING (payout_id) ORDER BY 1, 3",
    ) == [
        ("m1", 1250, "go-live/cashback_payable/m1", 1250),
        ("m2", 700, "go-live/cashback_payable/m2", -300),
        ("m2", 700, "s1", 1000),
    ]
    frozen = office.freeze(batch)
    for person, how in (("Olga", "loaded opening go-live"), ("Pavel", "confirmed opening go-live")):
        with pytest.raises(Stop, match=how):
            office.approve(frozen, person)
    office.approve(frozen, "Ben")
    assert office.select().batch is None


def test_an_opening_of_a_closed_month_is_booked_in_the_open_one(warehouse_url: str, tmp_path: Path) -> None:
    with psycopg.connect(warehouse_url) as connection:
        connection.execute("INSERT INTO ref.period VALUES ('house', '2026-02-01', 'closed')")
    opened(desk(warehouse_url, tmp_path), PARTNERS, CONTROL_PARTNERS)
    assert stored(warehouse_url, "SELECT DISTINCT effective_for, booked_on FROM ledger.posting") == [
        (date(2026, 2, 28), date(2026, 3, 1))
    ]
    assert NOW.date() > date(2026, 3, 1)
