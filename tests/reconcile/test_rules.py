"""Each rule, each break and each decision, on worlds small enough to read."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.reconcile.naive import Row, World
from tests.reconcile.test_agrees_with_naive import agree
from tests.reconcile.worlds import at, click, conversion, decision, delivery, model, program, row, told, world

REF = "abcdefghijklmnopQRST"


def of(*rows: Row, **changed: object) -> World:
    return world(delivery("d1", "03-02", *rows), **changed)


@pytest.mark.parametrize(
    ("said", "clicks", "conversions", "rule"),
    [
        ({"click_ref": REF}, [click(REF)], [], "click_ref"),
        ({"click_ref": f" {REF.lower()} "}, [click(REF)], [], "click_ref_repaired"),
        ({"click_ref": REF[:16]}, [click(REF)], [], "click_ref_repaired"),
        ({"click_ref": "a%2Bb%2Fc"}, [click("a+b/c")], [], "click_ref_repaired"),
        ({"click_ref": "a b/c"}, [click("a+b/c")], [], "click_ref_repaired"),
        ({"order_ref": "o1"}, [click(REF)], [conversion("v1", REF, "o1")], "order_ref"),
        (
            {"partner_clicked_at": at("03-01 09:00"), "partner_clicked_precision_seconds": 60},
            [click(REF, "03-01 09:00:40"), click("far", "03-01 09:05")],
            [],
            "click_time",
        ),
    ],
)
def test_each_rule_finds_its_click(said: Row, clicks: list[Row], conversions: list[Row], rule: str) -> None:
    given = of(row(**said), clicks=clicks, conversions=conversions)
    result, _ = agree(given)
    assert (result.matches["t1"]["outcome"], result.matches["t1"]["rule"]) == ("matched", rule)
    assert result.matches["t1"]["click_id"] == clicks[0]["click_id"]
    assert not result.breaks


@pytest.mark.parametrize(
    ("said", "clicks", "kind"),
    [
        ({}, [click(REF)], "unmatched"),
        ({"click_ref": "nobody"}, [click(REF)], "unmatched"),
        ({"click_ref": REF[:16]}, [click(REF), click(REF[:16] + "zzz")], "ambiguous"),
        ({"click_ref": REF}, [click(REF, program_id="p2")], "click_of_another_program"),
        ({"click_ref": REF}, [click(REF, "03-01 10:00:01")], "click_after_sale"),
        ({"click_ref": REF}, [click(REF, "01-29 10:00")], "outside_window"),
        ({"kind": "bonus"}, [click(REF)], "no_click_expected"),
        ({"partner_program_id": "P7", "click_ref": REF}, [click(REF)], "unknown_program"),
        ({"sale_amount": Decimal("-5.0000"), "commission_amount": Decimal("-0.5000")}, [], "reversal_without_original"),
        ({"click_ref": REF, "commission_amount": Decimal("10.0200")}, [click(REF)], "commission_differs"),
        ({"click_ref": REF, "currency": "GBP"}, [click(REF)], "currency_differs"),
    ],
)
def test_each_break_is_told(said: Row, clicks: list[Row], kind: str) -> None:
    given = of(row(**said), clicks=clicks, programs=[program(), program("p2", merchant_id="m2")])
    result, _ = agree(given)
    kinds = result.kinds()
    assert ("t1", kind) in kinds
    assert kinds <= {("t1", kind), ("t1", "rate_missing")}


def test_a_precision_of_a_minute_lets_a_click_of_that_minute_be_before_the_sale() -> None:
    given = of(row(click_ref=REF, occurred_precision_seconds=60), clicks=[click(REF, "03-01 10:00:59")])
    assert told(given).matches["t1"]["rule"] == "click_ref"


def test_a_reference_that_is_nobodys_keeps_other_rules_from_a_click() -> None:
    given = of(
        row(click_ref="somebody-else", order_ref="o1"), clicks=[click(REF)], conversions=[conversion("v1", REF, "o1")]
    )
    result, _ = agree(given)
    assert result.kinds() >= {("t1", "unmatched")}


def test_rules_that_need_uniqueness_wait_for_the_seal_and_the_exact_one_does_not() -> None:
    rows = row(click_ref=REF), row("t2", 2, order_ref="o1", sale_amount=Decimal("90.0000"))
    given = of(*rows, clicks=[click(REF)], conversions=[conversion("v1", REF, "o1")], sealed_until=at("03-01 10:00"))
    result, _ = agree(given)
    assert result.matches["t1"]["outcome"] == "matched"
    assert result.matches["t2"]["outcome"] == "waiting"
    assert ("t2", "unmatched") not in result.kinds()


def test_a_second_click_that_comes_late_takes_a_match_by_time_back() -> None:
    said = row(partner_clicked_at=at("03-01 09:00"), partner_clicked_precision_seconds=60)
    assert told(of(said, clicks=[click(REF)])).matches["t1"]["rule"] == "click_time"
    given = of(said, clicks=[click(REF), click("late", "03-01 09:01:30")])
    result, _ = agree(given)
    assert result.kinds() == {("t1", "ambiguous")}


def test_a_match_that_was_paid_out_stays_and_the_change_is_a_break() -> None:
    said = row(partner_clicked_at=at("03-01 09:00"), partner_clicked_precision_seconds=60)
    settled = {"sale_id": "awin_main:t1", "rule": "click_time", "click_id": REF, "clicked_at": at("03-01 09:00")}
    given = of(
        said, clicks=[click(REF), click("late", "03-01 09:01:30")], settled=[{**settled, "member_id": "member-7"}]
    )
    result = told(given)
    assert result.kinds() == {("t1", "ambiguous"), ("t1", "match_would_change")}
    assert result.sales["awin_main:t1"]["member_id"] == "member-7"
    assert result.sales["awin_main:t1"]["is_payout_held"]


def test_a_reversal_follows_its_original_whatever_the_window() -> None:
    signed = model(reversal_model="signed_rows", signed_row_link="order")
    back = row(
        "t2",
        2,
        order_ref="o1",
        kind="adjustment",
        sale_amount=Decimal("-100.0000"),
        commission_amount=Decimal("-10.0000"),
        processed_at=at("06-01"),
    )
    given = of(row(order_ref="o1", click_ref=REF), back, clicks=[click(REF)], models=[signed])
    result, _ = agree(given)
    assert [result.matches[name]["rule"] for name in ("t1", "t2")] == ["click_ref", "original"]
    assert result.matches["t2"]["click_id"] == REF
    assert set(result.sales) == {"awin_main:P1/o1"}
    assert str(result.versions[1]["effective_on"]) == "2026-06-01"


def test_a_reversal_without_original_holds_the_payout_of_what_it_could_be_about() -> None:
    back = row("t9", 9, sale_amount=Decimal("-100.0000"), commission_amount=Decimal("-10.0000"))
    other = row("t2", 2, sale_amount=Decimal("70.0000"), commission_amount=Decimal("7.0000"), click_ref="other")
    given = of(row(click_ref=REF), other, back, clicks=[click(REF), click("other")])
    result, _ = agree(given)
    held = {name for name, sale in result.sales.items() if sale["is_payout_held"]}
    assert held == {"awin_main:t1"}


@pytest.mark.parametrize("second", [{"order_ref": "o1", "partner": "tradetracker", "partner_program_id": "P3"}])
def test_of_a_duplicate_only_the_earlier_earns(second: Row) -> None:
    given = world(
        delivery("d1", "03-02", row(order_ref="o1", click_ref=REF)),
        delivery("d2", "03-02", row("t2", occurred_at=at("03-01 10:00:30"), click_ref="other", **second)),
        models=[model(), model("tradetracker")],
        programs=[program(), program("p3", "tradetracker")],
        clicks=[click(REF), click("other", program_id="p3", partner="tradetracker")],
    )
    result, _ = agree(given)
    assert result.kinds() == {("t2", "duplicate")}
    assert [result.sales[name]["earns_cashback"] for name in sorted(result.sales)] == [True, False]
    accepted = decision(
        "x1", "accept_click", "tradetracker_main:t2", click_id="other", evidence_hash=result.evidence("duplicate")
    )
    given.decisions = [accepted]
    assert told(given).sales["tradetracker_main:t2"]["earns_cashback"]
    given.decisions = [accepted | {"evidence_hash": "what it said before"}]
    assert not told(given).sales["tradetracker_main:t2"]["earns_cashback"]


@pytest.mark.parametrize(("corrected", "is_duplicate"), [("03-01 22:00", True), ("03-05 22:00", False)])
def test_a_discount_that_came_with_a_late_sale_is_part_of_its_amount(corrected: str, is_duplicate: bool) -> None:
    """Rakuten may process a whole order hours after it: its discount line is no correction for that."""
    late = {"order_ref": "o1", "partner": "rakuten", "partner_program_id": "P3", "click_ref": "other"}
    late |= {"occurred_at": at("03-01 10:00:30")}
    less = {"kind": "adjustment", "sale_amount": Decimal("-5.0000"), "commission_amount": Decimal("-0.5000")}
    more = {"sale_amount": Decimal("105.0000"), "commission_amount": Decimal("10.5000")}
    given = world(
        delivery("d1", "03-02", row(order_ref="o1", click_ref=REF)),
        delivery(
            "d2",
            "03-06",
            row("t2", processed_at=at("03-01 22:00"), **late, **more),
            row("t3", 2, processed_at=at(corrected), **late, **less),
        ),
        models=[model(), model("rakuten", reversal_model="signed_rows", signed_row_link="order")],
        programs=[program(), program("p3", "rakuten")],
        clicks=[click(REF), click("other", program_id="p3", partner="rakuten")],
    )
    result, _ = agree(given)
    assert ("t2", "duplicate") in result.kinds() or not is_duplicate
    assert result.sales["rakuten_main:P3/o1"]["earns_cashback"] is not is_duplicate


def test_one_reference_within_a_minute_is_a_duplicate_and_later_is_not() -> None:
    rows = [row(f"t{n}", n, click_ref=REF, occurred_at=at(f"03-01 {when}")) for n, when in enumerate(
        ("10:00:00", "10:00:59", "10:02:30"), start=1)]  # fmt: skip
    given = of(*rows, clicks=[click(REF)])
    result, _ = agree(given)
    assert result.kinds() == {("t2", "duplicate")}


def test_a_decision_matches_answers_its_evidence_and_is_undone() -> None:
    given = of(row(), clicks=[click(REF)])
    first = told(given)
    accepted = decision("x1", "accept_click", "awin_main:t1", click_id=REF, evidence_hash=first.evidence("unmatched"))
    given.decisions = [accepted]
    after = told(given)
    assert (after.matches["t1"]["rule"], after.matches["t1"]["click_id"]) == ("decision", REF)
    assert not after.breaks
    # The evidence changes: the decision holds on, and the break is open again.
    changed = of(row(click_ref="nobody"), clicks=[click(REF)], decisions=[accepted])
    after = told(changed)
    assert after.matches["t1"]["rule"] == "decision"
    assert after.kinds() == {("t1", "unmatched")}
    given.decisions = [accepted, decision("x2", "undo", "awin_main:t1", undoes="x1")]
    undone = told(given)
    assert undone.breaks == first.breaks
    assert undone.sales == first.sales


def test_a_hold_is_released_and_cashback_refused_by_decision() -> None:
    given = of(row(click_ref=REF, commission_amount=Decimal("20.0000")), clicks=[click(REF)])
    first = told(given)
    assert first.sales["awin_main:t1"]["is_payout_held"]
    given.decisions = [
        decision("x1", "release_hold", "awin_main:t1", evidence_hash=first.evidence("commission_differs")),
        decision("x2", "no_cashback", "awin_main:t1"),
    ]
    after = told(given)
    assert not after.sales["awin_main:t1"]["is_payout_held"]
    assert not after.sales["awin_main:t1"]["earns_cashback"]


def test_an_order_we_saw_and_the_partner_never_told_is_a_break() -> None:
    given = of(
        row(click_ref=REF, order_ref="o1"),
        clicks=[click(REF), click("c2")],
        conversions=[conversion("v1", REF, "o1"), conversion("v2", "c2", "o2")],
    )
    result, _ = agree(given)
    assert result.kinds() == {("v2", "missing_at_partner")}
    given.day = at("03-20").date()
    assert not told(given).breaks


def test_an_exchange_rate_that_stays_away_is_a_break() -> None:
    given = of(row(click_ref=REF, currency="GBP"), clicks=[click(REF)], programs=[program(currency="GBP")])
    assert told(given).kinds() == {("t1", "rate_missing")}
    given.day = at("03-05").date()
    assert not told(given).breaks
