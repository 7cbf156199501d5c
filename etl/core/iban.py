"""An account number (IBAN) that was checked once and is masked wherever it is shown.

The rules are those of ISO 13616: two letters, two check digits by mod 97 (ISO 7064), and per country a fixed length
and structure of what follows. Structures and the few national check digits come from python-stdnum.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING

from stdnum import numdb
from stdnum.exceptions import InvalidChecksum, ValidationError
from stdnum.util import get_cc_module

from etl.core.errors import TallybackError

if TYPE_CHECKING:
    from stdnum.util import NumberValidationModule

# People write blocks of four, and some banks print dashes; both are presentation and no part of the number.
_PRESENTATION = re.compile(r"[ \t\r\n\u00a0\u202f-]")
_SHAPE = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}")
_TYPED_LENGTH_MAX = 200
_DIGITS = {character: str(int(character, 36)) for character in "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
# How the registry writes a structure ("18!n"): so many digits, capitals, or either.
_PART = re.compile(r"([0-9]+)!([nac])")
_CHARACTERS = {"n": "[0-9]", "a": "[A-Z]", "c": "[A-Z0-9]"}


class IbanFault(StrEnum):
    """Why a text is no IBAN."""

    EMPTY = "empty"
    FORM = "form"
    COUNTRY = "country"
    STRUCTURE = "structure"
    CHECK_DIGITS = "check_digits"
    NATIONAL_CHECK = "national_check"


_FAULT_TEXT = {
    IbanFault.EMPTY: "there is none",
    IbanFault.FORM: "it is not two letters, two digits and 11 to 30 letters or digits",
    IbanFault.COUNTRY: "its country has no IBAN",
    IbanFault.STRUCTURE: "its length or structure is not the one of its country",
    IbanFault.CHECK_DIGITS: "its check digits are wrong, so a character is mistyped or missing",
    IbanFault.NATIONAL_CHECK: "its national account number has a wrong check digit",
}


class InvalidIban(TallybackError, ValueError):
    """A text is not an IBAN; the message names the fault and shows the text masked."""

    def __init__(self, fault: IbanFault, masked: str) -> None:
        super().__init__(f"IBAN {masked}: {_FAULT_TEXT[fault]}; ask the account holder for the number again")
        self.fault = fault
        self.masked = masked

    def __reduce__(self) -> "tuple[type[InvalidIban], tuple[IbanFault, str]]":
        # Errors cross process borders; the default would rebuild this one from its message alone, and fail.
        return InvalidIban, (self.fault, self.masked)


@dataclass(frozen=True, slots=True, repr=False)
class Iban:
    """A valid IBAN in its electronic form; `str` and `repr` mask it, only `reveal()` shows it."""

    _text: str

    def __post_init__(self) -> None:
        fault = _fault_of(self._text)
        if fault is not None:
            raise InvalidIban(fault, mask(self._text))

    def __str__(self) -> str:
        return mask(self._text)

    def __repr__(self) -> str:
        return f"Iban({mask(self._text)})"

    def reveal(self) -> str:
        """Return the full number, without blanks: for payment files and encryption, never for a log."""
        return self._text

    @property
    def country(self) -> str:
        """Return the two letters of the country."""
        return self._text[:2]

    @property
    def last_four(self) -> str:
        """Return the last four characters, which may be shown."""
        return self._text[-4:]


def checked_iban(text: str) -> Iban:
    """Return `text` as an Iban, blanks and dashes taken out and letters raised; raise InvalidIban if it is none."""
    return Iban(_electronic(text))


def mask(text: str) -> str:
    """Return `text` as `DE89 **** **** **** **30 00`; a text not shaped like an IBAN shows nothing of itself."""
    compact = _electronic(text)
    if _SHAPE.fullmatch(compact) is None:
        return "****"
    hidden = compact[:4] + "*" * (len(compact) - 8) + compact[-4:]
    return " ".join(hidden[at : at + 4] for at in range(0, len(hidden), 4))


def _electronic(text: str) -> str:
    # The cut keeps a megabyte pasted into a form from being worked on; what is cut is too long to be valid anyway.
    compact = _PRESENTATION.sub("", text[:_TYPED_LENGTH_MAX])
    # Only ASCII is raised: "ß".upper() is "SS", which would turn a wrong text into another one.
    return compact.upper() if compact.isascii() else compact


def _fault_of(compact: str) -> IbanFault | None:
    if not compact:
        return IbanFault.EMPTY
    # The form is tested before stdnum sees the text: it would accept separators, and digits of other scripts.
    if _SHAPE.fullmatch(compact) is None:
        return IbanFault.FORM
    country, check_digits, account = compact[:2], compact[2:4], compact[4:]
    structure = _structure(country)
    if structure is None:
        return IbanFault.COUNTRY
    # Mod 97 alone also lets 00, 01 and 99 stand for 97, 98 and 02; ISO 13616 generates only 02 to 98.
    number = int("".join([_DIGITS[character] for character in account + compact[:4]]))
    if number % 97 != 1 or not "02" <= check_digits <= "98":
        return IbanFault.CHECK_DIGITS
    if structure.fullmatch(account) is None:
        return IbanFault.STRUCTURE
    return _national_fault(compact)


@cache
def _structure(country: str) -> re.Pattern[str] | None:
    # The library parses its table at each call (40 microseconds); a batch of 100,000 payments asks some 300,000 times.
    # Only patterns are remembered, never a number.
    properties = numdb.get("iban").info(f"{country}00")[0][1]
    if "bban" not in properties:
        return None
    return re.compile(_PART.sub(lambda part: f"{_CHARACTERS[part[2]]}{{{part[1]}}}", properties["bban"]))


@cache
def _national_module(country: str) -> "NumberValidationModule | None":
    return get_cc_module(country.lower(), "iban")


def _national_fault(compact: str) -> IbanFault | None:
    module = _national_module(compact[:2])
    if module is None:
        return None
    try:
        module.validate(compact)
    except InvalidChecksum:
        return IbanFault.NATIONAL_CHECK
    except ValidationError:
        # What remains is a bank code that the library's list does not know (Belgium). Such a list ages, and a new
        # bank's customers would be refused: a complaint that is no checksum does not count.
        return None
    return None
