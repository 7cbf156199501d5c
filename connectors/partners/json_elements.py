"""The elements of one large JSON array, one after another in flat memory, with numbers as the text they came as."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from connectors.partners.json_blocks import DECODER, DoubledKey, Json, plain_object
from connectors.partners.json_shapes import Row, Shapes, batch_of
from connectors.partners.rows import RAW_CHARACTERS_MAX, Broken, Values
from connectors.partners.text_source import PIECE_BYTES, read_text
from etl.core.errors import Stop

ELEMENT_CHARACTERS_MAX = 4 * 1024 * 1024
OBJECT_CHARACTERS_MAX = 64 * 1024 * 1024
_SHOWN_CHARACTERS = 300
_PIECES_AT_ONCE = 4
_ROWS_AT_ONCE = 3_000
_BLANK = " \t\n\r"


def array_rows(path: Path, what: str, row: Row) -> Iterator[Values | Broken | pa.RecordBatch]:
    """Yield what `row` says of the objects of the array that a file holds, of many written alike as one batch.

    An element that is no object, or doubles a key, is Broken. `row` must take texts and numbers as they are, see
    `json_shapes`.

    Raises Stop where the file is no JSON array (an object with an error in it is quoted), is cut off, is not UTF-8,
    is nested too deeply or has an element over the limit.
    """
    reader = _Reader(read_text(path, what), what)
    first = reader.next_character()
    if first == "{":
        raise _object_for_array(reader, what)
    if first != "[":
        raise Stop(f"{what} is no JSON array, it begins with {reader.shown()}: check what was fetched.")
    reader.skip()
    if reader.next_character() == "]":
        reader.skip()
    else:
        yield from _rows(reader, what, row)
    if reader.next_character():
        raise Stop(f"{what} goes on after its array, with {reader.shown()}: it is damaged, fetch the window again.")


def whole_object(path: Path, what: str) -> dict[str, Any]:
    """Return the one object that a file holds, whole numbers as such or as text; for pages, as all of it is in memory.

    Raises Stop where the file holds anything else, is cut off, is not UTF-8, is nested too deeply or over the limit.
    """
    if path.stat().st_size <= OBJECT_CHARACTERS_MAX:
        plain = plain_object("".join(read_text(path, what)))
        if plain is not None:
            return plain
    reader = _Reader(read_text(path, what), what, OBJECT_CHARACTERS_MAX)
    if reader.next_character() != "{":
        raise Stop(f"{what} is no JSON object, it begins with {reader.shown()}: check what was fetched.")
    value = reader.value()
    if reader.next_character():
        raise Stop(f"{what} goes on after its object, with {reader.shown()}: it is damaged, fetch the window again.")
    assert isinstance(value, dict)
    return value


def _rows(reader: _Reader, what: str, row: Row) -> Iterator[Values | Broken | pa.RecordBatch]:
    shapes = Shapes(row)
    while True:
        start = reader.raw()
        batch = reader.taken(shapes)
        if batch is not None:
            yield batch
            start = reader.raw()
        value = reader.value()
        if isinstance(value, DoubledKey) or (isinstance(value, dict) and _has_doubled_key(value)):
            yield Broken("a key stands twice in the row, so its value is unknown", start)
        elif isinstance(value, dict):
            yield row(value)
            shapes.learn(reader.written())
        else:
            yield Broken("the row is no JSON object", start)
        after = reader.next_character()
        reader.skip()
        if after == "]":
            return
        if after != ",":
            raise Stop(f"{what}: after a row there is neither comma nor end: it is damaged, fetch the window again.")


def _has_doubled_key(value: dict[str, Json]) -> bool:
    return any(isinstance(inner, DoubledKey) for inner in value.values())


def _object_for_array(reader: _Reader, what: str) -> Stop:
    value = reader.value()
    said = "nothing that names an error"
    if isinstance(value, dict):
        named = [(key, value[key]) for key in ("error", "description", "message", "errors") if value.get(key)]
        text = "; ".join(f"{key}: {json.dumps(inner)}" for key, inner in named)
        said = "".join(each if each.isprintable() else "?" for each in text)[:_SHOWN_CHARACTERS] or said
    return Stop(
        f"{what} is one JSON object where an array of rows was expected; it says {said}. "
        "See to that, then fetch the window again."
    )


class _Reader:
    """A place in a text that arrives in pieces; it holds one element and a piece, never the whole."""

    def __init__(self, pieces: Iterator[str], what: str, characters_max: int = ELEMENT_CHARACTERS_MAX) -> None:
        self._pieces = pieces
        self._what = what
        self._characters_max = characters_max
        self._text = ""
        self._at = 0
        self._before = 0

    def taken(self, shapes: Shapes) -> pa.RecordBatch | None:
        """Return the rows that begin here and are written as others before them were, and go behind them."""
        rows: list[Values] = []
        is_more = True
        while is_more:
            self._at = shapes.take(self._text, self._at, rows)
            is_at_end = len(self._text) - self._at < PIECE_BYTES
            is_more = is_at_end and len(rows) < _ROWS_AT_ONCE and self._more(_PIECES_AT_ONCE)
        return batch_of(rows) if rows else None

    def written(self) -> str:
        """Return how the value was written that was read last; nothing may have been read since."""
        return self._text[self._before : self._at]

    def next_character(self) -> str:
        """Return the next character that is not blank without taking it, '' at the end."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in _BLANK:
                    return self._text[self._at]
                self._at += 1
            if not self._more(1):
                return ""

    def skip(self) -> None:
        """Go on by one character."""
        self._at += 1

    def raw(self) -> str:
        """Return the beginning of what comes next, for people."""
        self.next_character()
        return self._text[self._at : self._at + RAW_CHARACTERS_MAX]

    def shown(self) -> str:
        """Return the beginning of what comes next, short and printable, or 'nothing'."""
        text = self.raw()[:40]
        return ascii(text) if text else "nothing"

    def value(self) -> Json:
        """Return the JSON value that begins here and go behind it; Stop if it is cut off, malformed or too large."""
        self.next_character()
        wanted = 1
        while True:
            try:
                value: Json
                value, end = DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if len(self._text) - self._at > self._characters_max:
                    raise Stop(
                        f"{self._what} has a row of more than {self._characters_max:,} characters, or is damaged "
                        f"there ({error.msg}); look at the landed bytes."
                    ) from None
                if not self._more(wanted):
                    raise Stop(
                        f"{self._what} is cut off or damaged after {error.pos - self._at:,} characters of a row "
                        f"({error.msg}), at {self.shown()}: fetch the window again."
                    ) from None
                wanted *= 2
            except RecursionError:
                raise Stop(f"{self._what} is nested too deeply to be a report: look at the landed bytes.") from None
            else:
                # A value that touches the end of a piece may go on in the next one (a number).
                if end == len(self._text) and self._more(1):
                    continue
                self._before, self._at = self._at, end
                return value

    def _more(self, pieces: int) -> bool:
        """Take up to so many pieces more, let go of what lies behind, and return whether anything came."""
        taken = []
        for _ in range(pieces):
            piece = next(self._pieces, None)
            if piece is None:
                break
            taken.append(piece)
        if not taken:
            return False
        self._text = self._text[self._at :] + "".join(taken)
        self._at = 0
        return True
