"""What members are really owed, worked out by hand, and agreement of the truth with what the partners tell."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest

from sandbox.instants import parsed
from sandbox.model import Click, Counts, FindingRule, Life, Program, Row, Rule, Sale, State, World
from sandbox.truth import Net, cashback_minor, rounded, truth_balance, truth_owed
from sandbox.world import build_world
from tests.sandbox.places import LATER

CLICKED = parsed("2026-09-04T09:00:00Z")
SOLD = parsed("2026-09-04T10:30:00Z")
# 0.80 pounds a euro on the Friday, 0.50 on the Monday.
RATES = "Date,GBP,\n2026-09-07,0.50,\n2026-09-04,0.80,\n"


def net(sale: str, commission: str, rows: int = 1, *, is_declined: bool = False) -> Net:
    return Net(Decimal(sale), Decimal(commission), "EUR", rows, is_declined, True)


def rule(basis: str, value: str, cap: str | None = None, rounding: str = "half_even") -> Rule:
    limit = None if cap is None else Decimal(cap)
    return Rule("r-1", "p-1", basis, Decimal(value), limit, "EUR", rounding, parsed("2026-01-01T00:00:00Z"), None)


@pytest.mark.parametrize(
    ("told", "agreed", "rate", "rate_of_contract", "owed"),
    [
        # Half of 3.10 is 1.55.
        (net("62.00", "3.10"), rule("commission_share", "0.5"), "1", "0.05", 155),
        # 0.5 of 0.25 is 0.125: a tie, to even down and up up.
        (net("5.00", "0.25"), rule("commission_share", "0.5"), "1", "0.05", 12),
        (net("5.00", "0.25"), rule("commission_share", "0.5", rounding="half_up"), "1", "0.05", 13),
        # 0.5 of 0.27 is 0.135: a tie whose even neighbour is above.
        (net("5.40", "0.27"), rule("commission_share", "0.5"), "1", "0.05", 14),
        # 2 % of 49.99 is 0.9998.
        (net("49.99", "2.50"), rule("sale_rate", "0.02"), "1", "0.05", 100),
        # A fixed amount, whatever the sale; but nothing for nothing.
        (net("1.00", "0.05"), rule("fixed", "2.50"), "1", "0.05", 250),
        (net("0.00", "0.00"), rule("fixed", "2.50"), "1", "0.05", 0),
        (net("-10.00", "-0.50"), rule("commission_share", "0.5"), "1", "0.05", 0),
        (net("62.00", "3.10", is_declined=True), rule("commission_share", "0.5"), "1", "0.05", 0),
        # Capped after all else.
        (net("1000.00", "50.00"), rule("commission_share", "0.5", cap="12.50"), "1", "0.05", 1250),
        # 3.10 pounds at 0.80 a euro are 3.875 euros; half is 1.9375.
        (net("62.00", "3.10"), rule("commission_share", "0.5"), "0.80", "0.05", 194),
        # Twice the contract is paid as if it were the contract: half of 5.00.
        (net("100.00", "10.00"), rule("commission_share", "0.5"), "1", "0.05", 250),
        # A cent above is rounding, not a difference: half of 5.01 is 2.505, to even.
        (net("100.00", "5.01"), rule("commission_share", "0.5"), "1", "0.05", 250),
        # Eight rows may be four cents off together: half of 5.04, but of 5.05 only the contract.
        (net("100.00", "5.04", 8), rule("commission_share", "0.5"), "1", "0.05", 252),
        (net("100.00", "5.05", 8), rule("commission_share", "0.5"), "1", "0.05", 250),
        # Less than the contract is paid as it was told.
        (net("100.00", "3.00"), rule("commission_share", "0.5"), "1", "0.05", 150),
    ],
)
def test_cashback_is_what_a_clerk_works_out(
    told: Net, agreed: Rule, rate: str, rate_of_contract: str, owed: int
) -> None:
    assert cashback_minor(told, agreed, Decimal(rate_of_contract), Fraction(Decimal(rate))) == owed


def test_rounding_knows_ties() -> None:
    assert [rounded(Fraction(value, 2), "half_even") for value in (1, 3, 5, 7)] == [0, 2, 2, 4]
    assert [rounded(Fraction(value, 2), "half_up") for value in (1, 3, 5, 7)] == [1, 2, 3, 4]
    assert rounded(Fraction(49999, 100000), "half_up") == 0


def one_sale_world(partner: str, *states: State, clicked_at: datetime = CLICKED) -> World:
    """A member, a pound program, and one sale of 62.00 told by the given states."""
    program = Program(
        "p-1",
        "shop-1",
        partner,
        "9001",
        "Kettle",
        "GBP",
        Decimal("0.05"),
        30,
        7,
        parsed("2024-01-01T00:00:00Z"),
        None,
        3,
        None,
    )
    first = replace(rule("commission_share", "0.5"), valid_until=parsed("2026-09-04T00:00:00Z"))
    second = replace(rule("commission_share", "0.6"), rule_id="r-2", valid_from=parsed("2026-09-04T00:00:00Z"))
    click = Click("c-1", partner, "p-1", "m-1", clicked_at, clicked_at)
    sale = Sale(
        "s-1", "o-1", partner, "p-1", "100", "c-1", clicked_at, SOLD, SOLD, "c-1", "m-1", "", Life.APPROVED,
        FindingRule.CLICK_REF, "t-1", True,
    )  # fmt: skip
    rows = tuple(
        Row(partner, f"t-{number}", "s-1", "original", "p-1", "9001", "100", "c-1", 1, clicked_at, SOLD, SOLD, None, 1,
            None, (state,))
        for number, state in enumerate(states, start=1)
    )  # fmt: skip
    return World(
        1, "tiny", date(2026, 9, 1), date(2026, 10, 1), (), (), (program,), (first, second), (click,), (), (),
        (sale,), rows, RATES, Counts(1, 1, len(rows), 1),
    )  # fmt: skip


def told(status: str | None, sale: str, commission: str, at: datetime = SOLD) -> State:
    return State(at, status, Decimal(sale), Decimal(commission), "GBP")


def balance(world: World, as_of: datetime) -> tuple[int, int]:
    rows = truth_balance(world, as_of).to_pylist()
    return (rows[0]["pending_minor"], rows[0]["confirmed_minor"]) if rows else (0, 0)


def test_a_sale_is_owed_at_the_rule_of_its_click_and_the_rate_of_its_day() -> None:
    # 0.6 of 3.10 pounds at 0.80: 2.325 euros, a tie, to even 2.32.
    assert balance(one_sale_world("awin", told("approved", "62.00", "3.10")), LATER) == (0, 232)
    # Clicked a day earlier, under the rule before: 0.5 of 3.875 is 1.9375.
    early = one_sale_world("awin", told("approved", "62.00", "3.10"), clicked_at=CLICKED - timedelta(days=1))
    assert balance(early, LATER) == (0, 194)


def test_a_sale_nobody_has_reported_yet_is_not_owed() -> None:
    world = one_sale_world("awin", told("approved", "62.00", "3.10"))
    assert truth_owed(world, SOLD - timedelta(seconds=1)).num_rows == 0


def test_pending_is_owed_as_pending_and_declined_not_at_all() -> None:
    assert balance(one_sale_world("awin", told("pending", "62.00", "3.10")), LATER) == (232, 0)
    assert balance(one_sale_world("awin", told("declined", "62.00", "3.10")), LATER) == (0, 0)


def test_a_partner_that_never_says_approves_on_the_last_validation_day_in_the_zone_of_the_books() -> None:
    world = one_sale_world("rakuten", told(None, "62.00", "3.10"))
    # Sold on 4 September, seven days: 11 September begins in Berlin at 22:00 UTC on the 10th.
    assert balance(world, parsed("2026-09-10T21:59:59Z")) == (232, 0)
    assert balance(world, parsed("2026-09-10T22:00:00Z")) == (0, 232)


def test_a_signed_row_reduces_its_sale_at_once() -> None:
    refund_at = parsed("2026-09-20T05:30:00Z")
    # Net 31.00 and 1.55: 0.6 of 1.55 pounds at 0.80 is 1.1625.
    world = one_sale_world("rakuten", told(None, "62.00", "3.10"), told(None, "-31.00", "-1.55", refund_at))
    assert balance(world, refund_at - timedelta(seconds=1)) == (0, 232)
    assert balance(world, refund_at) == (0, 116)


def test_of_one_order_told_twice_only_the_earliest_is_credited() -> None:
    world = one_sale_world("awin", told("approved", "62.00", "3.10"))
    later = replace(world.sales[0], sale_key="s-2", partner="rakuten", original_transaction_id="t-9", occurred_at=SOLD)
    row = replace(world.rows[0], sale_key="s-2", partner="rakuten", transaction_id="t-9")
    both = replace(world, sales=(later, *world.sales), rows=(*world.rows, row))
    credited = {entry["partner"]: entry["is_credited"] for entry in truth_owed(both, LATER).to_pylist()}
    # The same moment: then the name of the partner decides.
    assert credited == {"awin": True, "rakuten": False}
    assert balance(both, LATER) == (0, 232)


def test_nobody_is_owed_for_a_sale_without_a_click(small: World) -> None:
    without = [row for row in truth_owed(small, LATER).to_pylist() if row["member_id"] is None]
    assert {row["defects"] for row in without} == {"no_click_bonus", "no_click_coupon", "reversal_without_original"}
    assert all(row["pending_minor"] == row["confirmed_minor"] == 0 for row in without)


def test_what_is_owed_grows_out_of_pending_into_confirmed(small: World) -> None:
    early, late = (truth_owed(small, at).to_pandas() for at in (parsed("2026-09-10T00:00:00Z"), LATER))
    assert early.pending_minor.sum() > early.confirmed_minor.sum() > 0
    assert late.confirmed_minor.sum() > 10 * late.pending_minor.sum() > 0


def test_balances_are_the_sums_of_their_sales(small: World) -> None:
    sales, balances = truth_owed(small, LATER).to_pandas(), truth_balance(small, LATER).to_pandas()
    assert len(balances) > 40
    for column in ("pending_minor", "confirmed_minor"):
        assert sales[column].sum() == balances[column].sum()


def test_what_no_rule_can_find_is_a_small_part_of_what_is_owed() -> None:
    for seed in (1, 2, 3):
        world = build_world(seed, "month", date(2026, 9, 1), date(2026, 10, 1))
        sales = truth_owed(world, LATER).to_pandas()
        owed = sales.pending_minor + sales.confirmed_minor
        assert owed[sales.finding_rule == "none"].sum() < 0.01 * owed.sum()
