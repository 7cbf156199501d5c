"""A small October, worked out by hand: the figures the tests expect follow from these entries and from nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.report.books import Books, Leg, cashback, commission

AWIN, TRADETRACKER = "awin_main", "tradetracker_main"
FORMULA = "=cmd|'/c calc'!A0"
MARKUP = 'Shoes & <script src="https://evil.example/x.js"></script>'


def moved(kind: str, to: str, member: str, amount: str) -> Leg:
    """Return the leg that moves cashback of a member from one state to the next."""
    # What is in flight is on one account for all members, as the payout stage books it.
    ends = [(name, "" if name == "payout_in_flight" else member) for name in (kind, to)]
    return Leg(ends[0], ends[1], amount, "EUR/2", component="cashback")


@pytest.fixture
def books(warehouse_url: str) -> Iterator[Books]:
    """An empty warehouse, open for writing."""
    with psycopg.connect(warehouse_url, autocommit=True) as connection:
        yield Books(connection)


@pytest.fixture
def october(books: Books) -> Books:
    """The books of October 2026 with what September left."""
    write_reference(books)
    write_september(books)
    write_october(books)
    books.open_break("unmatched", "s3", "30", "2026-10-04")
    books.open_break("commission_differs", "s5", "100", "2026-09-15", "USD")
    return books


def write_reference(books: Books) -> None:
    """Write programs, sales with their rows, and deliveries; two of the names are hostile."""
    for program_id, name in (("p1", MARKUP), ("p2", FORMULA), ("p3", "Tea")):
        books.program(program_id, name)
    for sale_id, program_id in (("s1", "p1"), ("s2", "p1"), ("s3", "p2"), ("s5", "p2"), ("s6", "p2")):
        books.sale(sale_id, program_id, rows=2 if sale_id == "s2" else 1)
    books.sale("s4", "p3", account=TRADETRACKER)
    books.delivery(AWIN, 10, (FORMULA, "1_000"))
    books.delivery(AWIN, 4, month=9)
    books.delivery(TRADETRACKER, 3)


def write_september(books: Books) -> None:
    """Pending 10; 20 approved since July; 12 approved, made payable, sent and paid to m3."""
    books.entry("sale", "s1", "2026-09-05", commission("expected", AWIN, "10"), *cashback("pending", AWIN, "m1", "5"))
    july = "2026-07-10"
    books.entry(
        "sale",
        "s2",
        "2026-09-01",
        Leg(("commission_receivable", AWIN), ("commission_income", AWIN), "20", effective_for=july),
        *cashback("confirmed", AWIN, "m1", "10"),
        moved("cashback_confirmed", "cashback_payable", "m1", "10"),
    )
    books.entry(
        "sale",
        "s6",
        "2026-09-01",
        commission("receivable", AWIN, "12"),
        *cashback("confirmed", AWIN, "m3", "6"),
        moved("cashback_confirmed", "cashback_payable", "m3", "6"),
    )
    books.batch("b0", "2026-09-20", "sent", ("p0", "m3", 600, (("s6", 600),)))
    books.entry("payout", "p0", "2026-09-20", moved("cashback_payable", "payout_reserved", "m3", "6"))
    books.entry("payout", "p0", "2026-09-20", moved("payout_reserved", "payout_in_flight", "m3", "6"))
    paid = Leg(("payout_in_flight", ""), ("bank", "house"), "6", "EUR/2", component="payout")
    books.entry("payout", "p0", "2026-09-25", paid)
    books.connection.execute("UPDATE payout.payout SET state = 'settled' WHERE payout_id = 'p0'")
    books.connection.execute("INSERT INTO payout.event VALUES ('p0', 3, 'settled', '2026-09-25', 'p')")


def write_october(books: Books) -> None:
    """Write: approved with 2 less; new; declined; dollars without a rate; reversed after payout; got 5; sent 14."""
    books.entry(
        "sale",
        "s1",
        "2026-10-15",
        commission("expected", AWIN, "10", back=True),
        commission("receivable", AWIN, "8"),
        *cashback("pending", AWIN, "m1", "5", back=True),
        *cashback("confirmed", AWIN, "m1", "4"),
        moved("cashback_confirmed", "cashback_payable", "m1", "4"),
    )
    books.entry("sale", "s3", "2026-10-03", commission("expected", AWIN, "30"), *cashback("pending", AWIN, "m2", "15"))
    expected, pending = commission("expected", TRADETRACKER, "7.5"), cashback("pending", TRADETRACKER, "m2", "3")
    books.entry("sale", "s4", "2026-10-04", expected, *pending)
    expected = commission("expected", TRADETRACKER, "7.5", back=True)
    books.entry("sale", "s4", "2026-10-20", expected, *cashback("pending", TRADETRACKER, "m2", "3", back=True))
    books.entry("sale", "s5", "2026-10-12", commission("receivable", AWIN, "100", "USD"))
    books.entry(
        "sale",
        "s6",
        "2026-10-18",
        commission("receivable", AWIN, "12", back=True),
        *cashback("confirmed", AWIN, "m3", "6", back=True),
        moved("cashback_payable", "cashback_confirmed", "m3", "6"),
    )
    received = Leg(("bank", "house"), ("partner_clearing", AWIN), "5")
    allocated = Leg(("partner_clearing", AWIN), ("commission_receivable", AWIN), "5")
    books.entry("remittance", "r1", "2026-10-25", received, allocated)
    books.batch("b1", "2026-10-28", "sent", ("p1", "m1", 1400, (("s2", 1000), ("s1", 400))))
    books.entry("payout", "p1", "2026-10-28", moved("cashback_payable", "payout_reserved", "m1", "14"))
    books.entry("payout", "p1", "2026-10-28", moved("payout_reserved", "payout_in_flight", "m1", "14"))
    # What is booked after the period is not in it.
    books.entry("sale", "s3", "2026-11-02", commission("expected", AWIN, "1"))
