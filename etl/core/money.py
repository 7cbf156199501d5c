"""Exact money: minor units, one named rounding, and shares that add up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal, localcontext
from enum import StrEnum

from etl.core.errors import Stop

# ISO 4217 list one, digits after the point where they are not 2 (maintained by hand; CLDR's display digits are wrong
# for accounting, see the decision on currencies).
_EXPONENTS = dict.fromkeys("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split(), 0)
_EXPONENTS |= dict.fromkeys("BHD IQD JOD KWD LYD OMR TND".split(), 3)
_EXPONENTS |= dict.fromkeys("CLF UYW".split(), 4)

PARTNER_SCALE = 4
"""Digits after the point on the partner side of the ledger, so that nothing reported is rounded away."""

RATE_SCALE = 12
"""Digits of a conversion rate, which is the quotient of two published rates rounded half-even once."""


class Rounding(StrEnum):
    """The roundings a cashback rule may name; half_up is away from zero at the half."""

    HALF_EVEN = "half_even"
    HALF_UP = "half_up"


def exponent(currency: str) -> int:
    """Return the number of digits after the point of `currency` (ISO 4217)."""
    if len(currency) != 3 or not currency.isascii() or not currency.isalpha() or not currency.isupper():
        raise Stop(f"{currency!r} is not an ISO 4217 currency code: use three capital letters such as EUR")
    return _EXPONENTS.get(currency, 2)


@dataclass(frozen=True, slots=True, order=True)
class Asset:
    """A currency at a scale: what a ledger account counts, in whole minor units of that scale."""

    currency: str
    scale: int

    def __str__(self) -> str:
        return f"{self.currency}/{self.scale}"

    @classmethod
    def parse(cls, text: str) -> Asset:
        """Return the asset that `text` such as 'EUR/4' names."""
        currency, _, scale = text.partition("/")
        return cls(currency, int(scale))


def partner_asset(currency: str) -> Asset:
    """Return the asset that commissions in `currency` are counted in."""
    return Asset(currency, PARTNER_SCALE)


def member_asset(currency: str) -> Asset:
    """Return the asset that members are owed and paid in."""
    return Asset(currency, exponent(currency))


def to_minor(amount: Decimal, scale: int) -> int:
    """Return `amount` in units of 10**-scale; Stop if it is not exact at that scale."""
    with localcontext() as context:
        context.prec = 50
        scaled = amount.scaleb(scale)
        whole = int(scaled)
        if scaled != whole:
            raise Stop(f"{amount} has more than {scale} decimals: it cannot be booked exactly")
    return whole


def from_minor(minor: int, scale: int) -> Decimal:
    """Return `minor` units of 10**-scale as a decimal with exactly `scale` digits."""
    return Decimal(minor).scaleb(-scale)


def round_to_minor(amount: Decimal, scale: int, rounding: Rounding) -> int:
    """Return `amount` in units of 10**-scale, rounded once by the named rounding."""
    mode = ROUND_HALF_EVEN if rounding is Rounding.HALF_EVEN else ROUND_HALF_UP
    with localcontext() as context:
        context.prec = 60
        return int(amount.scaleb(scale).quantize(Decimal(1), rounding=mode))


def allocate(total: int, weights: Sequence[int]) -> list[int]:
    """Return integer shares of `total` in proportion to `weights`, which sum exactly to it (largest remainder).

    Weights may be negative as long as their sum is not zero; with a zero sum `total` must be zero. Leftover units go to
    the largest remainders, ties to the earlier place. A negative total is allocated as its opposite and negated, so
    that taking back gives exactly what was given.
    """
    whole = sum(weights)
    if whole == 0:
        if total:
            raise Stop(f"{total} minor units cannot be shared over weights that sum to zero")
        return [0] * len(weights)
    if whole < 0:
        return allocate(total, [-weight for weight in weights])
    if total < 0:
        return [-share for share in allocate(-total, weights)]
    shares = [total * weight // whole for weight in weights]
    remainders = [total * weight % whole for weight in weights]
    leftover = total - sum(shares)
    for place in sorted(range(len(weights)), key=lambda at: (-remainders[at], at))[:leftover]:
        shares[place] += 1
    return shares


def conversion_rate(base_to_source: Decimal, base_to_target: Decimal) -> Decimal:
    """Return the factor from a source currency to a target, from two rates of one base on one day.

    The ECB publishes units of a currency for one euro, so source to target is target over source, rounded half-even
    once to `RATE_SCALE` digits. Amounts are multiplied by this factor, which is also the rate a posting records.
    """
    with localcontext() as context:
        context.prec = 60
        quotient = base_to_target / base_to_source
        return quotient.quantize(Decimal(1).scaleb(-RATE_SCALE), rounding=ROUND_HALF_EVEN)
