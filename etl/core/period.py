"""Periods: accounting months of an entity, open, closing or closed; they move forward and never back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from enum import StrEnum

from etl.core.errors import Stop
from etl.core.warehouse import Connection


class PeriodState(StrEnum):
    """Where a period stands. A month that ref.period does not name is open."""

    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


BOOKED_WHILE_CLOSING = frozenset({"adjustment", "revaluation"})
"""The kinds of document that may still be booked in a period that is closing. The database refuses all others, too."""


def month_of(day: date) -> date:
    """Return the first day of the month of `day`, which is how a period is named."""
    return day.replace(day=1)


def next_month(starts_on: date) -> date:
    """Return the first day of the month after the one that starts on `starts_on`."""
    return month_of(starts_on + timedelta(days=31))


def last_day(starts_on: date) -> date:
    """Return the last day of the month that starts on `starts_on`."""
    return next_month(starts_on) - timedelta(days=1)


def require_month(starts_on: date) -> date:
    """Return the day; Stop if no month starts on it."""
    if starts_on.day != 1:
        raise Stop(f"a period is a month and starts on its first day, not on {starts_on}")
    return starts_on


def period_states(connection: Connection, entity: str) -> Mapping[date, PeriodState]:
    """Return the state of every month that was ever moved; all others are open."""
    rows = connection.execute(
        "SELECT starts_on, state FROM ref.period WHERE entity = %s ORDER BY starts_on", (entity,)
    ).fetchall()
    return {starts_on: PeriodState(str(state)) for starts_on, state in rows if isinstance(starts_on, date)}


def locked_months(states: Mapping[date, PeriodState], document_kind: str) -> frozenset[date]:
    """Return the months in which documents of this kind may not be booked any more."""
    open_to_it = {PeriodState.OPEN}
    if document_kind in BOOKED_WHILE_CLOSING:
        open_to_it.add(PeriodState.CLOSING)
    return frozenset(starts_on for starts_on, state in states.items() if state not in open_to_it)


def closed_through(states: Mapping[date, PeriodState]) -> date | None:
    """Return the latest month that is closed: nothing is booked in it, nor in any month before it."""
    return max((starts_on for starts_on, state in states.items() if state is PeriodState.CLOSED), default=None)
