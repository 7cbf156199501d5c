"""Whose debt a balance below zero is: the order of offset by hand, and what holds of any course."""

from __future__ import annotations

from collections import defaultdict
from datetime import date, timedelta
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from etl.core.clawback import Course, DebtEvent, Document, Movement, course
from etl.core.configuration import ClawbackPolicy

FIRST = date(2026, 3, 1)
POLICY = ClawbackPolicy(date(2026, 1, 1), {"EUR": 5000}, 90, {"EUR": 300})
PAYOUT: Document = ("payout", "p")


def on(offset: int) -> date:
    return FIRST + timedelta(days=offset)


def moved(offset: int, name: str, amount: int) -> Movement:
    return Movement(on(offset), PAYOUT if name == "p" else ("sale", name), amount)


def told(found: Course) -> list[tuple[str, str, int, int, str | None]]:
    """Return the steps as event, document, days since the first, amount, and what it was taken off."""
    return [
        (str(each.event), each.document[1], (each.on - FIRST).days, each.amount_minor, each.by and each.by[1])
        for each in found.steps
    ]


def test_the_oldest_debt_is_offset_first_by_what_becomes_payable_later() -> None:
    """Shoes of 5.00 and a lamp of 3.00 are paid out and sent back; a book of 6.00 pays shoes, then lamp."""
    found = course(
        [
            moved(0, "shoes", 500), moved(1, "lamp", 300), moved(10, "p", -800),
            moved(20, "lamp", -300), moved(15, "shoes", -500), moved(30, "book", 600),
        ],
        {"p": [(("sale", "lamp"), 300), (("sale", "shoes"), 500)]}, (), "EUR", on(40),
    )  # fmt: skip
    assert told(found) == [
        ("incurred", "shoes", 15, 500, None),
        ("incurred", "lamp", 20, 300, None),
        ("offset", "shoes", 30, 500, "book"),
        ("offset", "lamp", 30, 100, "book"),
    ]
    assert [(debt.document[1], debt.left_minor) for debt in found.debts] == [("lamp", 200)]


def test_a_debt_that_comes_is_paid_from_what_is_payable_and_not_paid_out() -> None:
    movements = [moved(0, "shoes", 500), moved(5, "p", -500), moved(6, "book", 200), moved(9, "shoes", -500)]
    found = course(movements, {"p": [(("sale", "shoes"), 500)]}, (), "EUR", on(40))
    assert told(found) == [("incurred", "shoes", 9, 500, None), ("offset", "shoes", 9, 200, "book")]
    assert found.left_minor == 300


def test_a_reversal_known_late_but_true_before_the_payout_is_a_debt_of_the_sale_that_was_paid() -> None:
    movements = [moved(0, "shoes", 500), moved(0, "book", 100), moved(3, "shoes", -500), moved(9, "p", -600)]
    found = course(movements, {"p": [(("sale", "book"), 100), (("sale", "shoes"), 500)]}, (), "EUR", on(40))
    assert told(found) == [("incurred", "shoes", 9, 500, None)]


def test_a_small_old_debt_is_written_off_and_taken_back_when_the_sale_counts_again() -> None:
    """3.00 after 90 days; then the sale counts again for 2.00 of it: so much less is written off, no more is paid."""
    movements = [
        moved(0, "shoes", 300), moved(1, "p", -300), moved(5, "shoes", -300), moved(100, "book", 400),
        moved(200, "shoes", 200),
    ]  # fmt: skip
    lines = {"p": [(("sale", "shoes"), 300)]}
    assert course(movements, lines, (POLICY,), "EUR", on(94)).left_minor == 300
    found = course(movements, lines, (POLICY,), "EUR", on(300))
    assert told(found) == [
        ("incurred", "shoes", 5, 300, None),
        ("written_off", "shoes", 95, 300, None),
        ("taken_back", "shoes", 200, 200, None),
    ]
    assert list(found.written_off()) == [(("sale", "shoes"), on(95), 300), (("sale", "shoes"), on(200), -200)]


def test_what_is_owed_altogether_decides_and_a_policy_counts_from_its_day_on() -> None:
    movements = [moved(0, "shoes", 400), moved(1, "p", -400), moved(5, "shoes", -400), moved(120, "book", 150)]
    lines = {"p": [(("sale", "shoes"), 400)]}
    # 4.00 is too much for the policy until the book brought it down to 2.50, when it is old enough long since.
    assert list(course(movements, lines, (POLICY,), "EUR", on(200)).written_off()) == [
        (("sale", "shoes"), on(120), 250)
    ]
    generous = ClawbackPolicy(on(100), {}, 90, {"EUR": 1000})
    assert list(course(movements, lines, (POLICY, generous), "EUR", on(200)).written_off()) == [
        (("sale", "shoes"), on(100), 400)
    ]
    strict = ClawbackPolicy(on(110), {}, None, {})
    assert list(course(movements, lines, (POLICY, strict), "EUR", on(200)).written_off()) == []
    assert list(course(movements, lines, (POLICY,), "USD", on(200)).written_off()) == []


_MOVES = st.lists(
    st.tuples(st.integers(0, 60), st.sampled_from(("a", "b", "c", "p")), st.integers(-500, 500)), max_size=12
)


@given(_MOVES, st.randoms(use_true_random=False), st.integers(0, 90), st.booleans())
@settings(max_examples=300, deadline=None)
def test_a_debt_is_settled_once_and_cashback_settles_once(
    moves: list[tuple[int, str, int]], random: Random, day: int, has_policy: bool
) -> None:
    """Whatever happens in whatever order it is told: debts and balance agree to the cent, and nothing counts twice."""
    policy = ClawbackPolicy(date(2026, 1, 1), {}, 7, {"EUR": 400})
    policies = (policy,) if has_policy else ()
    movements = [moved(offset, name, amount) for offset, name, amount in moves]
    lines = {"p": [(("sale", "a"), 300), (("sale", "b"), 100), (("sale", "c"), -50)]}
    found = course(movements, lines, policies, "EUR", on(day))
    assert all(step.amount_minor > 0 and step.on <= on(day) for step in found.steps)
    balance = sum(each.amount_minor for each in movements if each.on <= on(day))
    balance += sum(minor for _, _, minor in found.written_off())
    assert found.left_minor == max(-balance, 0)

    of: dict[tuple[DebtEvent, Document], int] = defaultdict(int)
    used: dict[Document, int] = defaultdict(int)
    for step in found.steps:
        of[step.event, step.document] += step.amount_minor
        if step.by is not None:
            used[step.by] += step.amount_minor
        assert of[DebtEvent.TAKEN_BACK, step.document] <= of[DebtEvent.WRITTEN_OFF, step.document]
    for document in {step.document for step in found.steps}:
        settled = sum(of[event, document] for event in (DebtEvent.OFFSET, DebtEvent.REINSTATED, DebtEvent.WRITTEN_OFF))
        left = sum(debt.left_minor for debt in found.debts if debt.document == document)
        assert of[DebtEvent.INCURRED, document] == settled + left
    for document, amount in used.items():
        assert amount <= sum(max(each.amount_minor, 0) for each in movements if each.document == document)
    assert [debt.since for debt in found.debts] == sorted(debt.since for debt in found.debts)

    shuffled = list(movements)
    random.shuffle(shuffled)
    # Two movements of one document on one day are one: the books sum them.
    if len({(each.on, each.document) for each in movements}) == len(movements):
        assert course(shuffled, lines, policies, "EUR", on(day)) == found
