"""Objects of JSON written as one before them was: the same keys in the same order, other values between them.

To make an object of a row takes longer than all else that is done with it, and a partner writes nearly every row of an
answer in one of a few ways. So the first row of each way is decoded; of those that repeat its keys byte for byte one
regular expression takes the values that columns are made of. It lets through what a decoder would take as it stands:
a text without an escape, a number, null. What is read is the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from operator import itemgetter
from typing import TypeAlias

import pyarrow as pa

from connectors.partners.json_blocks import DECODER, Json
from connectors.partners.rows import CELL_CHARACTERS_MAX, Broken, Values

Row: TypeAlias = "Callable[[dict[str, Json]], Values | Broken]"

SHAPES_MAX = 16
_FORMS_MAX = 64
_TEXT = r'"[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+"'
_NUMBER = r"-?+(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][+-]?+[0-9]++)?+"
_SCALAR = rf"(?:{_TEXT}|{_NUMBER}|null|true|false)"
# What is not a value of a column may be anything of the kind that was seen, or null; where null was seen, of any kind.
_ANY = {
    '""': rf"(?:{_TEXT}|null)",
    "0": rf"(?:{_NUMBER}|null)",
    "null": rf"(?:null|{_TEXT}|{_NUMBER}|true|false)",
    **dict.fromkeys(("true", "false"), "(?:true|false|null)"),
}
_FIND_SCALAR = re.compile(_SCALAR)
_COLON = re.compile(r"[ \t\n\r]*+:")
_NEXT = r"[ \t\n\r]*+,[ \t\n\r]*+"
_MARK = re.compile(r"~([0-9]+)~")
# What a column can hold, and no escape; where a blank text would mean another thing to the row, it begins visibly.
_PLAIN_TEXT = rf'"([^"\\\x00-\x1f]{{0,{CELL_CHARACTERS_MAX}}}+)"'
_VISIBLE_TEXT = rf'"([!#-\[\]-~][^"\\\x00-\x1f]{{0,{CELL_CHARACTERS_MAX - 1}}}+)"'
_PLAIN_NUMBER = r"(-?+(?:0|[1-9][0-9]{0,2000}+)(?:\.[0-9]{1,2000}+)?+(?:[eE][+-]?+[0-9]{1,2000}+)?+)"


class Shapes:
    """The ways in which the objects of an answer are written, as far as they are known, and what `row` says of each.

    `row` must take texts and numbers as they are. What it makes of null, of truth values and of a blank text is tried
    for each value, and where it is another thing than the value itself the object is left to the decoder.
    """

    def __init__(self, row: Row) -> None:
        self._row = row
        self._known: set[str] = set()
        self._shapes: list[_Shape] = []

    def take(self, text: str, begin: int, rows: list[Values]) -> int:
        """Append what `row` says of the objects from `begin` on that are written in a known way; return their end.

        Each goes with the comma after it, so the last object of an array is never among them.
        """
        at, is_found = begin, True
        while is_found:
            is_found = False
            for place, shape in enumerate(self._shapes):
                if (end := shape.take(text, at, rows)) > at:
                    # Most likely the next ones are written so, too.
                    self._shapes.insert(0, self._shapes.pop(place))
                    at, is_found = end, True
                    break
        return at

    def learn(self, written: str) -> None:
        """Remember how an object is written, unless it is known or too many are."""
        if len(self._known) == SHAPES_MAX:
            return
        form = _form(written)
        if form not in self._known:
            self._known.add(form)
            if (shape := _shape(form, self._row)) is not None:
                self._shapes.append(shape)


def batch_of(rows: Sequence[Values]) -> pa.RecordBatch:
    """Return the rows that were taken as columns of text."""
    columns = [pa.array(values, pa.string()) for values in zip(*rows, strict=True)]
    return pa.RecordBatch.from_arrays(columns, names=[str(place) for place in range(len(columns))])


@dataclass(frozen=True, slots=True)
class _Shape:
    """A way to write an object: what finds one with the comma after it, and which of its groups are the values."""

    pattern: re.Pattern[str]
    pick: Callable[[tuple[str | None, ...]], Values]

    def take(self, text: str, begin: int, rows: list[Values]) -> int:
        """Append the values of the objects of this way that follow each other from `begin` on; return their end."""
        pick, match = self.pick, self.pattern.match
        at = begin
        while (found := match(text, at)) is not None:
            rows.append(pick((*found.groups(), None)))
            at = found.end()
        return at


def _places(written: str) -> list[tuple[int, int]]:
    """Return where the values stand that are neither object nor array."""
    return [each.span() for each in _FIND_SCALAR.finditer(written) if not _COLON.match(written, each.end())]


def _form(written: str) -> str:
    """Return an object with each text as an empty one and each number as nought: all of it that its way hangs on."""
    pieces, before = [], 0
    for begin, end in _places(written):
        kind = {'"': '""', "n": "null", "t": "true", "f": "false"}.get(written[begin], "0")
        pieces += [written[before:begin], kind]
        before = end
    return "".join([*pieces, written[before:]])


@lru_cache(maxsize=_FORMS_MAX)
def _shape(form: str, row: Row) -> _Shape | None:
    """Return how objects of this form are written; None if `row` takes anything else of them than texts and numbers.

    Each value is replaced by a mark, to see where in what `row` says it comes out.
    """
    places = _places(form)
    ends = [0, *(end for _, end in places)]
    between = [form[end:begin] for end, (begin, _) in zip(ends, [*places, (len(form), 0)], strict=True)]
    kinds = [form[begin:end] for begin, end in places]

    def said(told: Sequence[str]) -> Values | Broken:
        texts = "".join(piece + each for piece, each in zip(between, [*told, ""], strict=True))
        return row(DECODER.decode(texts))

    told = [f'"~{number}~"' if kind in ('""', "0") else kind for number, kind in enumerate(kinds)]
    for number, kind in enumerate(kinds):
        # Null stands for an object that is absent, too, and then `row` takes no text in its place.
        marked = [*told[:number], f'"~{number}~"', *told[number + 1 :]]
        if kind not in ('""', "0") and not isinstance(said(marked), Broken):
            told = marked
    values = said(told)
    if isinstance(values, Broken):
        return None
    marks = [_MARK.fullmatch(value) if value else None for value in values]
    if any(value is not None and mark is None for value, mark in zip(values, marks, strict=True)):
        return None
    used = sorted({int(mark[1]) for mark in marks if mark is not None})

    def is_taken(number: int, instead: str, value: str | None) -> bool:
        changed = said([*told[:number], instead, *told[number + 1 :]])
        return changed == tuple(value if each == f"~{number}~" else each for each in values)

    patterns = [re.escape(each) if each == kind else _ANY[kind] for each, kind in zip(told, kinds, strict=True)]
    for number in used:
        patterns[number] = _of_value(kinds[number], partial(is_taken, number))
    written = "".join(re.escape(piece) + each for piece, each in zip(between, [*patterns, ""], strict=True))
    picked = [len(used) if mark is None else used.index(int(mark[1])) for mark in marks]
    return _Shape(re.compile(written + _NEXT), itemgetter(*picked))


def _of_value(kind: str, is_taken: Callable[[str, str | None], bool]) -> str:
    """Return what finds a value of this kind, in one group; `is_taken` tries what the row makes of one instead."""
    if kind in ("true", "false"):
        told = "(" + "|".join(word for word in ("true", "false") if is_taken(word, word)) + ")"
    elif kind == "0":
        told = _PLAIN_NUMBER
    else:
        is_blank_taken = all(is_taken(json.dumps(blank), blank) for blank in ("", " "))
        told = _PLAIN_TEXT if is_blank_taken else _VISIBLE_TEXT
    return f"(?:{told}|null)" if is_taken("null", None) else told
