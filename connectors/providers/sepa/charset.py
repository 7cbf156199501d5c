"""Names and texts in the characters SEPA transports, the same every time, or a statement of what cannot be written.

SEPA banks guarantee only `a-z A-Z 0-9 / - ? : ( ) . , ' +` and the blank. What else a name holds is written, in order:

1. as our table below says: German, Nordic and other Latin letters as passports write them (ICAO Doc 9303 part 3), Greek
   and Bulgarian letter by letter (two scripts of euro countries), and the punctuation people type;
2. as the letter without its accents (Unicode NFKD, marks dropped);
3. not at all: kanji, emoji, Arabic, control characters, `<` or `@` in a name are *refused*. A guessed
   romanisation would pay a name that nobody bears, and a dropped character would hide it.

Blanks are trimmed and runs of them become one. Nothing is ever cut.
"""

import re
import unicodedata
from dataclasses import dataclass

TRANSPORTED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/-?:().,'+ ")

_LATIN = {
    "ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "æ": "ae", "œ": "oe", "ø": "oe", "å": "aa", "þ": "th", "ð": "d",
    "đ": "d", "ł": "l", "ħ": "h", "ŧ": "t", "ŋ": "n", "ı": "i", "ĸ": "k", "ə": "e", "ȷ": "j",
}  # fmt: skip
_GREEK = {
    "α": "a", "β": "v", "γ": "g", "δ": "d", "ε": "e", "ζ": "z", "η": "i", "θ": "th", "ι": "i", "κ": "k", "λ": "l",
    "μ": "m", "ν": "n", "ξ": "x", "ο": "o", "π": "p", "ρ": "r", "σ": "s", "ς": "s", "τ": "t", "υ": "y", "φ": "f",
    "χ": "ch", "ψ": "ps", "ω": "o",
}  # fmt: skip
_BULGARIAN = {
    "а": "a", "б": "b", "в": "v", "г": "g", "д": "d", "е": "e", "ж": "zh", "з": "z", "и": "i", "й": "y", "к": "k",
    "л": "l", "м": "m", "н": "n", "о": "o", "п": "p", "р": "r", "с": "s", "т": "t", "у": "u", "ф": "f", "х": "h",
    "ц": "ts", "ч": "ch", "ш": "sh", "щ": "sht", "ъ": "a", "ь": "y", "ю": "yu", "я": "ya",
}  # fmt: skip
_PUNCTUATION = {
    "&": "+", "_": "-", ";": ",", "!": ".", "[": "(", "]": ")", "{": "(", "}": ")", "€": "EUR", "¿": "?", "·": "",
    **dict.fromkeys("\"`´‘’‚‛“”„‟′″ʹʻʼ«»‹›", "'"),
    **dict.fromkeys("‐‑‒–—―−", "-"),
    **dict.fromkeys("\t\n\r", " "),
    "⁄": "/",
}  # fmt: skip


def _table() -> dict[str, str]:
    letters = _LATIN | _GREEK | _BULGARIAN
    capitals = {small.upper(): written.upper() for small, written in letters.items() if len(small.upper()) == 1}
    # "ẞ" is no upper() of "ß" in Unicode. The small letter wins where two share a capital (dotless i).
    return {**capitals, "ẞ": "SS", **letters, **_PUNCTUATION}


_TABLE = {character: written for character, written in _table().items() if character not in TRANSPORTED}


@dataclass(frozen=True, slots=True)
class Transliteration:
    """The text as SEPA transports it, and the characters (none, if it may be used) that cannot be written."""

    text: str
    refused: tuple[str, ...]


def transliterate(text: str) -> Transliteration:
    """Return `text` in the characters SEPA transports, with every character that has no place there as refused."""
    composed = unicodedata.normalize("NFC", text)
    written: list[str] = []
    refused: list[str] = []
    for place, character in enumerate(composed):
        replacement = _written(character)
        if replacement is None:
            refused.append(character)
        elif len(replacement) > 1 and character.isupper() and composed[place + 1 : place + 2].islower():
            # "Österreich" is "Oesterreich", "ÖSTERREICH" is "OESTERREICH".
            written.append(replacement[0] + replacement[1:].lower())
        else:
            written.append(replacement)
    return Transliteration(re.sub(" +", " ", "".join(written)).strip(" "), tuple(refused))


def _written(character: str) -> str | None:
    if character in TRANSPORTED:
        return character
    if character in _TABLE:
        return _TABLE[character]
    parts = [part for part in unicodedata.normalize("NFKD", character) if unicodedata.category(part) != "Mn"]
    replaced = [part if part in TRANSPORTED else _TABLE.get(part) for part in parts]
    return None if None in replaced else "".join(part for part in replaced if part is not None)
