"""Which orders go wrong and how: each kind has its quota, and an order has at most one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sandbox import chance as chances
from sandbox.model import AWIN, RAKUTEN, Defect, Life, Order, Program

# These are rows of their own, not something that befalls an order.
EXTRA_ROWS = (Defect.NO_CLICK_BONUS, Defect.REVERSAL_WITHOUT_ORIGINAL)
# A currency or commission that is wrong by a cent would teach nothing.
_AMOUNT_MIN = 40


@dataclass(frozen=True, slots=True)
class Shops:
    """The programs by id, and for each the programs of the same shop that could claim the same sale."""

    by_id: Mapping[str, Program]
    rivals: Mapping[str, tuple[Program, ...]]


def shops(programs: Sequence[Program]) -> Shops:
    """Return the programs with their rivals: same shop and currency, another partner."""
    return Shops(
        {program.program_id: program for program in programs},
        {
            program.program_id: tuple(
                other
                for other in programs
                if other.merchant_id == program.merchant_id
                and other.currency == program.currency
                and other.partner != program.partner
            )
            for program in programs
        },
    )


def quota(share: float, order_count: int) -> int:
    """Return how many of a kind: its share, but at least one where it happens at all."""
    return max(1, round(share * order_count)) if share > 0 else 0


def planted(
    seed: int, orders: Sequence[Order], programs: Sequence[Program], shares: Mapping[Defect, float]
) -> dict[str, Defect]:
    """Return the defect of each order that has one, by order key; the rarest places are filled first."""
    chance = chances.stream(seed, "defects")
    known = shops(programs)
    chosen: dict[str, Defect] = {}
    for defect in sorted(shares, key=lambda kind: (kind not in _PICKY, kind)):
        if defect in EXTRA_ROWS:
            continue
        wanted = quota(shares[defect], len(orders))
        fits = _FITS.get(defect)
        eligible = [order for order in orders if order.order_key not in chosen and (fits is None or fits(order, known))]
        for order in chance.sample(eligible, min(wanted, len(eligible))):
            chosen[order.order_key] = defect
    return chosen


def _at_awin(order: Order, known: Shops) -> bool:
    return known.by_id[order.program_id].partner == AWIN


def _mutating(order: Order, known: Shops) -> bool:
    return known.by_id[order.program_id].partner != RAKUTEN


def _approved_mutating(order: Order, known: Shops) -> bool:
    return _mutating(order, known) and order.life is Life.APPROVED


def _large_mutating(order: Order, known: Shops) -> bool:
    return _mutating(order, known) and order.amount >= _AMOUNT_MIN


def _large(order: Order, _known: Shops) -> bool:
    return order.amount >= _AMOUNT_MIN


def _has_rival(order: Order, known: Shops) -> bool:
    return order.life is Life.APPROVED and bool(known.rivals[order.program_id])


def _needs_encoding(order: Order, _known: Shops) -> bool:
    return any(sign in order.click_id for sign in "+/=")


_FITS: dict[Defect, Callable[[Order, Shops], bool]] = {
    Defect.REF_URL_ENCODED: _needs_encoding,
    Defect.REF_IN_SECOND_SLOT: _at_awin,
    Defect.NO_CLICK_COUPON: _at_awin,
    Defect.COMMISSION_ABOVE: _large,
    Defect.COMMISSION_BELOW: _large,
    Defect.CURRENCY_DIFFERS: _large_mutating,
    Defect.DUPLICATE_SAME_PARTNER: _approved_mutating,
    Defect.DUPLICATE_TWO_PARTNERS: _has_rival,
    Defect.VANISHED: _approved_mutating,
}
_PICKY = frozenset(_FITS)
