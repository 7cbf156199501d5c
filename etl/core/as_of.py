"""A point of view on the books: until which day things are true or booked, and until when we knew."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo


class Basis(StrEnum):
    """Which day of a posting is compared: the day it is true, or the day it is booked on."""

    EFFECTIVE = "effective"
    BOOKED = "booked"


@dataclass(frozen=True, slots=True)
class AsOf:
    """What was true (or booked) at the end of `day`, as we knew it at `known_at` (naive UTC; None: all known now)."""

    day: date
    known_at: datetime | None = None
    basis: Basis = Basis.EFFECTIVE


def local_day(instant: datetime, zone: str) -> date:
    """Return the day that an instant (naive UTC) belongs to in `zone`."""
    return instant.replace(tzinfo=UTC).astimezone(ZoneInfo(zone)).date()


def end_of_day(day: date, zone: str) -> datetime:
    """Return the last instant of a day in `zone`, as naive UTC."""
    begin_of_next = datetime.combine(day + timedelta(days=1), time(), ZoneInfo(zone))
    return begin_of_next.astimezone(UTC).replace(tzinfo=None) - timedelta(microseconds=1)
