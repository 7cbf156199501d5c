"""Instants and days: inside the sandbox an instant is UTC without a zone; only texts and partners know zones."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

from sandbox.model import BOOKS_ZONE

_BOOKS = ZoneInfo(BOOKS_ZONE)


def midnight(day: date) -> datetime:
    """Return the first instant of a day in UTC."""
    return datetime.combine(day, time())


def parsed(text: str) -> datetime:
    """Return the instant of an ISO text with an offset or Z; ValueError if it has none, for a guess would be wrong."""
    value = datetime.fromisoformat(text)
    if value.tzinfo is None:
        raise ValueError(f"instant {text!r} names no zone; write it like 2026-09-08T06:00:00Z")
    return value.astimezone(UTC).replace(tzinfo=None)


def shown(instant: datetime) -> str:
    """Return the ISO text of an instant, with Z."""
    return instant.isoformat() + "Z"


def in_zone(instant: datetime, zone: ZoneInfo) -> datetime:
    """Return the aware local time of an instant."""
    return instant.replace(tzinfo=UTC).astimezone(zone)


def from_zone(local: datetime, zone: ZoneInfo, *, fold: int = 0) -> datetime:
    """Return the instant of a local time; `fold` chooses which of two where clocks go back."""
    return local.replace(tzinfo=zone, fold=fold).astimezone(UTC).replace(tzinfo=None)


def books_day(instant: datetime) -> date:
    """Return the day of an instant in the zone of the books."""
    return in_zone(instant, _BOOKS).date()
