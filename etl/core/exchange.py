"""What an amount of one currency is in another on a day, and the smallest units currencies are counted in."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from datetime import date
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc

from etl.core.errors import Stop
from etl.core.money import PARTNER_SCALE, conversion_rate, exponent
from etl.core.schemas import TEXT

CONVERSION_RATE = pa.schema(
    [
        pa.field("sale_on", pa.date32(), nullable=False),
        pa.field("from_currency", TEXT, nullable=False),
        pa.field("to_currency", TEXT, nullable=False),
        pa.field("rate", pa.decimal128(18, 12), nullable=False),
        # The published rates the factor is the quotient of: what is rounded to a member's unit is compared exactly.
        pa.field("base_to_from", pa.decimal128(18, 9), nullable=False),
        pa.field("base_to_to", pa.decimal128(18, 9), nullable=False),
    ]
)
_CURRENCY_UNIT = pa.schema(
    [
        pa.field("currency", TEXT, nullable=False),
        pa.field("scale", pa.int32(), nullable=False),
        # How many of its smallest units are one of the currency, and how many 1/10,000 one such unit is.
        pa.field("unit", pa.int64(), nullable=False),
        pa.field("unit_minor", pa.int64(), nullable=False),
        pa.field("half_unit", pa.decimal128(6, 5), nullable=False),
        # From 1/10,000 to smallest units.
        pa.field("shift", pa.decimal128(5, 4), nullable=False),
    ]
)


class Rates:
    """Published rates of one base currency, to be asked for the rates of two currencies on a day."""

    def __init__(self, fx_rate: pa.Table) -> None:
        self._days: dict[str, list[date]] = defaultdict(list)
        self._values: dict[str, list[Decimal]] = defaultdict(list)
        bases = pc.unique(fx_rate["base"]).to_pylist()
        if len(bases) > 1:
            raise Stop(f"exchange rates have several base currencies ({', '.join(sorted(bases))}): load those of one")
        self._base = bases[0] if bases else None
        for row in fx_rate.sort_by([("quote", "ascending"), ("rate_on", "ascending")]).to_pylist():
            self._days[row["quote"]].append(row["rate_on"])
            self._values[row["quote"]].append(row["rate"])

    def _per_base(self, currency: str, on: date) -> Decimal | None:
        if currency == self._base:
            return Decimal(1)
        days = self._days.get(currency, [])
        place = bisect_right(days, on)
        # The last rate known is of no use: one of a day between it and the sale may still come.
        if place == 0 or place == len(days):
            return None
        return self._values[currency][place - 1]

    def pair(self, source: str, target: str, on: date) -> tuple[Decimal, Decimal] | None:
        """Return units of source and of target for one of the base; None as long as no rate of a later day is known."""
        if source == target:
            return Decimal(1), Decimal(1)
        base_to_source, base_to_target = self._per_base(source, on), self._per_base(target, on)
        if base_to_source is None or base_to_target is None:
            return None
        return base_to_source, base_to_target

    def factor(self, source: str, target: str, on: date) -> Decimal | None:
        """Return what amounts in `source` are multiplied by, None as long as a rate of a later day is not known."""
        found = self.pair(source, target, on)
        return None if found is None else conversion_rate(*found)


def usable_rates(fx_rate: pa.Table, needed: Iterable[tuple[date, str, str]]) -> pa.Table:
    """Return those of the factors (day, from, to) that can be used (schema CONVERSION_RATE)."""
    rates = Rates(fx_rate)
    found = [
        {
            "sale_on": on,
            "from_currency": source,
            "to_currency": target,
            "rate": conversion_rate(*pair),
            "base_to_from": pair[0],
            "base_to_to": pair[1],
        }
        for on, source, target in sorted(needed)
        if (pair := rates.pair(source, target, on)) is not None
    ]
    return pa.Table.from_pylist(found, schema=CONVERSION_RATE)


def currency_units(currencies: Iterable[str]) -> pa.Table:
    """Return the scale of each currency and its smallest unit in all the ways the SQL counts it."""
    rows = []
    for currency in sorted(set(currencies)):
        scale = exponent(currency)
        rows.append(
            {
                "currency": currency,
                "scale": scale,
                "unit": 10**scale,
                "unit_minor": 10 ** (PARTNER_SCALE - scale),
                "half_unit": Decimal("0.5").scaleb(-scale),
                "shift": Decimal(1).scaleb(scale - PARTNER_SCALE),
            }
        )
    return pa.Table.from_pylist(rows, schema=_CURRENCY_UNIT)
