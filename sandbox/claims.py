"""What the partners claim: each order as its partner came to know it, with the planted defect in it."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from urllib.parse import quote

from sandbox import chance as chances
from sandbox import life as lives
from sandbox.defects import Shops
from sandbox.instants import midnight
from sandbox.model import (
    AWIN,
    RAKUTEN,
    TRADETRACKER,
    TRUNCATED_LENGTH,
    Click,
    Defect,
    Event,
    Life,
    Member,
    Order,
    Program,
    Step,
)
from sandbox.orders import Clicks, Orphan, clicked_before

ORDER_REF_SHARE = {AWIN: 0.6, TRADETRACKER: 0.75, RAKUTEN: 1.0}
# Rakuten's file of a day appears the next morning.
PUBLISHED_AFTER = timedelta(days=1, hours=5, minutes=30)


@dataclass(frozen=True, slots=True)
class Claim:
    """One sale as one partner will report it; `commission_factor` is reported over contract."""

    order_key: str
    program: Program
    order_ref: str | None
    click_ref: str | None
    clicked_at: datetime | None
    occurred_at: datetime
    processed_at: datetime
    reported_at: datetime
    amount: Decimal
    line_count: int
    events: tuple[Event, ...]
    life: Life
    true_click_id: str | None
    true_member_id: str | None
    currency: str
    defects: tuple[Defect, ...] = ()
    ref_slot: int = 1
    commission_factor: Decimal = Decimal(1)
    row_kind: str = "original"
    voucher_code: str | None = None
    bonus: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Claimant:
    """What claims are made from: the shops, the clicks, who could be mistaken for whom, and when rows vanish."""

    chance: random.Random
    known: Shops
    clicks: Clicks
    members: Sequence[Member]
    vanishes_after_days: tuple[float, float] = (2, 6)

    def claims(self, order: Order, defect: Defect | None) -> list[Claim]:
        """Return what is reported of an order: one claim, two for a duplicate, none if it never heard of it."""
        if defect is Defect.MISSING_AT_PARTNER:
            return []
        claim = self._plain(order, is_late=defect is Defect.REPORTED_LATE)
        if defect is None:
            return [claim]
        claim = replace(claim, defects=(defect,))
        if defect in (Defect.DUPLICATE_SAME_PARTNER, Defect.DUPLICATE_TWO_PARTNERS):
            return self._twice(order, replace(claim, order_ref=order.order_ref))
        return [self._with(order, claim, defect)]

    def _plain(self, order: Order, *, is_late: bool) -> Claim:
        program = self.known.by_id[order.program_id]
        click = self.clicks.made[order.click_id]
        processed_at = _processed_at(self.chance, program.partner, order.occurred_at, is_late=is_late)
        reported_at = published_at(processed_at) if program.partner == RAKUTEN else processed_at
        is_ref_shared = self.chance.random() < ORDER_REF_SHARE[program.partner]
        return Claim(
            order_key=order.order_key,
            program=program,
            order_ref=order.order_ref if is_ref_shared else None,
            click_ref=click.click_id,
            clicked_at=_as_second(click),
            occurred_at=order.occurred_at,
            processed_at=processed_at,
            reported_at=reported_at,
            amount=order.amount,
            line_count=order.line_count,
            events=lives.after_report(order.events, reported_at),
            life=order.life,
            true_click_id=click.click_id,
            true_member_id=order.member_id,
            currency=program.currency,
        )

    def _with(self, order: Order, claim: Claim, defect: Defect) -> Claim:
        click_id = order.click_id
        match defect:
            case Defect.REF_MISSING:
                return replace(claim, click_ref=None)
            case Defect.REF_TRUNCATED:
                return replace(claim, click_ref=click_id[:TRUNCATED_LENGTH])
            case Defect.REF_LOWER_CASED:
                return replace(claim, click_ref=click_id.lower())
            case Defect.REF_URL_ENCODED:
                is_blank = "+" in click_id and self.chance.random() < 0.3
                return replace(claim, click_ref=click_id.replace("+", " ") if is_blank else quote(click_id, safe=""))
            case Defect.REF_IN_SECOND_SLOT:
                return replace(claim, ref_slot=2)
            case Defect.NO_CLICK_COUPON:
                return replace(
                    claim, click_ref=None, clicked_at=None, true_click_id=None, true_member_id=None,
                    voucher_code="WELCOME10",
                )  # fmt: skip
            case Defect.COMMISSION_ABOVE:
                return replace(claim, commission_factor=Decimal(self.chance.choice((2, 3))) / 2 + Decimal("0.25"))
            case Defect.COMMISSION_BELOW:
                return replace(claim, commission_factor=Decimal("0.7"))
            case Defect.CURRENCY_DIFFERS:
                return replace(claim, currency="GBP" if claim.currency == "EUR" else "EUR")
            case Defect.VANISHED:
                vanish = Event(order.occurred_at + chances.days(self.chance, *self.vanishes_after_days), Step.VANISH)
                return replace(claim, life=Life.PENDING, events=lives.after_report([vanish], claim.reported_at))
            case Defect.OUTSIDE_WINDOW | Defect.REPORTED_LATE:
                return claim
            case _:
                return replace(claim, click_ref=self._wrong_click(order, claim.program, defect).click_id)

    def _wrong_click(self, order: Order, program: Program, defect: Defect) -> Click:
        """Return a real click that did not lead to this order."""
        others = [member.member_id for member in self.members if member.member_id != order.member_id]
        other = self.chance.choice(others)
        match defect:
            case Defect.REF_OTHER_PROGRAM:
                elsewhere = [one for one in self.known.by_id.values() if one.merchant_id != program.merchant_id]
                at = clicked_before(self.chance, order.occurred_at, program.lookback_days)
                return self.clicks.click(self.chance.choice(elsewhere), order.member_id, at)
            case Defect.REF_FOREIGN_AFTER_SALE:
                at = order.occurred_at + chances.days(self.chance, 0.1, 3)
            case Defect.REF_FOREIGN_OUTSIDE_WINDOW:
                at = order.occurred_at - chances.days(self.chance, program.lookback_days + 2, program.lookback_days + 9)
            case _:
                at = clicked_before(self.chance, order.occurred_at, program.lookback_days)
        return self.clicks.click(program, other, at)

    def _twice(self, order: Order, first: Claim) -> list[Claim]:
        defect = first.defects[0]
        occurred_at = order.occurred_at + timedelta(seconds=self.chance.randint(5, 90))
        second = replace(first, occurred_at=occurred_at, life=Life.APPROVED)
        if defect is Defect.DUPLICATE_TWO_PARTNERS:
            rival = self.chance.choice(self.known.rivals[order.program_id])
            clicked_at = clicked_before(self.chance, order.occurred_at, rival.lookback_days)
            click = self.clicks.click(rival, order.member_id, clicked_at)
            second = replace(
                second, program=rival, click_ref=click.click_id, clicked_at=_as_second(click),
                true_click_id=click.click_id,
            )  # fmt: skip
        processed_at = _processed_at(self.chance, second.program.partner, occurred_at, is_late=False)
        reported_at = published_at(processed_at) if second.program.partner == RAKUTEN else processed_at
        steps = lives.events(self.chance, Life.APPROVED, occurred_at, order.amount, second.program)
        if second.program.partner != RAKUTEN and _order_of(first) < _order_of(second) and self.chance.random() < 0.4:
            # Some partners notice; only ever on the one that loses, or the buyer would be owed nothing.
            second = replace(second, life=Life.DECLINED)
            steps = [Event(occurred_at + chances.days(self.chance, 2, 6), Step.DECLINE, reason="duplicate")]
        events = lives.after_report(steps, reported_at)
        return [first, replace(second, processed_at=processed_at, reported_at=reported_at, events=events)]


def bonus(chance: random.Random, number: int, program: Program, at: datetime) -> Claim:
    """Return a bonus the partner pays for no sale and no click."""
    processed_at = at + timedelta(minutes=chance.randint(5, 90))
    steps = [Event(at + timedelta(days=5), Step.APPROVE)]
    return Claim(
        order_key=f"bonus-{number:04d}", program=program, order_ref=None, click_ref=None, clicked_at=None,
        occurred_at=at, processed_at=processed_at, reported_at=processed_at, amount=Decimal("0.00"), line_count=1,
        events=lives.after_report(lives.with_payment(steps), processed_at), life=Life.APPROVED, true_click_id=None,
        true_member_id=None, currency=program.currency, defects=(Defect.NO_CLICK_BONUS,), row_kind="bonus",
        bonus=chances.cents(chance, 200, 1000),
    )  # fmt: skip


def reversal(chance: random.Random, number: int, orphan: Orphan, programs: Mapping[str, Program]) -> Claim:
    """Return a reversal whose original no report of the world's span holds."""
    program = programs[orphan.program_id]
    is_ref_known = chance.random() < 0.7
    return Claim(
        order_key=f"orphan-{number:05d}", program=program, order_ref=orphan.order_ref,
        click_ref=chances.opaque(chance) if is_ref_known else None, clicked_at=None, occurred_at=orphan.occurred_at,
        processed_at=orphan.processed_at, reported_at=published_at(orphan.processed_at), amount=-orphan.amount,
        line_count=1, events=(), life=Life.DECLINED, true_click_id=None, true_member_id=None,
        currency=program.currency, defects=(Defect.REVERSAL_WITHOUT_ORIGINAL,), row_kind="correction",
    )  # fmt: skip


def published_at(processed_at: datetime) -> datetime:
    """Return when the file with a processed row appears on Rakuten's server."""
    return midnight(processed_at.date()) + PUBLISHED_AFTER


def reported_time(partner: str, occurred_at: datetime) -> datetime:
    """Return the time of a sale as its partner tells it: Awin cuts to the minute."""
    return occurred_at.replace(second=0) if partner == AWIN else occurred_at


def _order_of(claim: Claim) -> tuple[datetime, str]:
    return reported_time(claim.program.partner, claim.occurred_at), claim.program.partner


def _as_second(click: Click) -> datetime:
    return click.clicked_at.replace(microsecond=0)


def _processed_at(chance: random.Random, partner: str, occurred_at: datetime, *, is_late: bool) -> datetime:
    if is_late:
        return occurred_at + chances.days(chance, 6, 25)
    if partner == AWIN:
        return occurred_at + timedelta(seconds=chance.randint(120, 7200))
    if partner == TRADETRACKER:
        return occurred_at + timedelta(seconds=chance.randint(60, 2700))
    # Seconds for most, hours for some, days for a few: the spread counted in real reports.
    low, high = chances.weighted(chance, (((2, 30), 0.75), ((3600, 72_000), 0.16), ((86_400, 500_000), 0.09)))
    return occurred_at + timedelta(seconds=chance.randint(low, high))
