"""An account number (IBAN) that was checked once and is masked wherever it is shown.

The rules are those of ISO 13616: two letters, two check digits by mod 97 (ISO 7064), and per country a fixed length
and structure of what follows. Structures and the few national check digits come from python-stdnum.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from stdnum import iban as stdnum_iban
from stdnum.exceptions import InvalidChecksum, InvalidComponent, ValidationError

from etl.core.errors import TallybackError

# People write blocks of four, and some banks print dashes; both are presentation and no part of the number.
_PRESENTATION = re.compile(r"[ \t\r\n\u00a0\u202f-]")
_SHAPE = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}")
_TYPED_LENGTH_MAX = 200


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


class InvalidIban(TallybackError, ValueError):  # noqa: N818 (it is named as the rest of the tree, for what is wrong)
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
    # Mod 97 alone also lets 00, 01 and 99 stand for 97, 98 and 02; ISO 13616 generates only 02 to 98.
    if not 2 <= int(compact[2:4]) <= 98:
        return IbanFault.CHECK_DIGITS
    try:
        stdnum_iban.validate(compact)
    except ValidationError:
        return _international_fault(compact) or _national_fault(compact)
    return None


def _international_fault(compact: str) -> IbanFault | None:
    try:
        stdnum_iban.validate(compact, check_country=False)
    except InvalidComponent:
        return IbanFault.COUNTRY
    except InvalidChecksum:
        return IbanFault.CHECK_DIGITS
    except ValidationError:
        return IbanFault.STRUCTURE
    return None


def _national_fault(compact: str) -> IbanFault | None:
    try:
        stdnum_iban.validate(compact)
    except InvalidChecksum:
        return IbanFault.NATIONAL_CHECK
    except ValidationError:
        # What remains is a bank code that the library's list does not know (Belgium). Such a list ages, and a new
        # bank's customers would be refused: a complaint that is no checksum does not count.
        return None
    return None
