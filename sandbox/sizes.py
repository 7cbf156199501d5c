"""How big a world is and how much goes wrong in it."""

from __future__ import annotations

from dataclasses import dataclass

from sandbox.model import Defect, Life


@dataclass(frozen=True, slots=True)
class Size:
    """Counts of a world; `pattern_count` repeats the twelve programs, `has_defects` plants each kind at least once."""

    member_count: int
    order_count: int
    click_count: int
    pattern_count: int
    has_defects: bool


SIZES = {
    "tiny": Size(member_count=5, order_count=8, click_count=24, pattern_count=0, has_defects=False),
    "small": Size(member_count=60, order_count=500, click_count=4_000, pattern_count=1, has_defects=True),
    "month": Size(member_count=150, order_count=4_000, click_count=40_000, pattern_count=1, has_defects=True),
    "large": Size(member_count=3_000, order_count=100_000, click_count=400_000, pattern_count=4, has_defects=True),
}

# Shares of all orders. Together a few per cent, as in real life; those that leave a sale without its click stay well
# under one per cent.
DEFECT_SHARES: dict[Defect, float] = {
    Defect.REF_MISSING: 0.006,
    Defect.REF_TRUNCATED: 0.004,
    Defect.REF_LOWER_CASED: 0.004,
    Defect.REF_URL_ENCODED: 0.003,
    Defect.REF_IN_SECOND_SLOT: 0.004,
    Defect.REF_OTHER_PROGRAM: 0.0007,
    Defect.REF_FOREIGN_AFTER_SALE: 0.0007,
    Defect.REF_FOREIGN_OUTSIDE_WINDOW: 0.0007,
    Defect.FOREIGN_CLICK_PLAUSIBLE: 0.0,
    Defect.OUTSIDE_WINDOW: 0.0015,
    Defect.COMMISSION_ABOVE: 0.003,
    Defect.COMMISSION_BELOW: 0.003,
    Defect.CURRENCY_DIFFERS: 0.001,
    Defect.DUPLICATE_SAME_PARTNER: 0.002,
    Defect.DUPLICATE_TWO_PARTNERS: 0.002,
    Defect.VANISHED: 0.002,
    Defect.REPORTED_LATE: 0.01,
    Defect.NO_CLICK_BONUS: 0.001,
    Defect.NO_CLICK_COUPON: 0.001,
    Defect.REVERSAL_WITHOUT_ORIGINAL: 0.001,
    Defect.MISSING_AT_PARTNER: 0.002,
}

LIFE_WEIGHTS: tuple[tuple[Life, float], ...] = (
    (Life.APPROVED, 0.84),
    (Life.PENDING, 0.03),
    (Life.DECLINED, 0.05),
    (Life.DECLINED_REINSTATED, 0.015),
    (Life.AMENDED, 0.025),
    (Life.PARTLY_REFUNDED, 0.02),
    (Life.REVERSED_LATE, 0.02),
)
# A tiny world has no room for chance: one order of each interesting life, one of them a refund.
TINY_LIVES: tuple[Life, ...] = (
    Life.APPROVED,
    Life.APPROVED,
    Life.PARTLY_REFUNDED,
    Life.DECLINED,
    Life.APPROVED,
    Life.PENDING,
    Life.DECLINED_REINSTATED,
    Life.APPROVED,
)
