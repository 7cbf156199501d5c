"""Orders out of the seed, the clicks they came from, and the clicks that led nowhere."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

from sandbox import chance as chances
from sandbox import life as lives
from sandbox.instants import midnight
from sandbox.model import Click, Member, Order, Program
from sandbox.sizes import LIFE_WEIGHTS, TINY_LIVES

# A row of the tracker is late by at most this; a reader that overlaps by as much misses nothing.
COMMIT_DELAY_MAX = timedelta(hours=6)
_LATE_SHARE = 0.01


@dataclass(frozen=True, slots=True)
class Orphan:
    """A reversal that names an order no report of the world's span holds (Rakuten)."""

    program_id: str
    order_ref: str
    occurred_at: datetime
    processed_at: datetime
    amount: Decimal


class Clicks:
    """Makes clicks and remembers them; ids are unique."""

    def __init__(self, seed: int, purpose: str) -> None:
        self._chance = chances.stream(seed, "clicks", purpose)
        self.made: dict[str, Click] = {}

    def click(self, program: Program, member_id: str, clicked_at: datetime) -> Click:
        """Return a new click of a member at a program."""
        click_id = chances.opaque(self._chance)
        while click_id in self.made:
            click_id = chances.opaque(self._chance)
        exact = clicked_at.replace(microsecond=self._chance.randrange(1_000_000))
        delay = timedelta(milliseconds=self._chance.randint(2, 900))
        if self._chance.random() < _LATE_SHARE:
            delay = timedelta(seconds=self._chance.randint(300, int(COMMIT_DELAY_MAX.total_seconds()) - 60))
        made = Click(click_id, program.partner, program.program_id, member_id, exact, exact + delay)
        self.made[click_id] = made
        return made


class OrderNumbers:
    """Numbers orders as shops do: upwards, and two shops may use the same number."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._next: dict[str, int] = {}

    def next(self, merchant_id: str) -> str:
        """Return the shop's next order number."""
        if merchant_id not in self._next:
            self._next[merchant_id] = 100_000 + len(self._next) // 2 * 400_000
        self._next[merchant_id] += self._chance.randint(1, 3)
        return str(self._next[merchant_id])


def clicked_before(chance: random.Random, occurred_at: datetime, lookback_days: int) -> datetime:
    """Return when a buyer clicked: mostly minutes before the order, sometimes days, always well inside the window."""
    if chance.random() < 0.8:
        return occurred_at - timedelta(seconds=90 + int(chance.expovariate(1 / 1500)))
    return occurred_at - chances.days(chance, 0.1, lookback_days - 1)


def generated(
    seed: int,
    count: int,
    members: Sequence[Member],
    programs: Sequence[Program],
    clicks: Clicks,
    from_on: date,
    until_on: date,
) -> list[Order]:
    """Return orders in time order, each with its click and its life."""
    chance = chances.stream(seed, "orders")
    start, end = midnight(from_on), midnight(until_on)
    moments = sorted(chances.instant_between(chance, start, end) for _ in range(count))
    weights = [1 / math.sqrt(place + 1) for place in range(len(programs))]
    numbers = OrderNumbers(chances.stream(seed, "order numbers"))
    deal = chances.stream(seed, "lives")
    made = []
    for number, occurred_at in enumerate(moments):
        program = programs[number % 2] if count < 10 else chance.choices(programs, weights)[0]
        member = members[number % len(members)] if count < 10 else chance.choice(members)
        amount = Decimal(max(300, min(250_000, int(chance.lognormvariate(8.4, 0.8))))).scaleb(-2)
        click = clicks.click(program, member.member_id, clicked_before(chance, occurred_at, program.lookback_days))
        life = TINY_LIVES[number % len(TINY_LIVES)] if count < 10 else chances.weighted(deal, LIFE_WEIGHTS)
        made.append(
            Order(
                order_key=f"o-{number + 1:06d}",
                order_ref=numbers.next(program.merchant_id),
                program_id=program.program_id,
                member_id=member.member_id,
                click_id=click.click_id,
                occurred_at=occurred_at,
                amount=amount,
                line_count=chances.weighted(chance, ((1, 0.6), (2, 0.2), (3, 0.12), (4, 0.08))),
                life=life,
                events=tuple(lives.events(deal, life, occurred_at, amount, program)),
            )
        )
    return made


def idle_clicks(
    seed: int, count: int, orders: Sequence[Order], members: Sequence[Member], programs: Sequence[Program],
    clicks: Clicks, from_on: date, until_on: date,
) -> None:  # fmt: skip
    """Add clicks that led to no order: browsing, and buyers who clicked more than once around their purchase."""
    chance = chances.stream(seed, "idle clicks")
    by_id = {program.program_id: program for program in programs}
    start, end = midnight(from_on) - timedelta(days=45), midnight(until_on)
    for _ in range(max(0, count)):
        if orders and chance.random() < 0.15:
            order = chance.choice(orders)
            at = order.occurred_at + chances.days(chance, -2, 1)
            clicks.click(by_id[order.program_id], order.member_id, at)
        else:
            at = chances.instant_between(chance, start, end)
            clicks.click(chance.choice(programs), chance.choice(members).member_id, at)


def orphans(seed: int, count: int, programs: Sequence[Program], from_on: date, until_on: date) -> list[Orphan]:
    """Return reversals of orders from before the world's span, at programs whose partner tells them as signed rows."""
    chance = chances.stream(seed, "orphans")
    start, end = midnight(from_on), midnight(until_on)
    return [
        Orphan(
            program_id=chance.choice(programs).program_id,
            order_ref=str(chance.randint(50_000, 99_999)),
            occurred_at=chances.instant_between(chance, start - timedelta(days=90), start - timedelta(days=20)),
            processed_at=chances.instant_between(chance, start, end),
            amount=chances.cents(chance, 500, 20_000),
        )
        for _ in range(count if programs else 0)
    ]
