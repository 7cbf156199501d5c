"""How figures are written: exact amounts with the digits of their currency, dates, and names of periods."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal

from etl.core.money import exponent
from etl.report.outline import Kind

_CURRENCY = re.compile(r"[A-Z]{3}")


def digits(amount: Decimal, currency: str | None) -> int:
    """Return how many digits to show: those of the currency, or more where the amount has more (never fewer)."""
    usual = exponent(currency) if currency and _CURRENCY.fullmatch(currency) else 0
    place = amount.normalize().as_tuple().exponent
    return max(usual, -place if isinstance(place, int) else 0)


def amount_text(amount: Decimal, currency: str | None) -> str:
    """Return `amount` with thousands apart and all its digits, such as '-1,234.50'."""
    return f"{amount:,.{digits(amount, currency)}f}"


def value_text(value: object, kind: Kind, currency: str | None, unit: str | None, base_currency: str) -> str:
    """Return a cell as a reader sees it; '' for what is absent."""
    if value is None:
        return ""
    if isinstance(value, Decimal):
        return amount_text(value, {Kind.BASE: base_currency, Kind.MEASURE: unit}.get(kind, currency))
    if isinstance(value, int):
        return f"{value:,d}" if kind is Kind.COUNT else str(value)
    if isinstance(value, date):
        return value.isoformat()
    return str(value)


def period_text(starts_on: date) -> str:
    """Return the name of a month, such as 'October 2026', in no locale but this one."""
    names = "January February March April May June July August September October November December".split()
    return f"{names[starts_on.month - 1]} {starts_on.year}"
