"""Adjustments, worked by hand: what each kind books, when, who may, and how it is taken back."""

from __future__ import annotations

import dataclasses
from datetime import date
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest

from etl.accrue import accrue
from etl.adjust import approve, book_adjustments, list_adjustments, read_evidence, reject, reverse
from etl.core.context import Context
from etl.core.errors import Stop
from etl.opening import book_openings
from etl.remit import ageing, remit
from etl.trace import trace
from etl.verify import verify
from tests.accrue.books import balances, read, version, world, write
from tests.adjust.desk import adjusted, proposed
from tests.opening.desk import DAY, desk, opened
from tests.opening.test_worked_examples import CONTROL, CONTROL_PARTNERS, MEMBERS, PARTNERS, THREE
from tests.payout.office import KEYRING, Office
from tests.remit.statements import line, load, statement, stored


def _as(here: Context, person: str) -> Context:
    return dataclasses.replace(here, actor=person)


def _letter(here: Context) -> Path:
    path = here.temporary / "letter.txt"
    path.write_text("it was a mistake")
    return path


def test_nothing_is_booked_before_another_person_approves(warehouse_url: str, tmp_path: Path) -> None:
    here = desk(warehouse_url, tmp_path)
    write(warehouse_url, world([version("10", "approved")]))
    accrue(here, DAY)
    goodwill = proposed(here, "goodwill", "member-1", "5.00")
    assert proposed(here, "goodwill", "member-1", "5.00") == goodwill
    book_adjustments(here)
    assert read(warehouse_url, "adjustment") == {}
    with pytest.raises(Stop, match=r"mia proposed adjustment A-.*: another person must approve it"):
        approve(_as(here, "mia"), goodwill)
    with pytest.raises(Stop, match="'scheduler' is no person"):
        approve(_as(here, "scheduler"), goodwill)
    own = "INSERT INTO ops.adjustment_verdict VALUES (%s, 'approved', ' MIA ', now(), '')"
    with psycopg.connect(warehouse_url) as connection, pytest.raises(psycopg.errors.RaiseException, match="proposed"):
        connection.execute(own, (goodwill,))

    assert approve(_as(here, "Noah"), goodwill).count("adjustment_postings") == 1
    assert approve(_as(here, "Ben"), goodwill).count("adjustment_postings") == 0
    on = date(2026, 3, 10)
    assert read(warehouse_url, "adjustment") == {
        (goodwill, "goodwill_cost", "", "EUR/2", on): 500,
        (goodwill, "cashback_payable", "member-1", "EUR/2", on): -500,
    }
    query = "SELECT component, base_amount FROM ledger.posting WHERE document_kind = 'adjustment'"
    assert stored(warehouse_url, query) == [("goodwill", Decimal(5))]
    assert read_evidence(here, goodwill, KEYRING) == ("letter.txt", b"member-1: 5.00")
    kept = list((tmp_path / "lake" / "evidence").rglob("*.sealed"))
    assert len(kept) == 1 and b"member-1" not in kept[0].read_bytes()

    (node,) = trace(here, goodwill)
    told = dict(node.facts)
    assert (told["proposed_by"], told["approved_by"], len(node.children)) == ("Mia", "Noah", 1)

    refused = proposed(here, "bonus", "member-1", "7.00")
    reject(_as(here, "Noah"), refused, "not what we promised")
    with pytest.raises(Stop, match="was rejected by Noah"):
        approve(_as(here, "Ben"), refused)
    assert balances(read(warehouse_url, "adjustment"))["cashback_payable", "EUR/2"] == -500
    assert [check.name for check in verify(here, DAY) if not check.is_ok] == []


def test_an_adjustment_is_taken_back_by_another_that_names_it(warehouse_url: str, tmp_path: Path) -> None:
    here = desk(warehouse_url, tmp_path)
    opened(here, MEMBERS + PARTNERS, *CONTROL, CONTROL_PARTNERS)
    given = adjusted(here, "referral", "m1", "2.50", account="confirmed")
    back = reverse(_as(here, "Mia"), given, "the friend never came", date(2026, 4, 2), _letter(here), KEYRING)
    assert balances(read(warehouse_url, "adjustment"))["goodwill_cost", "EUR/2"] == 250
    with pytest.raises(Stop, match=f"is reversed by {back} already"):
        reverse(_as(here, "Ann"), given, "again", date(2026, 4, 2), _letter(here), KEYRING)
    approve(_as(here, "Noah"), back)
    assert read(warehouse_url, "adjustment") == {
        (given, "goodwill_cost", "", "EUR/2", date(2026, 3, 10)): 250,
        (given, "cashback_confirmed", "m1", "EUR/2", date(2026, 3, 10)): -250,
        (back, "goodwill_cost", "", "EUR/2", date(2026, 4, 2)): -250,
        (back, "cashback_confirmed", "m1", "EUR/2", date(2026, 4, 2)): 250,
    }
    with pytest.raises(Stop, match="is a reversal itself"):
        reverse(_as(here, "Ann"), back, "no", date(2026, 4, 3), _letter(here), KEYRING)


def test_what_was_opened_and_not_payable_is_released_or_declined_and_no_more(
    warehouse_url: str, tmp_path: Path
) -> None:
    here = desk(warehouse_url, tmp_path)
    opened(here, MEMBERS + PARTNERS, *CONTROL, CONTROL_PARTNERS)
    adjusted(here, "release", "m1", "3.00", account="confirmed")
    adjusted(here, "decline", "m1", "150", "JPY", account="pending")
    books = balances({**read(warehouse_url, "opening"), **read(warehouse_url, "adjustment")})
    assert (books["cashback_confirmed", "EUR/2"], books["cashback_payable", "EUR/2"]) == (-100, -950 - 300)
    assert ("cashback_pending", "JPY/0") not in books
    assert ("opening", "JPY/0") not in books
    more = proposed(here, "release", "m1", "1.01", account="confirmed")
    with pytest.raises(Stop, match=r"the opening left m1 EUR 1.00 in cashback_confirmed, less than 1.01"):
        approve(_as(here, "Noah"), more)


def test_what_is_approved_and_not_booked_yet_is_no_longer_there_to_release(warehouse_url: str, tmp_path: Path) -> None:
    """Two are approved at once, or the first approval died before it was booked: together no more than was opened."""
    here = desk(warehouse_url, tmp_path)
    opened(here, MEMBERS + PARTNERS, *CONTROL, CONTROL_PARTNERS)
    given = adjusted(here, "bonus", "m1", "0.50", account="confirmed")
    first = proposed(here, "release", "m1", "3.00", account="confirmed")
    with psycopg.connect(warehouse_url) as connection:
        connection.execute("INSERT INTO ops.adjustment_verdict VALUES (%s, 'approved', 'Noah', now(), '')", (first,))
    second = proposed(here, "decline", "m1", "1.51", account="confirmed")
    with pytest.raises(Stop, match=r"the opening left m1 EUR 1.50 in cashback_confirmed, less than 1.51"):
        approve(_as(here, "Noah"), second)
    released = proposed(here, "decline", "m1", "15.51", account="payable")
    with pytest.raises(Stop, match=r"the opening left m1 EUR 15.50 in cashback_payable, less than 15.51"):
        approve(_as(here, "Noah"), released)
    back = reverse(_as(here, "Mia"), given, "not due", date(2026, 4, 2), _letter(here), KEYRING)
    approve(_as(here, "Noah"), back)
    with pytest.raises(Stop, match=r"the opening left m1 EUR 1.00 in cashback_confirmed, less than 1.51"):
        approve(_as(here, "Noah"), second)


def test_a_corrected_receivable_is_paid_by_a_remittance_that_names_it(warehouse_url: str, tmp_path: Path) -> None:
    here = desk(warehouse_url, tmp_path)
    write(warehouse_url, world([version("10", "approved")]))
    promised = adjusted(here, "receivable", "shop_a", "3.1005")
    assert balances(read(warehouse_url, "adjustment")) == {
        ("commission_receivable", "EUR/4"): 31005,
        ("commission_income", "EUR/4"): -31005,
    }
    paid = line("commission", "3.10", transaction_id=promised)
    load(here, statement(paid, net="3.10", gross="3.10", bank_amount="3.10"))
    remit(here, DAY)
    outcome = {row["sale_id"]: (row["outcome"], row["open_minor"]) for row in ageing(here, DAY).sales.to_pylist()}
    assert outcome == {"shop_a:1": ("unpaid", 100000), promised: ("paid", 5)}
    assert balances(read(warehouse_url, "remittance"))["commission_receivable", "EUR/4"] == -31000


def test_an_adjustment_that_names_the_sale_answers_its_break(warehouse_url: str, tmp_path: Path) -> None:
    """The opened sale t-old was declined since: the receivable goes down by hand, and the break is closed."""
    here = desk(warehouse_url, tmp_path)
    declined = dataclasses.replace(THREE.versions[2], status="declined", version_no=2, effective_on=date(2026, 3, 9))
    write(warehouse_url, dataclasses.replace(THREE, versions=(*THREE.versions, declined)))
    opened(here, PARTNERS, CONTROL_PARTNERS)
    assert stored(warehouse_url, "SELECT count(*) FROM ops.break") == [(1,)]
    adjusted(here, "receivable", "shop_a", "-10.005", sale="shop_a:t-old")
    book_openings(here, DAY)
    assert stored(warehouse_url, "SELECT count(*) FROM ops.break") == [(0,)]


REFUSED = (
    (("goodwill", "nobody", "5.00"), "nothing is known of a member 'nobody'"),
    (("goodwill", "m1", "5.005"), "at most 2 digits"),
    (("goodwill", "m1", "-5"), "above zero"),
    (("receivable", "shop_x", "5"), "there is no partner account 'shop_x'"),
    (("receivable", "shop_a", "0"), "not zero"),
)


def test_what_is_not_whole_is_refused(warehouse_url: str, tmp_path: Path) -> None:
    here = desk(warehouse_url, tmp_path)
    for told, why in REFUSED:
        with pytest.raises(Stop, match=why):
            proposed(here, *told)
    with pytest.raises(Stop, match="has not come yet"):
        proposed(here, "goodwill", "m1", "5", on="2026-06-02")
    assert stored(warehouse_url, "SELECT count(*) FROM ops.adjustment") == [(0,)]


def test_who_proposed_or_approved_cannot_approve_its_payout(warehouse_url: str, tmp_path: Path) -> None:
    office = Office(warehouse_url, tmp_path)
    office.payee("m1")
    adjusted(office.context, "goodwill", "m1", "5.00")
    frozen = office.freeze(office.selected())
    for person, how in (("Mia", "proposed adjustment A-"), ("Noah", "approved adjustment A-")):
        with pytest.raises(Stop, match=how):
            office.approve(frozen, person)
    office.approve(frozen, "Ben")
    assert list_adjustments(office.context, "approved").num_rows == 1
