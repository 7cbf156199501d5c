"""Worked examples of partners that correct by further rows (signed rows), by hand: by order or original.

By order as Rakuten's: no status, so all is approved 30 days after the sale of the first of March. By
original as CJ's: a restatement is two new rows, the full reversal and then the new state.
"""

from __future__ import annotations

import pytest

from tests.models.events import RULE, Books, amounts, books, clicked, order
from tests.reconcile.naive import Row
from tests.reconcile.worlds import at, click, delivery, model, program, world

AT_ONCE, LATER, LAST = at("03-01 10:00:04"), at("03-09 18:00"), at("03-20 18:00")


def line(name: str, sale: str, commission: str, order_ref: str | None, **changed: object) -> Row:
    """Return a row of an item report: an order's line, or what takes one back."""
    return order(name, sale, commission, **{
        "partner": "rakuten", "partner_program_id": "P2", "click_ref": "there", "order_ref": order_ref, "status": None,
        "processed_at": AT_ONCE, **changed,
    })  # fmt: skip


def back(name: str, sale: str, commission: str, order_ref: str | None, **changed: object) -> Row:
    """Return a late correction of an order."""
    return line(name, sale, commission, order_ref, **{"kind": "adjustment", "processed_at": LATER, **changed})


def action(name: str, sale: str, commission: str, action_id: str, **changed: object) -> Row:
    """Return a commission record of an action; `restated` ones are corrections of it."""
    return order(name, sale, commission, **{
        "partner": "cj", "partner_program_id": "P3", "click_ref": "third", "original_transaction_id": action_id,
        "processed_at": AT_ONCE, **changed,
    })  # fmt: skip


def restated(name: str, sale: str, commission: str, action_id: str, **changed: object) -> Row:
    """Return one of the new rows of a restatement."""
    return action(name, sale, commission, action_id, **{"kind": "adjustment", "processed_at": LATER, **changed})


RAKUTEN: dict[str, tuple[list[Row], ...]] = {
    "partial_refund": ([line("r1", "100", "10", "o1")], [back("r1-", "-40", "-4", "o1")]),
    "full_refund": (
        [line("r2a", "60", "6", "o2"), line("r2b", "50", "5", "o2")],
        [back("r2a-", "-60", "-6", "o2"), back("r2b-", "-50", "-5", "o2")],
    ),
    "taken_back_and_given_again": (
        [line("r3", "120", "12", "o3")],
        [back("r3-", "-120", "-12", "o3")],
        [line("r3+", "120", "12", "o3", processed_at=LAST)],
    ),
    "outside_the_file": ([], [back("r4-", "-130", "-13", "o4", click_ref=None)]),
    "outside_the_file_until_that_came": ([], [back("r5-", "-40", "-4", "o5")], [line("r5", "140", "14", "o5")]),
    "discount_line": ([line("r6", "155", "15.5", "o6"), line("r6d", "-5", "-0.5", "o6")],),
    "discount_line_of_an_order_told_late": (
        [line("r7", "165", "16.5", "o7", processed_at=LATER), back("r7d", "-5", "-0.5", "o7")],
    ),
    "id_told_twice": ([line("r8", "170", "17", "o8")], [line("r8", "170", "17", "o8")]),
    "at_two_partners": ([line("r9", "180", "18", "o9"), order("a9", "180", "18", order_ref="o9", status="approved")],),
    "another_currency": (
        [line("r10", "190", "19", "o10")],
        [back("r10-", "-8", "-0.8", "o10", currency="GBP")],
    ),
    "takes_back_more_than_it_gave": ([line("r11", "10", "1", "o11")], [back("r11-", "-30", "-3", "o11")]),
}
CJ: dict[str, tuple[list[Row], ...]] = {
    "restated": (
        [action("c1", "100", "10", "880001")],
        [restated("c2", "-100", "-10", "880001"), restated("c3", "60", "6", "880001")],
        [
            action("c1", "100", "10", "880001", status="approved"),
            restated("c2", "-100", "-10", "880001", status="approved"),
            restated("c3", "60", "6", "880001", status="approved"),
        ],
    ),
    "restated_full_refund": ([action("c4", "120", "12", "880004")], [restated("c5", "-120", "-12", "880004")]),
    "restated_outside_the_file": (
        [],
        [restated("c6", "-130", "-13", "880006"), restated("c7", "90", "9", "880006")],
    ),
    "restated_and_at_two_partners": (
        [action("c8", "140", "14", "880008", order_ref="o28"), order("a28", "140", "14", order_ref="o28")],
        [
            restated("c9", "-140", "-14", "880008", order_ref="o28"),
            restated("c10", "70", "7", "880008", order_ref="o28"),
        ],
    ),
    "locked_and_open_again": (
        [action("c11", "150", "15", "880011", status="approved")],
        [action("c11", "150", "15", "880011", status="pending")],
    ),
    "restated_in_another_currency": (
        [action("c12", "160", "16", "880012")],
        [restated("c13", "-160", "-16", "880012"), restated("c14", "80", "8", "880012", currency="GBP")],
    ),
}
R, C, A = "rakuten_main", "cj_main", "awin_main"
THEN: list[tuple[str, str, dict[str, str]]] = [
    (f"{R}:P2/o1", "03-08", {f"expected_by_{R}": "10", "pending": "5"}),
    (f"{R}:P2/o1", "03-09", {f"expected_by_{R}": "6", "pending": "3"}),
    (f"{R}:P2/o1", "03-31", {f"owed_by_{R}": "6", "payable": "3"}),
    (f"{R}:P2/o2", "03-08", {f"expected_by_{R}": "11", "pending": "5.50"}),
    (f"{R}:P2/o2", "03-09", {}),
    (f"{R}:P2/o2", "03-31", {}),
    # What is given again is not there before it was taken back.
    (f"{R}:P2/o3", "03-08", {f"expected_by_{R}": "12", "pending": "6"}),
    (f"{R}:P2/o3", "03-09", {}),
    (f"{R}:P2/o3", "03-20", {f"expected_by_{R}": "12", "pending": "6"}),
    (f"{R}:P2/o4", "03-08", {}),
    (f"{R}:P2/o4", "03-20", {f"expected_by_{R}": "-13"}),
    (f"{R}:P2/o5", "03-08", {f"expected_by_{R}": "14", "pending": "7"}),
    (f"{R}:P2/o5", "03-20", {f"expected_by_{R}": "10", "pending": "5"}),
    (f"{R}:P2/o6", "03-01", {f"expected_by_{R}": "15", "pending": "7.50"}),
    # However late an order is told, its discount is of the same day.
    (f"{R}:P2/o7", "03-01", {f"expected_by_{R}": "16", "pending": "8"}),
    (f"{R}:P2/o8", "03-20", {f"expected_by_{R}": "17", "pending": "8.50"}),
    # Of one sale at two partners the smaller key earns where the instant is the same.
    (f"{R}:P2/o9", "03-20", {f"expected_by_{R}": "18"}),
    (f"{A}:a9", "03-20", {f"owed_by_{A}": "18", "payable": "9"}),
    (f"{R}:P2/o10", "03-08", {f"expected_by_{R}": "19", "pending": "9.50"}),
    # Cashback waits for a person.
    (f"{R}:P2/o10", "03-09", {f"expected_by_{R}": "19", f"expected_by_{R}_in_GBP": "-0.8"}),
    (f"{R}:P2/o11", "03-08", {f"expected_by_{R}": "1", "pending": "0.50"}),
    (f"{R}:P2/o11", "03-09", {f"expected_by_{R}": "-2"}),
    (f"{C}:880001", "03-08", {f"expected_by_{C}": "10", "pending": "5"}),
    (f"{C}:880001", "03-09", {f"expected_by_{C}": "6", "pending": "3"}),
    (f"{C}:880001", "03-20", {f"owed_by_{C}": "6", "payable": "3"}),
    (f"{C}:880004", "03-08", {f"expected_by_{C}": "12", "pending": "6"}),
    (f"{C}:880004", "03-09", {}),
    (f"{C}:880006", "03-08", {}),
    (f"{C}:880006", "03-20", {f"expected_by_{C}": "-4"}),
    # The sale is the same at both by what it was at first, not by what it was restated to.
    (f"{C}:880008", "03-20", {f"expected_by_{C}": "7"}),
    (f"{A}:a28", "03-20", {f"expected_by_{A}": "14", "pending": "7"}),
    (f"{C}:880011", "03-09", {f"owed_by_{C}": "15", "payable": "7.50"}),
    (f"{C}:880011", "03-10", {f"expected_by_{C}": "15", "pending": "7.50"}),
    (f"{C}:880012", "03-08", {f"expected_by_{C}": "16", "pending": "8"}),
    (f"{C}:880012", "03-09", {f"expected_by_{C}_in_GBP": "8"}),
]
BREAKS = {
    ("r4-", "reversal_without_original"),
    ("r9", "duplicate"),
    ("r10", "currency_differs"),
    ("c7", "reversal_without_original"),
    ("c8", "duplicate"),
    ("c11", "illegal_status_change"),
    ("c12", "currency_differs"),
}


@pytest.fixture(scope="module")
def told_books() -> Books:
    deliveries = []
    for place, observed_at in enumerate(("03-02", "03-10", "03-20")):
        told = [one for answers in (RAKUTEN | CJ).values() if place < len(answers) for one in answers[place]]
        for partner in ("awin", "cj", "rakuten"):
            rows = [
                row | {"row_number": number} for number, row in enumerate(told, start=1) if row["partner"] == partner
            ]
            if rows:
                deliveries.append(delivery(f"{partner}-{place}", observed_at, *rows))
    given = world(
        *deliveries,
        models=[
            model(),
            model("rakuten", reversal_model="signed_rows", signed_row_link="order", has_status=False),
            model("cj", reversal_model="signed_rows", signed_row_link="original"),
        ],
        programs=[program(), program("p2", "rakuten"), program("p3", "cj")],
        clicks=[
            *clicked("abcdefghijklmnopQRST"),
            click("there", program_id="p2", partner="rakuten", member_id="member-1"),
            click("third", program_id="p3", partner="cj", member_id="member-1"),
        ],
    )
    return books(given, rules=[RULE | {"rule_id": name, "program_id": name} for name in ("p1", "p2", "p3")])


@pytest.mark.parametrize(("sale_id", "day", "balances"), THEN)
def test_the_books_after_each_day_are_those_by_hand(
    told_books: Books, sale_id: str, day: str, balances: dict[str, str]
) -> None:
    assert told_books.on(day, sale_id) == amounts(**balances)


def test_every_sale_is_looked_at_and_no_other_break_is_told(told_books: Books) -> None:
    assert {sale_id for sale_id, *_ in THEN} == set(told_books.result.sales)
    assert {each for each in told_books.result.kinds() if each[1] != "rate_missing"} == BREAKS
