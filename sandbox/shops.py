"""Merchants, their programs at the three partners with contracts, and how each pays cashback."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from sandbox import chance as chances
from sandbox.instants import midnight
from sandbox.model import AWIN, RAKUTEN, RAKUTEN_NETWORK_CURRENCY, TRADETRACKER, TRADETRACKER_SITE_IDS, Program, Rule


@dataclass(frozen=True, slots=True)
class Shelf:
    """One program to be: which shop (by name) at which partner in which currency."""

    merchant: str
    partner: str
    currency: str
    commission_rate: str
    validation_days: int


# Three shops are at two partners in one currency, so that one sale can be claimed twice.
PATTERN = (
    Shelf("Harbour & Vale", AWIN, "GBP", "0.05", 14),
    Shelf("Harbour & Vale", RAKUTEN, "GBP", "0.045", 14),
    Shelf("Lindner Wohnen", AWIN, "EUR", "0.06", 30),
    Shelf("Lindner Wohnen", TRADETRACKER, "EUR", "0.075", 30),
    Shelf("Peak Outfitters", TRADETRACKER, "GBP", "0.08", 7),
    Shelf("Peak Outfitters", AWIN, "GBP", "0.08", 7),
    Shelf("Tulp Electronics", TRADETRACKER, "EUR", "0.025", 14),
    Shelf("Bici Norte", TRADETRACKER, "EUR", "0.04", 45),
    Shelf("Kettle Books", AWIN, "GBP", "0.10", 14),
    Shelf("Maison Cler", AWIN, "EUR", "0.03", 7),
    Shelf("Oak & Iron", RAKUTEN, "GBP", "0.055", 30),
    Shelf("Nordlicht Mode", RAKUTEN, "EUR", "0.07", 14),
)
TINY = (Shelf("Kettle Books", AWIN, "GBP", "0.10", 7), Shelf("Tulp Electronics", TRADETRACKER, "EUR", "0.05", 14))
# Bases and values are dealt to programs in turn.
_DEALS: tuple[tuple[str, str, str | None], ...] = (
    ("commission_share", "0.5", None),
    ("commission_share", "0.6", "25.00"),
    ("commission_share", "0.7", None),
    ("sale_rate", "0.02", None),
    ("commission_share", "0.55", None),
    ("fixed", "2.50", None),
    ("commission_share", "0.5", "12.50"),
    ("sale_rate", "0.015", "10.00"),
)


def shelves(pattern_count: int) -> tuple[Shelf, ...]:
    """Return the shelves of a world: the tiny two, or the pattern as often as asked for."""
    if pattern_count == 0:
        return TINY
    return tuple(
        Shelf(
            shelf.merchant if turn == 0 else f"{shelf.merchant} {turn + 1}",
            shelf.partner,
            shelf.currency,
            shelf.commission_rate,
            shelf.validation_days,
        )
        for turn in range(pattern_count)
        for shelf in PATTERN
    )


def programs(seed: int, plan: Sequence[Shelf], from_on: date) -> tuple[Program, ...]:
    """Return a program for each shelf; merchants of one name are one merchant."""
    chance = chances.stream(seed, "shops")
    valid_from = midnight(from_on - timedelta(days=730))
    merchants: dict[str, str] = {}
    made = []
    for number, shelf in enumerate(plan):
        merchant_id = merchants.setdefault(shelf.merchant, f"shop-{len(merchants) + 1:03d}")
        network = None
        if shelf.partner == RAKUTEN:
            network = next(key for key, currency in RAKUTEN_NETWORK_CURRENCY.items() if currency == shelf.currency)
        made.append(
            Program(
                program_id=f"p-{number + 1:03d}",
                merchant_id=merchant_id,
                partner=shelf.partner,
                partner_program_id=str({AWIN: 9000, TRADETRACKER: 21000, RAKUTEN: 35000}[shelf.partner] + number * 7),
                name=f"{shelf.merchant} ({shelf.partner})",
                currency=shelf.currency,
                commission_rate=Decimal(shelf.commission_rate),
                lookback_days=chance.choice((14, 30, 30, 30, 45)),
                validation_days=shelf.validation_days,
                valid_from=valid_from,
                valid_until=None,
                network=network,
                site_id=TRADETRACKER_SITE_IDS[number % 2] if shelf.partner == TRADETRACKER else None,
            )
        )
    return tuple(made)


def rules(programs_: Sequence[Program], from_on: date, until_on: date) -> tuple[Rule, ...]:
    """Return the cashback rules; every third program changes its rule in the middle of the span."""
    middle = midnight(from_on + (until_on - from_on) // 2)
    made = []
    for number, program in enumerate(programs_):
        basis, value, cap = _DEALS[number % len(_DEALS)]
        rounding = ("half_up", "half_even")[number // 2 % 2]
        changes = number % 3 == 1
        first = Rule(
            f"r-{number + 1:03d}-1",
            program.program_id,
            basis,
            Decimal(value),
            None if cap is None else Decimal(cap),
            "EUR",
            rounding,
            program.valid_from,
            middle if changes else None,
        )
        made.append(first)
        if changes:
            other_basis, other_value, other_cap = _DEALS[(number + 1) % len(_DEALS)]
            made.append(
                Rule(
                    f"r-{number + 1:03d}-2",
                    program.program_id,
                    other_basis,
                    Decimal(other_value),
                    None if other_cap is None else Decimal(other_cap),
                    "EUR",
                    rounding,
                    middle,
                    None,
                )
            )
    return tuple(made)
