"""Members with names as people have them and account numbers that are valid in their country."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import date, timedelta

from sandbox import chance as chances
from sandbox.instants import midnight
from sandbox.model import Member

FIRST_NAMES = (
    "Anna", "Zoë", "José", "Björn", "Siobhán", "François", "Maria", "Łukasz", "Jürgen", "Inés", "Pieter", "Aoife",
    "Noémie", "Thomas", "Elif", "João", "Katarzyna", "Matti", "Giulia", "Sven", "Chloé", "Liam", "Ana", "Dirk",
)  # fmt: skip
LAST_NAMES = (
    "Müller", "de Vries", "O'Brien", "García López", "Dupont", "Van den Berg", "Lefèvre", "Weiß", "Nowak", "Silva",
    "Murphy", "Janssens", "Schäfer", "Martín", "Peeters", "Gruber", "Walsh", "Moreau", "Fernandes", "Bakker",
)  # fmt: skip
CHANGED_SHARE = 0.02


def members(seed: int, count: int, from_on: date, until_on: date) -> tuple[tuple[Member, ...], tuple[Member, ...]]:
    """Return the members as they joined, and the later rows of those who changed their account in the world's span."""
    chance = chances.stream(seed, "people")
    start = midnight(from_on)
    end = midnight(until_on)
    joined: list[Member] = []
    seen: set[str] = set()
    while len(joined) < count:
        member_id = "m-" + chances.code(chance, 12)
        if member_id in seen:
            continue
        seen.add(member_id)
        name = f"{chance.choice(FIRST_NAMES)} {chance.choice(LAST_NAMES)}"
        changed_at = chances.instant_between(chance, start - timedelta(days=400), start - timedelta(days=60))
        joined.append(Member(member_id, name, iban(chance), changed_at, member_id))
    later = [
        Member(person.member_id, person.full_name, iban(chance), chances.instant_between(chance, start, end), "support")
        for person in chance.sample(joined, round(count * CHANGED_SHARE))
    ]
    later.sort(key=lambda person: (person.changed_at, person.member_id))
    return tuple(joined), tuple(later)


def iban(chance: random.Random) -> str:
    """Return a valid IBAN of one of nine SEPA countries, right by its national check digits too."""
    country, account = chance.choice(tuple(_ACCOUNTS.items()))
    basic = account(chance)
    digits = "".join(str(int(letter, 36)) for letter in basic + country + "00")
    return f"{country}{98 - int(digits) % 97:02d}{basic}"


def _digits(chance: random.Random, length: int) -> str:
    return "".join(chance.choice("0123456789") for _ in range(length))


def _letters(chance: random.Random, length: int) -> str:
    return "".join(chance.choice("ABCDEFGHJKLMNPRSTUVWXZ") for _ in range(length))


def _belgian(chance: random.Random) -> str:
    # Belgian numbers begin with the bank's; only some of them are given out.
    body = chance.choice(("001", "063", "310", "733")) + _digits(chance, 7)
    return f"{body}{int(body) % 97 or 97:02d}"


def _dutch(chance: random.Random) -> str:
    while True:
        body = _digits(chance, 9)
        total = sum(int(digit) * weight for digit, weight in zip(body, range(10, 1, -1), strict=True))
        # The last digit has weight 1; a number whose sum would need a tenth digit of 10 does not exist.
        check = -total % 11
        if check < 10:
            return f"{_letters(chance, 4)}{body}{check}"


def _french(chance: random.Random) -> str:
    bank, branch, account = _digits(chance, 5), _digits(chance, 5), _digits(chance, 11)
    key = 97 - (89 * int(bank) + 15 * int(branch) + 3 * int(account)) % 97
    return f"{bank}{branch}{account}{key:02d}"


def _portuguese(chance: random.Random) -> str:
    body = _digits(chance, 19)
    return f"{body}{98 - int(body) * 100 % 97:02d}"


def _spanish(chance: random.Random) -> str:
    bank, account = _digits(chance, 8), _digits(chance, 10)
    weights = (1, 2, 4, 8, 5, 10, 9, 7, 3, 6)

    def check(ten_digits: str) -> str:
        total = sum(int(digit) * weight for digit, weight in zip(ten_digits, weights, strict=True))
        value = 11 - total % 11
        return {10: "1", 11: "0"}.get(value, str(value))

    return f"{bank}{check('00' + bank)}{check(account)}{account}"


_ACCOUNTS: dict[str, Callable[[random.Random], str]] = {
    "AT": lambda chance: _digits(chance, 16),
    "BE": _belgian,
    "DE": lambda chance: _digits(chance, 18),
    "ES": _spanish,
    "FR": _french,
    "IE": lambda chance: _letters(chance, 4) + _digits(chance, 14),
    "LU": lambda chance: _digits(chance, 16),
    "NL": _dutch,
    "PT": _portuguese,
}
