"""Worked examples of partners that change a row (mutating): what the books say after each day, by hand.

The sale is of the first of March, commission is a tenth of it and cashback half of that, payable on approval.
"""

from __future__ import annotations

import pytest

from tests.models.events import RULE, Books, amounts, books, clicked, order
from tests.reconcile.naive import Row
from tests.reconcile.worlds import click, delivery, model, program, world

# What each answer says of a sale; the days on which they were observed.
DAYS = ("03-02", "03-10", "03-20")
TOLD: dict[str, tuple[list[Row], ...]] = {
    "partial_refund": (
        [order("t1", "100", "10")],
        [order("t1", "66.67", "6.667", status="approved")],
    ),
    "full_refund": (
        [order("t2", "200", "20", status="approved")],
        # A declined row keeps its amounts: it is worth nothing all the same.
        [order("t2", "200", "20", status="declined")],
    ),
    "restated": (
        [order("t3", "300", "30", status="approved")],
        [order("t3", "360", "36", status="approved")],
        [order("t3", "300", "30", status="approved")],
    ),
    "outside_the_file": ([], [order("t4", "-40", "-4", click_ref=None, status="approved")]),
    "known_only_as_declined": ([], [order("t5", "110", "11", status="declined")]),
    "discount_line": (
        [
            order("t6", "125", "12.5", status="approved", line_id="a"),
            order("t6", "-20", "-2", status="approved", line_id="b"),
        ],
    ),
    "id_told_twice": ([order("t7", "130", "13"), order("t7", "130", "13")],),
    "id_told_twice_differently": ([order("t8", "140", "14"), order("t8", "150", "15")],),
    "at_two_partners": (
        [
            order("t9", "170", "17", order_ref="o9", status="approved"),
            order("u9", "170", "17", order_ref="o9", status="approved", **(THERE := {
                "partner": "tradetracker", "partner_program_id": "P3", "click_ref": "there"})),
        ],
    ),
    "at_two_partners_and_one_takes_it_back": (
        [
            order("t10", "180", "18", order_ref="o10", status="approved"),
            order("u10", "180", "18", order_ref="o10", status="approved", **THERE),
        ],
        [order("t10", "180", "18", order_ref="o10", status="declined")],
    ),
    "backwards": (
        [order("t11", "190", "19", status="approved")],
        [order("t11", "190", "19", status="pending")],
    ),
    "backwards_and_on": (
        [order("t12", "210", "21", status="approved")],
        [order("t12", "210", "21", status="pending")],
        [order("t12", "210", "21", status="approved")],
    ),
    "unpaid_again": (
        [order("t13", "220", "22", status="approved", partner_paid=True)],
        [order("t13", "220", "22", status="approved")],
    ),
    "another_currency": (
        [order("t14", "230", "23", status="approved")],
        # A pound is 1.25 euro.
        [order("t14", "184", "18.4", status="approved", currency="GBP")],
    ),
}  # fmt: skip
A, T = "awin_main", "tradetracker_main"
# Balances after a day; commission is told by account because there are two.
THEN: list[tuple[str, str, str, dict[str, str]]] = [
    ("partial_refund", "t1", "03-05", {f"expected_by_{A}": "10", "pending": "5"}),
    # Half of 6.667 is 3.3335.
    ("partial_refund", "t1", "03-10", {f"owed_by_{A}": "6.667", "payable": "3.33"}),
    ("full_refund", "t2", "03-09", {f"owed_by_{A}": "20", "payable": "10"}),
    ("full_refund", "t2", "03-10", {}),
    ("restated", "t3", "03-09", {f"owed_by_{A}": "30", "payable": "15"}),
    ("restated", "t3", "03-10", {f"owed_by_{A}": "36", "payable": "18"}),
    ("restated", "t3", "03-20", {f"owed_by_{A}": "30", "payable": "15"}),
    ("outside_the_file", "t4", "03-20", {f"owed_by_{A}": "-4"}),
    ("known_only_as_declined", "t5", "03-20", {}),
    ("discount_line", "t6", "03-01", {f"owed_by_{A}": "10.5", "payable": "5.25"}),
    ("id_told_twice", "t7", "03-02", {f"expected_by_{A}": "13", "pending": "6.50"}),
    ("id_told_twice_differently", "t8", "03-20", {}),
    ("at_two_partners", "t9", "03-20", {f"owed_by_{A}": "17", "payable": "8.50"}),
    ("at_two_partners", "u9", "03-20", {f"owed_by_{T}": "17"}),
    ("at_two_partners_and_one_takes_it_back", "t10", "03-20", {}),
    ("at_two_partners_and_one_takes_it_back", "u10", "03-20", {f"owed_by_{T}": "18", "payable": "9"}),
    ("backwards", "t11", "03-09", {f"owed_by_{A}": "19", "payable": "9.50"}),
    ("backwards", "t11", "03-10", {f"expected_by_{A}": "19", "pending": "9.50"}),
    ("backwards_and_on", "t12", "03-19", {f"expected_by_{A}": "21", "pending": "10.50"}),
    ("backwards_and_on", "t12", "03-20", {f"owed_by_{A}": "21", "payable": "10.50"}),
    ("unpaid_again", "t13", "03-20", {f"owed_by_{A}": "22", "payable": "11"}),
    ("another_currency", "t14", "03-09", {f"owed_by_{A}": "23", "payable": "11.50"}),
    # Half of 18.40 pounds is 9.20, which is 11.50 euro.
    ("another_currency", "t14", "03-10", {f"owed_by_{A}_in_GBP": "18.4", "payable": "11.50"}),
]
BREAKS = {
    ("t4", "reversal_without_original"),
    ("t8", "conflicting_versions"),
    ("u9", "duplicate"),
    ("t11", "illegal_status_change"),
    ("t13", "illegal_status_change"),
    ("t14", "currency_differs"),
}


@pytest.fixture(scope="module")
def told_books() -> Books:
    deliveries = []
    for place, observed_at in enumerate(DAYS):
        for account in ("awin", "tradetracker"):
            rows = [
                {**each, "row_number": number}
                for number, each in enumerate(
                    (one for answers in TOLD.values() if place < len(answers) for one in answers[place]), start=1
                )
                if each["partner"] == account
            ]
            if rows:
                deliveries.append(delivery(f"{account}-{place}", observed_at, *rows))
    there = click("there", program_id="p3", partner="tradetracker", member_id="member-1")
    given = world(
        *deliveries,
        models=[model(), model("tradetracker")],
        programs=[program(), program("p3", "tradetracker")],
        clicks=[*clicked("abcdefghijklmnopQRST"), there],
    )
    return books(given, rules=[RULE, RULE | {"rule_id": "r3", "program_id": "p3"}])


@pytest.mark.parametrize(("event", "transaction", "day", "balances"), THEN)
def test_the_books_after_each_day_are_those_by_hand(
    told_books: Books, event: str, transaction: str, day: str, balances: dict[str, str]
) -> None:
    account = T if transaction.startswith("u") else A
    assert event in TOLD
    assert told_books.on(day, f"{account}:{transaction}") == amounts(**balances)


def test_every_event_is_looked_at_and_no_other_break_is_told(told_books: Books) -> None:
    assert {event for event, *_ in THEN} == set(TOLD)
    assert {each for each in told_books.result.kinds() if each[1] != "rate_missing"} == BREAKS
