"""The judge of the sandbox finds nothing in perfect books, and every single fault that is put into them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from fractions import Fraction

import pytest

from sandbox.judge import Books, Owed, judge_books
from sandbox.model import ACCOUNTS, Row, World
from sandbox.truth import net_at, truth_owed
from sandbox.world import build_world

AS_OF = datetime(2026, 11, 20, 6, 30)


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(3, "small", date(2026, 9, 1), date(2026, 10, 1))


@pytest.fixture(scope="module")
def books(world: World) -> Books:
    """What a warehouse would say that knows the truth: its sales have the truth's own names."""
    rows_of: dict[str, list[Row]] = defaultdict(list)
    for row in world.rows:
        if row.state_at(AS_OF) is not None:
            rows_of[row.sale_key].append(row)
    owed: dict[Owed, int] = {}
    for row in truth_owed(world, AS_OF).to_pylist():
        for state in ("pending", "confirmed"):
            if row[f"{state}_minor"]:
                owed[row["sale_key"], row["member_id"], row["cashback_currency"], state] = row[f"{state}_minor"]
    commission: dict[tuple[str, str], int] = defaultdict(int)
    matches = []
    for sale in world.sales:
        net = net_at(rows_of[sale.sale_key], AS_OF)
        if net is not None:
            commission[ACCOUNTS[sale.partner], net.currency] += int(net.commission.scaleb(4))
        is_found = sale.finding_rule != "none"
        for row in rows_of[sale.sale_key]:
            said = ("matched", sale.true_click_id, "click_ref") if is_found else ("unmatched", None, None)
            matches.append((ACCOUNTS[sale.partner], row.transaction_id, *said))
    return Books(
        {(ACCOUNTS[row.partner], row.transaction_id): key for key, rows in rows_of.items() for row in rows},
        matches,
        {},
        owed,
        commission,
        [],
    )


def test_perfect_books_are_right_to_the_last_sale(world: World, books: Books) -> None:
    verdict = judge_books(world, books, AS_OF)
    print("\n".join(verdict.lines))
    assert verdict.problems == []
    assert verdict.sales > 400 and verdict.right == verdict.matched == verdict.found == verdict.findable
    assert verdict.balances > 50 and verdict.owed > 0 and verdict.commission > 0
    assert (verdict.excused_sales, verdict.never_seen, verdict.excused_share) == (0, 0, 0)


def some(books: Books, minor_min: int = 2) -> Owed:
    return min(owed for owed, minor in books.owed.items() if minor >= minor_min)


def changed(books: Books, owed: Owed, minor: int) -> Books:
    return replace(books, owed={**books.owed, owed: minor})


def a_cent_more(_: World, books: Books) -> Books:
    return changed(books, some(books), books.owed[some(books)] + 1)


def another_currency(_: World, books: Books) -> Books:
    sale, member, _currency, state = owed = some(books)
    return changed(changed(books, owed, 0), (sale, member, "GBP", state), books.owed[owed])


def another_member(world: World, books: Books) -> Books:
    sale, member, currency, state = owed = some(books)
    other = next(one.member_id for one in world.members if one.member_id != member)
    return changed(changed(books, owed, 0), (sale, other, currency, state), books.owed[owed])


def another_state(_: World, books: Books) -> Books:
    sale, member, currency, state = owed = some(books)
    other = "pending" if state == "confirmed" else "confirmed"
    return changed(changed(books, owed, 0), (sale, member, currency, other), books.owed[owed])


def a_sale_nobody_made(_: World, books: Books) -> Books:
    return changed(books, ("invented", some(books)[1], "EUR", "confirmed"), 100)


def a_row_nobody_sent(_: World, books: Books) -> Books:
    return replace(books, sale_of={**books.sale_of, ("awin_main", "1"): "invented"})


def a_declined_sale_forgotten(world: World, books: Books) -> Books:
    """It owes nothing, so no sum would tell."""
    paid = {owed[0] for owed in books.owed}
    forgotten = next(key for key in books.sale_of.values() if key not in paid)
    return replace(books, sale_of={row: key for row, key in books.sale_of.items() if key != forgotten})


def two_sales_as_one(_: World, books: Books) -> Books:
    row, other = min(books.sale_of), max(books.sale_of)
    return replace(books, sale_of={**books.sale_of, row: books.sale_of[other]})


def commission_short(_: World, books: Books) -> Books:
    key = min(books.commission)
    return replace(books, commission={**books.commission, key: books.commission[key] - 1})


def a_break_that_excuses_nothing(_: World, books: Books) -> Books:
    return replace(a_cent_more(_, books), breaks={some(books)[0]: frozenset({"commission_differs", "duplicate"})})


def unmatched_and_yet_paid(_: World, books: Books) -> Books:
    return replace(a_cent_more(_, books), breaks={some(books)[0]: frozenset({"unmatched"})})


@pytest.mark.parametrize(
    "fault",
    [
        a_cent_more, another_currency, another_member, another_state, a_sale_nobody_made, a_row_nobody_sent,
        a_declined_sale_forgotten, two_sales_as_one, commission_short, a_break_that_excuses_nothing,
        unmatched_and_yet_paid,
    ],
)  # fmt: skip
def test_a_single_fault_is_a_problem(world: World, books: Books, fault: Callable[[World, Books], Books]) -> None:
    assert judge_books(world, fault(world, books), AS_OF).problems


def test_a_break_excuses_only_what_it_leaves_out_and_by_how_much_is_told(world: World, books: Books) -> None:
    owed = some(books, 100)
    broken = replace(changed(books, owed, 0), breaks={owed[0]: frozenset({"outside_window"})})
    verdict = judge_books(world, broken, AS_OF)
    assert verdict.problems == []
    assert dict(verdict.excused) == {"outside_window": Fraction(books.owed[owed])}
    assert verdict.excused_sales == 1
    assert verdict.excused_share == Fraction(books.owed[owed]) / verdict.commission


def test_a_wrong_click_of_any_row_of_a_sale_is_a_wrong_match(world: World, books: Books) -> None:
    of_sale: dict[str, list[int]] = defaultdict(list)
    for place, match in enumerate(books.matches):
        of_sale[books.sale_of[match[0], match[1]]].append(place)
    last = next(places[-1] for places in of_sale.values() if len(places) > 2 and books.matches[places[-1]][3])
    matches = list(books.matches)
    account, row, *_ = matches[last]
    matches[last] = (account, row, "matched", "another", "original")
    verdict = judge_books(world, replace(books, matches=matches), AS_OF)
    assert dict(verdict.wrong_by_rule) == {"original": 1}
    assert (verdict.matched - verdict.right, verdict.findable - verdict.found, len(verdict.missed)) == (1, 1, 1)


def test_a_sale_is_unseen_only_if_it_was_there_at_no_answer(world: World, books: Books) -> None:
    gone = [row for row in world.rows if (last := row.state_at(AS_OF)) is not None and last.is_vanished]
    row = gone[0]
    sale_of = {key: sale for key, sale in books.sale_of.items() if sale != row.sale_key}
    owed = {one: minor for one, minor in books.owed.items() if one[0] != row.sale_key}
    commission = dict(books.commission)
    commission[ACCOUNTS[row.partner], row.states[-1].currency] -= int(row.states[-1].commission_amount.scaleb(4))
    without = replace(books, sale_of=sale_of, owed=owed, commission=commission)
    verdict = judge_books(world, without, AS_OF)
    assert (verdict.problems, verdict.never_seen) == ([], 1)
    account, window = ACCOUNTS[row.partner], ("2026-08-01", "2026-11-01")
    for seconds, is_unseen in ((-1, True), (0, False)):
        at = row.states[0].at + timedelta(seconds=seconds)
        verdict = judge_books(world, replace(without, deliveries=[(account, *window, at)]), AS_OF)
        assert (verdict.problems == [], verdict.never_seen == 1) == (is_unseen, is_unseen)
