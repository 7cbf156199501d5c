"""The lives orders have: when each is approved, declined, reinstated, reduced and paid."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal

from sandbox import chance as chances
from sandbox.model import Event, Life, Program, Step

CENT = Decimal("0.01")
DECLINE_REASONS = ("returned", "canceled", "payment", "stock", "invalid")
# A partner pays on the 1st and 15th what was approved at least this long before.
PAY_AFTER = timedelta(days=10)


def events(chance: random.Random, life: Life, occurred_at: datetime, amount: Decimal, program: Program) -> list[Event]:
    """Return the steps of a life in time order, as they would happen if the partner reported at once."""
    span = program.validation_days
    approve = Event(occurred_at + chances.days(chance, span, span + 2), Step.APPROVE)
    reason = chance.choice(DECLINE_REASONS)
    reduced = (amount * Decimal(chance.randint(30, 80)) / 100).quantize(CENT, ROUND_HALF_UP)
    match life:
        case Life.PENDING:
            return []
        case Life.APPROVED:
            steps = [approve]
        case Life.DECLINED:
            steps = [Event(occurred_at + chances.days(chance, 1, span), Step.DECLINE, reason=reason)]
        case Life.DECLINED_REINSTATED:
            declined_at = occurred_at + chances.days(chance, 1, span / 3)
            steps = [
                Event(declined_at, Step.DECLINE, reason=reason),
                Event(declined_at + chances.days(chance, 1, span / 3), Step.REINSTATE),
                approve,
            ]
        case Life.AMENDED:
            steps = [
                Event(occurred_at + chances.days(chance, 1, span * 0.6), Step.REDUCE, reduced, "partial return"),
                approve,
            ]
        case Life.PARTLY_REFUNDED:
            steps = [
                approve,
                Event(approve.at + chances.days(chance, 1, 12), Step.REDUCE, reduced, "partial return"),
            ]
        case Life.REVERSED_LATE:
            steps = [approve, Event(approve.at + chances.days(chance, 35, 100), Step.DECLINE, reason=reason)]
    return with_payment(steps)


def with_payment(steps: Sequence[Event]) -> list[Event]:
    """Return the steps with the partner's payment of what is approved and still stands on the day it pays."""
    ordered = sorted(steps, key=lambda event: event.at)
    approved = next((event.at for event in ordered if event.step is Step.APPROVE), None)
    if approved is None:
        return ordered
    paid_at = pay_day(approved + PAY_AFTER)
    if any(event.step is Step.DECLINE and approved < event.at <= paid_at for event in ordered):
        return ordered
    return sorted([*ordered, Event(paid_at, Step.PAY)], key=lambda event: event.at)


def pay_day(earliest: datetime) -> datetime:
    """Return the next 1st or 15th after an instant, at nine in the morning."""
    first = earliest.replace(day=1, hour=9, minute=0, second=0, microsecond=0)
    for candidate in (first, first.replace(day=15)):
        if candidate > earliest:
            return candidate
    return (first + timedelta(days=32)).replace(day=1)


def after_report(steps: Iterable[Event], reported_at: datetime) -> tuple[Event, ...]:
    """Return the steps moved so that each comes after the report and after the one before it."""
    earliest = reported_at + timedelta(minutes=10)
    moved = []
    for event in steps:
        at = max(event.at, earliest)
        moved.append(replace(event, at=at))
        earliest = at + timedelta(minutes=5)
    return tuple(moved)
