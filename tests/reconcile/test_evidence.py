"""A decision answers what was seen: whatever changes of it, for every kind of break, the break is open again."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from etl.core.decisions import ALLOWED
from etl.core.kept import OPENING_BREAKS
from tests.reconcile.naive import Row, World
from tests.reconcile.test_agrees_with_naive import agree
from tests.reconcile.worlds import Result, at, click, conversion, decision, delivery, program, row, told, world

REF = "abcdefghijklmnopQRST"
CLICKS = [
    click(REF), click(REF[:16] + "zzz"), click("foreign", program_id="p2"), click("foreign-2", program_id="p2"),
    click("late", "03-01 10:00:01"), click("old", "01-29 09:00"), click("never-told"),
    *(click(f"c{number}") for number in ("7", "7b", "8", "9", "10", "11", "12", "15", "15b", "16")),
]  # fmt: skip


def of(name: str, number: int, commission: str = "10", **said: object) -> Row:
    amounts = {"sale_amount": Decimal(commission) * 10, "commission_amount": Decimal(commission)}
    exact = {column: value.quantize(Decimal("0.0001")) for column, value in amounts.items()}
    return row(name, number, **{**exact, **said})


def rows(*, is_later: bool) -> list[Row]:
    """Return a row, or two, for each kind of break; later ones say something else of the same."""

    def either(first: object, later: object) -> object:
        return later if is_later else first

    return [
        of("unmatched", 1, str(either("10", "20"))),
        of("unmatched-2", 2, click_ref=either(None, "nobodys")),
        of("ambiguous", 3, click_ref=REF[:16]),
        of("click_of_another_program", 4, click_ref=either("foreign", "foreign-2")),
        of("click_after_sale", 5, click_ref="late", occurred_at=either(at("03-01 10:00"), at("03-01 09:59"))),
        of("outside_window", 6, click_ref="old", occurred_at=either(at("03-01 10:00"), at("03-02 10:00"))),
        of("no_click_expected", 7, str(either("10", "11")), kind="bonus"),
        of("duplicate-1", 8, click_ref="c7", order_ref="o7"),
        of("duplicate", 9, click_ref="c7b", order_ref="o7", occurred_at=at("03-01 10:05"),
           commission_amount=Decimal(str(either("10.0000", "10.0090")))),
        of("commission_differs", 10, click_ref="c8", commission_amount=Decimal(str(either("7.0000", "8.0000")))),
        of("currency_differs", 11, click_ref="c9", currency=either("GBP", "USD")),
        of("illegal_status_change", 12, click_ref="c10", status="pending"),
        of("conflicting_versions", 13, click_ref="c12"),
        of("conflicting_versions", 14, str(either("11", "12")), click_ref="c12"),
        of("unknown_program", 15, str(either("10", "20")), partner_program_id="P7"),
        of("reversal_without_original", 16, str(either("-5", "-6"))),
        of("match_would_change", 17, click_ref=either("c15", "c15b")),
    ]  # fmt: skip


def fallen(changed: Row) -> Row:
    """Return the row that was approved before."""
    return of("illegal_status_change", changed["row_number"], click_ref="c10", status="approved")


def there(number: int) -> Row:
    """Return the row that vanishes."""
    return of("vanished_at_partner", number, click_ref="c11")


def seen(*, is_later: bool, decisions: list[Row]) -> World:
    first = rows(is_later=False)
    told_ = [
        delivery("d1", "03-04", fallen(first[11]), there(20)),
        delivery("d2", "03-05", *first, states_scope=True),
    ]
    if is_later:
        again = rows(is_later=True)
        told_ += [
            delivery("d3", "03-06", fallen(again[11]), there(20)),
            delivery("d4", "03-07", *again, states_scope=True),
        ]
    settled = {"sale_id": "awin_main:match_would_change", "rule": "click_ref", "click_id": "c16", "member_id": "m"}
    lost = conversion("missing_at_partner", "never-told", "o99", amount=Decimal(90 if is_later else 80))
    return world(
        *told_,
        programs=[program(), program("p2", merchant_id="m2")],
        clicks=[*CLICKS, *([click(REF[:16] + "yyy")] if is_later else [])],
        conversions=[lost],
        settled=[{**settled, "clicked_at": at("03-01 09:00")}],
        decisions=decisions,
    )


def opened(result: Result) -> set[tuple[str, str]]:
    return {(one["transaction_id"], one["kind"]) for one in result.breaks}


def test_of_every_kind_of_break_what_changes_is_open_again() -> None:
    given = seen(is_later=False, decisions=[])
    first = told(given)
    answers = [
        decision(
            f"x{number}", "release_hold", one["sale_id"], evidence_hash=one["evidence_hash"], break_kind=one["kind"],
            amount=one["amount"],
        )
        for number, one in enumerate(first.breaks)
    ]  # fmt: skip
    kinds = {kind for _, kind in opened(first)}
    assert kinds == {kind for kind in ALLOWED if not kind.startswith("remittance_")} - {*OPENING_BREAKS}
    assert opened(told(replace(given, decisions=answers))) == set()
    # Waiting and disputing answer nothing.
    for kind in ("wait", "dispute"):
        quiet = [{**one, "kind": kind} for one in answers]
        assert opened(told(replace(given, decisions=quiet))) == opened(first)
    after = told(seen(is_later=True, decisions=answers))
    assert opened(first) - opened(after) == set()


def test_less_at_stake_is_no_new_question_and_more_is_one() -> None:
    seen_ = told(world(delivery("d1", "03-04", of("t1", 1))))
    (found,) = seen_.breaks
    answer = decision(
        "x1", "no_cashback", found["sale_id"], evidence_hash=found["evidence_hash"], break_kind="unmatched",
        amount=found["amount"],
    )  # fmt: skip
    for commission, is_open in (("9", False), ("10", False), ("10.01", True)):
        later = world(delivery("d1", "03-04", of("t1", 1, commission)), decisions=[answer])
        assert bool(told(later).breaks) is is_open, commission


def test_a_click_accepted_on_other_evidence_stays_and_holds_the_payout() -> None:
    seen_ = told(world(delivery("d1", "03-04", of("t1", 1)), clicks=CLICKS))
    (found,) = seen_.breaks
    accepted = decision(
        "x1", "accept_click", found["sale_id"], click_id="c7", evidence_hash=found["evidence_hash"],
        break_kind="unmatched", amount=found["amount"], answers=(("awin_main", "t1", ""), "unmatched"),
    )  # fmt: skip
    given = world(delivery("d1", "03-04", of("t1", 1)), clicks=CLICKS, decisions=[accepted])
    result, _ = agree(given)
    assert not result.sales["awin_main:t1"]["is_payout_held"]
    given = world(delivery("d1", "03-04", of("t1", 1, "90")), clicks=CLICKS, decisions=[{**accepted, "answers": None}])
    result, _ = agree(given)
    sale = result.sales["awin_main:t1"]
    assert (sale["rule"], sale["is_payout_held"]) == ("decision", True)
