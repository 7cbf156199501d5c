"""Worked examples of partners that tell sums only (aggregate): a day, a program, a reference, told anew as a whole.

All are pay per click of the first days of March, without a status, approved 30 days later; cashback is half of it.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from tests.models.events import RULE, Books, amounts, books, order
from tests.reconcile.naive import Delivery, Row
from tests.reconcile.worlds import at, click, delivery, model, program, versioned, world

REFS = [f"reference-of-{each}" for each in "abcdefghjkmnpqr"][:14]
A, B, C, D, E, F, G, H, P, J, K, Q, M, N = REFS


def total(day: str, ref: str | None, commission: str, **changed: object) -> Row:
    """Return the sum of a day; the day begins at midnight in Paris."""
    key = f"2026-{day}/fr/{ref or ''}"
    return order(key, "0", commission, **{
        "partner": "kelkoo", "partner_program_id": "fr", "kind": "lead", "click_ref": ref, "status": None,
        "occurred_at": at(day) - timedelta(hours=1), "occurred_precision_seconds": 86_400, **changed,
    })  # fmt: skip


# What each whole answer says; the last one holds on.
DAYS = ("03-06", "03-10", "03-20", "04-10")
TOLD: dict[str, tuple[list[Row], ...]] = {
    "partial_refund": ([total("03-01", A, "10")], [total("03-01", A, "8")]),
    "full_refund": ([total("03-01", B, "11")], []),
    "left_out_and_told_again": ([total("03-01", C, "12")], [], [total("03-01", C, "12")]),
    "restated_after_approval": ([total("03-01", D, "13")],) * 3 + ([total("03-01", D, "9.01")],),
    "taken_back_on_a_later_day": ([total("03-02", E, "6"), total("03-05", E, "-2")],),
    "outside_the_file_too_much_for_one_day": (
        [total("03-01", F, "1"), total("03-02", F, "1.1"), total("03-05", F, "-1.5")],
    ),
    "outside_the_file": ([total("03-05", G, "-3")],),
    "same_sum_on_two_days": ([total("03-03", H, "5"), total("03-04", H, "5")],),
    "key_told_twice": ([total("03-01", P, "7"), total("03-01", P, "7")],),
    "key_told_twice_differently": ([total("03-01", J, "7"), total("03-01", J, "7.5")],),
    "at_two_partners": (
        [total("03-01", K, "8"), order("a1", "80", "8", click_ref=K, occurred_at=at("03-01 10:00"))],
    ),
    # A pound is 1.25 euro.
    "another_currency": ([total("03-01", Q, "9")], [total("03-01", Q, "7.2", currency="GBP")]),
    "nobodys": ([total("03-01", None, "2")],),
    "rejected_later": ([total("03-01", M, "4")], []),
    "first_told_late": ([], [], [total("03-01", N, "3")]),
}  # fmt: skip
SALE, OTHER = "kelkoo_main:2026-", "awin_main"
X, Y = "expected_by_kelkoo_main", "owed_by_kelkoo_main"
THEN: list[tuple[str, str, dict[str, str]]] = [
    (f"03-01/fr/{A}", "03-09", {X: "10", "pending": "5"}),
    (f"03-01/fr/{A}", "03-10", {X: "8", "pending": "4"}),
    (f"03-01/fr/{A}", "03-31", {Y: "8", "payable": "4"}),
    (f"03-01/fr/{B}", "03-09", {X: "11", "pending": "5.50"}),
    (f"03-01/fr/{B}", "03-10", {}),
    (f"03-01/fr/{C}", "03-10", {}),
    (f"03-01/fr/{C}", "03-20", {X: "12", "pending": "6"}),
    (f"03-01/fr/{D}", "03-31", {Y: "13", "payable": "6.50"}),
    # Half of 9.01 is 4.505: half even.
    (f"03-01/fr/{D}", "04-10", {Y: "9.01", "payable": "4.50"}),
    (f"03-02/fr/{E}", "03-04", {X: "6", "pending": "3"}),
    (f"03-02/fr/{E}", "03-05", {X: "4", "pending": "2"}),
    (f"03-01/fr/{F}", "03-31", {Y: "1", "payable": "0.50"}),
    (f"03-02/fr/{F}", "04-01", {Y: "1.1", "payable": "0.55"}),
    (f"03-05/fr/{F}", "03-05", {X: "-1.5"}),
    (f"03-05/fr/{G}", "03-05", {X: "-3"}),
    (f"03-03/fr/{H}", "03-04", {X: "5", "pending": "2.50"}),
    (f"03-04/fr/{H}", "03-04", {X: "5", "pending": "2.50"}),
    (f"03-01/fr/{P}", "03-04", {X: "7", "pending": "3.50"}),
    (f"03-01/fr/{J}", "03-31", {}),
    (f"03-01/fr/{K}", "03-04", {X: "8", "pending": "4"}),
    (f"03-01/fr/{Q}", "03-09", {X: "9", "pending": "4.50"}),
    (f"03-01/fr/{Q}", "03-10", {f"{X}_in_GBP": "7.2", "pending": "4.50"}),
    ("03-01/fr/", "03-04", {X: "2"}),
    (f"03-01/fr/{M}", "03-20", {X: "4", "pending": "2"}),
    (f"03-01/fr/{N}", "03-20", {X: "3", "pending": "1.50"}),
]
BREAKS = {
    (f"2026-03-05/fr/{F}", "reversal_without_original"),
    (f"2026-03-05/fr/{G}", "reversal_without_original"),
    (f"2026-03-01/fr/{J}", "conflicting_versions"),
    (f"2026-03-01/fr/{Q}", "currency_differs"),
    ("2026-03-01/fr/", "unmatched"),
    # A click is of one program at one partner: that of its reference is the only one it earns by.
    ("a1", "click_of_another_program"),
}


def whole(name: str, observed_at: str, *rows: Row, **changed: object) -> Delivery:
    """Return an answer that holds all of the first days of March."""
    numbered = [row | {"row_number": number} for number, row in enumerate(rows, start=1)]
    scope = {"partner_account": "kelkoo_main", "states_scope": True, "from_at": at("02-28"), "until_at": at("03-06")}
    return delivery(name, observed_at, *numbered, **{**scope, **changed})


@pytest.fixture(scope="module")
def told_books() -> Books:
    deliveries = []
    for place, observed_at in enumerate(DAYS):
        said = [row for answers in TOLD.values() for row in answers[min(place, len(answers) - 1)]]
        sums = [row for row in said if row["partner"] == "kelkoo"]
        rejected = [(f"2026-03-01/fr/{M}", None)] if place else []
        deliveries.append(whole(f"k{place}", observed_at, *sums, rejected=rejected))
        deliveries.append(delivery(f"a{place}", observed_at, *(row for row in said if row["partner"] == "awin")))
    given = world(
        *deliveries,
        models=[model(), model("kelkoo", reversal_model="aggregate", has_status=False)],
        programs=[program(), program("p2", "kelkoo", partner_program_id="fr", commission_rate=None)],
        clicks=[click(each, "02-28 10:00", program_id="p2", partner="kelkoo", member_id="member-1") for each in REFS],
    )
    return books(given, rules=[RULE, RULE | {"rule_id": "r2", "program_id": "p2"}])


@pytest.mark.parametrize(("sale", "day", "balances"), THEN)
def test_the_books_after_each_day_are_those_by_hand(
    told_books: Books, sale: str, day: str, balances: dict[str, str]
) -> None:
    assert told_books.on(day, f"{SALE}{sale}") == amounts(**balances)


def test_every_sum_is_looked_at_and_no_other_break_is_told(told_books: Books) -> None:
    conflicting = f"{SALE}03-01/fr/{J}"
    assert {f"{SALE}{sale}" for sale, *_ in THEN} - {conflicting} == set(told_books.result.sales) - {"awin_main:a1"}
    assert {each for each in told_books.result.kinds() if each[1] != "rate_missing"} == BREAKS
    assert told_books.on("03-04", "awin_main:a1") == amounts(expected_by_awin_main="8")


def test_days_that_a_reversal_could_be_of_are_not_paid_out(told_books: Books) -> None:
    held = {sale for sale, one in told_books.result.sales.items() if one["is_payout_held"]}
    assert {f"{SALE}03-01/fr/{F}", f"{SALE}03-02/fr/{F}"} <= held
    assert f"{SALE}03-02/fr/{E}" not in held


def test_what_an_answer_does_not_speak_of_stays() -> None:
    laters: list[Row] = [
        {"states_scope": False},
        {"has_unkeyed_rejects": True},
        {"rejected": [(f"2026-03-01/fr/{A}", None)]},
        {"until_at": at("02-28 12:00")},
        {"from_at": at("03-01 12:00")},
    ]
    for later in [*laters, {}]:
        given = world(
            whole("k0", "03-06", total("03-01", A, "10")),
            whole("k1", "03-07", total("03-02", A, "1"), **later),
            models=[model("kelkoo", reversal_model="aggregate", has_status=False)],
            programs=[],
        )
        chain = [one for one in versioned(given).versions.to_pylist() if one["transaction_id"] == f"2026-03-01/fr/{A}"]
        assert [one["commission_amount"] for one in chain] == [Decimal(10)] + ([] if later else [Decimal(0)]), later


def test_a_day_that_is_zero_has_the_answer_that_left_it_out_and_no_row() -> None:
    given = world(
        whole("k0", "03-06", total("03-01", A, "10")),
        whole("k1", "03-07"),
        models=[model("kelkoo", reversal_model="aggregate", has_status=False)],
        programs=[program("p1", "kelkoo", partner_program_id="fr", commission_rate=None)],
    )
    first, second = books(given).result.versions
    assert (second["delivery_id"], second["row_number"], second["is_absent"]) == ("k1", 0, False)
    assert (first["commission_amount"], second["commission_amount"]) == (Decimal(10), Decimal(0))
