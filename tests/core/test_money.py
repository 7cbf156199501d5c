"""Promises of money: exact or refused, rounded once by name, and shares that sum to what was shared."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from etl.core.errors import Stop
from etl.core.money import (
    Asset,
    Rounding,
    allocate,
    conversion_rate,
    exponent,
    from_minor,
    member_asset,
    partner_asset,
    round_to_minor,
    to_minor,
)

MINOR = st.integers(-(10**17), 10**17)
WEIGHTS = st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=12)
POSITIVE = st.lists(st.integers(0, 10**12), min_size=1, max_size=12).filter(any)
SCALE = st.integers(0, 4)
few = settings(max_examples=100, deadline=None)


@few
@given(MINOR, WEIGHTS)
@example(1, [1, 1, 1])
@example(-1, [1, 1, 1])
@example(100, [3, -1])
@example(0, [0, 0])
def test_shares_sum_to_what_was_shared(total: int, weights: list[int]) -> None:
    assume(sum(weights) or not total)
    shares = allocate(total, weights)
    assert len(shares) == len(weights)
    assert sum(shares) == total


@few
@given(MINOR, POSITIVE)
def test_a_share_is_less_than_one_unit_from_its_proportion(total: int, weights: list[int]) -> None:
    whole = sum(weights)
    for share, weight in zip(allocate(total, weights), weights, strict=True):
        assert abs(share * whole - total * weight) < whole


@few
@given(MINOR, POSITIVE)
def test_what_weighs_nothing_gets_nothing(total: int, weights: list[int]) -> None:
    shares = allocate(total, [*weights, 0])
    assert shares[-1] == 0


@few
@given(MINOR, WEIGHTS)
def test_taking_back_gives_exactly_what_was_given(total: int, weights: list[int]) -> None:
    assume(sum(weights))
    assert allocate(-total, weights) == [-share for share in allocate(total, weights)]


def test_ties_go_to_the_earlier_place() -> None:
    assert allocate(2, [1, 1, 1]) == [1, 1, 0]
    assert allocate(5, [1, 1]) == [3, 2]


def test_a_total_over_weights_of_zero_is_refused_and_nothing_is_nothing() -> None:
    assert allocate(0, [5, -5]) == [0, 0]
    with pytest.raises(Stop, match="weights that sum to zero"):
        allocate(1, [5, -5])


@few
@given(MINOR, SCALE)
def test_minor_units_and_back_are_the_same(minor: int, scale: int) -> None:
    assert to_minor(from_minor(minor, scale), scale) == minor
    assert -int(from_minor(minor, scale).as_tuple().exponent) == scale


@pytest.mark.parametrize(("text", "scale"), [("0.005", 2), ("1.5", 0), ("-0.00001", 4)])
def test_what_is_not_exact_is_refused_not_rounded(text: str, scale: int) -> None:
    with pytest.raises(Stop, match="cannot be booked exactly"):
        to_minor(Decimal(text), scale)


@few
@given(st.decimals(-(10**12), 10**12, allow_nan=False, places=10), SCALE, st.sampled_from(Rounding))
def test_rounding_moves_by_half_a_unit_at_most_and_ignores_the_sign(
    amount: Decimal, scale: int, rounding: Rounding
) -> None:
    minor = round_to_minor(amount, scale, rounding)
    assert abs(from_minor(minor, scale) - amount) * 2 <= Decimal(1).scaleb(-scale)
    assert round_to_minor(-amount, scale, rounding) == -minor


@pytest.mark.parametrize(
    ("text", "even", "up"),
    [("1.55025", 155, 155), ("0.005", 0, 1), ("0.015", 2, 2), ("-0.005", 0, -1), ("0.0050000001", 1, 1)],
)
def test_the_two_roundings_differ_only_at_the_half(text: str, even: int, up: int) -> None:
    assert round_to_minor(Decimal(text), 2, Rounding.HALF_EVEN) == even
    assert round_to_minor(Decimal(text), 2, Rounding.HALF_UP) == up


@pytest.mark.parametrize(
    ("currency", "digits"),
    # Accounting digits, not those a shop displays: a forint has two, a rupiah has two.
    [("EUR", 2), ("JPY", 0), ("KWD", 3), ("CLF", 4), ("HUF", 2), ("IDR", 2), ("ISK", 0), ("UYW", 4)],
)
def test_a_currency_has_the_digits_iso_4217_gives_it(currency: str, digits: int) -> None:
    assert exponent(currency) == digits
    assert member_asset(currency) == Asset(currency, digits)
    assert partner_asset(currency) == Asset(currency, 4)


@pytest.mark.parametrize("text", ["", "eur", "EURO", "E1R", "ÉUR", " EUR"])
def test_what_is_no_currency_code_is_refused(text: str) -> None:
    with pytest.raises(Stop, match="ISO 4217"):
        exponent(text)


@few
@given(st.from_regex(r"[A-Z]{3}/[0-4]", fullmatch=True))
def test_an_asset_reads_back_as_it_is_written(text: str) -> None:
    assert str(Asset.parse(text)) == text


@few
@given(st.decimals("0.000001", 10**6, places=6), st.decimals("0.000001", 10**6, places=6))
def test_a_conversion_rate_is_the_quotient_rounded_once(source: Decimal, target: Decimal) -> None:
    rate = conversion_rate(source, target)
    assert -int(rate.as_tuple().exponent) == 12
    # Cross-multiplied, so that the test needs no division of its own.
    assert abs(rate * source - target) * 2 <= source * Decimal("1e-12")
    assert conversion_rate(source, source) == 1
