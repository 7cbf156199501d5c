"""Seeded chance: one stream of numbers per purpose, so that a change in one part leaves the others alone."""

from __future__ import annotations

import base64
import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TypeVar

T = TypeVar("T")


def stream(seed: int, *purpose: str) -> random.Random:
    """Return the stream of a purpose; the same seed and purpose give the same numbers on every machine."""
    return random.Random(":".join((str(seed), *purpose)))


def opaque(chance: random.Random) -> str:
    """Return a click id: base64 of 18 to 24 bytes, so 24 to 32 characters of mixed case that may hold + / and =."""
    return base64.b64encode(chance.randbytes(chance.choice((18, 19, 21, 24)))).decode("ascii")


def code(chance: random.Random, length: int) -> str:
    """Return a short lower-case code without letters that are easily confused."""
    return "".join(chance.choice("23456789abcdefghjkmnpqrstuvwxyz") for _ in range(length))


def instant_between(chance: random.Random, start: datetime, end: datetime) -> datetime:
    """Return an instant of whole seconds in [start, end)."""
    seconds = max(1, int((end - start).total_seconds()))
    return start.replace(microsecond=0) + timedelta(seconds=chance.randrange(seconds))


def days(chance: random.Random, low: float, high: float) -> timedelta:
    """Return a span of whole seconds between two numbers of days."""
    return timedelta(seconds=int(chance.uniform(low, high) * 86400))


def cents(chance: random.Random, low: int, high: int) -> Decimal:
    """Return an amount of two decimals between two numbers of cents, both included."""
    return Decimal(chance.randint(low, high)).scaleb(-2)


def weighted(chance: random.Random, weights: Sequence[tuple[T, float]]) -> T:
    """Return one of the values by its weight."""
    values = [value for value, _ in weights]
    return chance.choices(values, [weight for _, weight in weights])[0]
