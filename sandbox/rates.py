"""Exchange rates in the ECB's own file dialect: generated from the seed, or a real file handed in."""

from __future__ import annotations

import csv
import gzip
import io
from bisect import bisect_right
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

from sandbox import chance as chances

COLUMNS = (
    "USD,JPY,BGN,CYP,CZK,DKK,EEK,GBP,HUF,LTL,LVL,MTL,PLN,ROL,RON,SEK,SIT,SKK,CHF,ISK,NOK,HRK,RUB,TRL,TRY,AUD,BRL,CAD,"
    "CNY,HKD,IDR,ILS,INR,KRW,MXN,MYR,NZD,PHP,SGD,THB,ZAR"
).split(",")
# Where the walk of each live currency begins; a currency that is not here has no rate any more.
_BEGIN = {
    "USD": "1.1172", "JPY": "163.40", "CZK": "24.353", "DKK": "7.4735", "GBP": "0.8538", "HUF": "396.33",
    "PLN": "4.3038", "RON": "5.0447", "SEK": "10.978", "CHF": "0.9394", "ISK": "142.3", "NOK": "11.312",
    "TRY": "45.8015", "AUD": "1.6904", "BRL": "6.0692", "CAD": "1.5306", "CNY": "7.9326", "HKD": "8.7152",
    "IDR": "18275.17", "ILS": "3.995", "INR": "96.084", "KRW": "1591.76", "MXN": "20.1237", "MYR": "4.7325",
    "NZD": "1.8823", "PHP": "64.143", "SGD": "1.4582", "THB": "37.683", "ZAR": "19.6455",
}  # fmt: skip
LEAD_DAYS = 200
TAIL_DAYS = 400
"""How long before and after its span a world has rates."""


class Rates:
    """The rates of a file, to be asked for the rate of a day."""

    def __init__(self, text: str) -> None:
        reader = csv.reader(io.StringIO(text))
        header = next(reader)
        self._by_currency: dict[str, list[tuple[date, Fraction]]] = {name: [] for name in header[1:] if name}
        for line in reader:
            for name, value in zip(header[1:], line[1:], strict=True):
                if name and value != "N/A":
                    self._by_currency[name].append((date.fromisoformat(line[0]), Fraction(Decimal(value))))
        for series in self._by_currency.values():
            series.sort()

    def per_euro(self, currency: str, on: date) -> Fraction:
        """Return a currency's units per euro, the latest on or before a day; LookupError if there is none."""
        if currency == "EUR":
            return Fraction(1)
        series = self._by_currency.get(currency, [])
        place = bisect_right(series, on, key=lambda entry: entry[0])
        if place == 0:
            raise LookupError(f"no rate of {currency} on or before {on}; give a rates file that reaches back to it")
        return series[place - 1][1]


def read_text(path: Path) -> str:
    """Return the text of an ECB history file, plain or gzipped."""
    if path.suffix == ".gz":
        with gzip.open(path, "rt", encoding="ascii", newline="") as file:
            return file.read()
    return path.read_text(encoding="ascii")


def spans(text: str, first_on: date, last_on: date) -> bool:
    """Return whether a history begins on or before the first day and goes on beyond the last."""
    days = [line.partition(",")[0] for line in text.splitlines()[1:]]
    return bool(days) and min(days) <= first_on.isoformat() and max(days) > last_on.isoformat()


def cut(text: str, first_on: date, last_on: date) -> str:
    """Return a history without the days before and after those two."""
    header, *lines = text.splitlines(keepends=True)
    return header + "".join(line for line in lines if first_on.isoformat() <= line[:10] <= last_on.isoformat())


def generated(seed: int, from_on: date, until_on: date) -> str:
    """Return a history file around the world's span: newest day first, trailing comma, N/A, no weekends or holidays."""
    chance = chances.stream(seed, "rates")
    values = {name: Decimal(text) for name, text in _BEGIN.items()}
    lines = []
    for day in _business_days(from_on - timedelta(days=LEAD_DAYS), until_on + timedelta(days=TAIL_DAYS)):
        for name, value in values.items():
            exponent = Decimal(_BEGIN[name]).as_tuple().exponent
            assert isinstance(exponent, int)
            values[name] = (value * Decimal(10_000 + chance.randint(-40, 40)) / 10_000).quantize(
                Decimal(1).scaleb(exponent)
            )
        shown = (f"{values[name].normalize():f}" if name in values else "N/A" for name in COLUMNS)
        lines.append(f"{day.isoformat()},{','.join(shown)},\n")
    return f"Date,{','.join(COLUMNS)},\n" + "".join(reversed(lines))


def _business_days(first: date, last: date) -> Iterator[date]:
    day = first
    while day <= last:
        if day.weekday() < 5 and not _is_target_holiday(day):
            yield day
        day += timedelta(days=1)


def _is_target_holiday(day: date) -> bool:
    easter = _easter(day.year)
    fixed = ((1, 1), (5, 1), (12, 25), (12, 26))
    return (day.month, day.day) in fixed or day in (easter - timedelta(days=2), easter + timedelta(days=1))


def _easter(year: int) -> date:
    """Return Easter Sunday (the anonymous Gregorian computus)."""
    golden = year % 19
    century, rest = divmod(year, 100)
    leap, century_rest = divmod(century, 4)
    correction = (century + 8) // 25
    epact = (19 * golden + century - leap - (century - correction + 1) // 3 + 15) % 30
    quarter, quarter_rest = divmod(rest, 4)
    weekday = (32 + 2 * century_rest + 2 * quarter - epact - quarter_rest) % 7
    shift = (golden + 11 * epact + 22 * weekday) // 451
    month, day = divmod(epact + weekday - 7 * shift + 114, 31)
    return date(year, month, day + 1)
