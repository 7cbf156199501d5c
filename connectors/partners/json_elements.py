"""The elements of one large JSON array, one after another in flat memory, with numbers as the text they came as."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from pathlib import Path
from types import GenericAlias
from typing import Any, TypeAlias

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from connectors.partners.rows import CELL_CHARACTERS_MAX, RAW_CHARACTERS_MAX, Broken
from connectors.partners.text_source import PIECE_BYTES, read_text
from etl.core.errors import Stop

ELEMENT_CHARACTERS_MAX = 4 * 1024 * 1024
OBJECT_CHARACTERS_MAX = 64 * 1024 * 1024
_SHOWN_CHARACTERS = 300

Json: TypeAlias = "str | bool | dict[str, Json] | list[Json] | None"
"""A JSON value whose numbers (and NaN, Infinity) are kept as text: a float would change money."""


class DoubledKey(dict[str, Json]):
    """An object that gave one key two values, so that nobody can say which is meant."""


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    made = dict(pairs)
    return made if len(made) == len(pairs) else DoubledKey(made)


# Reads what the other does, ten times as fast, but takes the last of a doubled key, and whole numbers as such.
_PLAIN_DECODER = msgspec.json.Decoder(float_hook=str)
_BLOCK_PIECES = 16
_GUESSES_MAX = 3
_UNLIKE_MAX = 3
_KEYS_MAX = 200
# What the fields of an object made for a block may be called.
_NAME = re.compile(r"[\w .:-]+")
_CONTAINERS = frozenset({dict, list})
_BLANKS_MAX = 100
# What is searched for begins with a letter that never varies, or the search takes longer than all else.
_SPACED_KEY = re.compile(r'"\s+:')
_MINUS_ZERO = re.compile(r"-0[\s,}\]]")
_FIRST_KEY = re.compile(r'\{"[^"\\]{1,100}":')
_DECODER = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str, object_pairs_hook=_object)
_BLANK = " \t\n\r"


def array_elements(path: Path, what: str) -> Iterator[dict[str, Json] | Broken]:
    """Yield the objects of the array that a file holds, as `array_blocks` does, one by one."""
    for block in array_blocks(path, what):
        if isinstance(block, Block):
            yield from map(with_texts, block.objects())
        else:
            yield block


def array_blocks(path: Path, what: str) -> Iterator[Block | dict[str, Json] | Broken]:
    """Yield the objects of the array that a file holds; an element that is no object, or doubles a key, is Broken.

    Plain objects come as a block of many, whose whole numbers are numbers still: `with_texts` makes of each what it
    would be by itself.

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
        yield from _elements(reader, what)
    if reader.next_character():
        raise Stop(f"{what} goes on after its array, with {reader.shown()}: it is damaged, fetch the window again.")


def whole_object(path: Path, what: str) -> dict[str, Any]:
    """Return the one object that a file holds, whole numbers as such or as text; for pages, as all of it is in memory.

    Raises Stop where the file holds anything else, is cut off, is not UTF-8, is nested too deeply or over the limit.
    """
    if path.stat().st_size <= OBJECT_CHARACTERS_MAX:
        text = "".join(read_text(path, what))
        written = _written_keys(text)
        plain = None if written is None else _plain(text, written)
        if isinstance(plain, dict):
            return plain
    reader = _Reader(read_text(path, what), what, OBJECT_CHARACTERS_MAX)
    if reader.next_character() != "{":
        raise Stop(f"{what} is no JSON object, it begins with {reader.shown()}: check what was fetched.")
    value = reader.value()
    if reader.next_character():
        raise Stop(f"{what} goes on after its object, with {reader.shown()}: it is damaged, fetch the window again.")
    assert isinstance(value, dict)
    return value


def with_texts(value: Any) -> Any:
    """Return a value of a block with the text of its whole numbers in their place."""
    if isinstance(value, DoubledKey):
        return value
    if isinstance(value, dict):
        return {key: inner if isinstance(inner, str) else with_texts(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [with_texts(inner) for inner in value]
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


@dataclass(frozen=True, slots=True)
class Block:
    """Plain objects of an array: by key where all have the same, else one by one."""

    text: str
    columns: Mapping[str, Sequence[Any]] | None
    listed: Sequence[dict[str, Any]] = ()

    def __len__(self) -> int:
        return len(self.listed) if self.columns is None else len(next(iter(self.columns.values())))

    def objects(self) -> Sequence[dict[str, Any]]:
        """Return the objects one by one."""
        return self.listed if self.columns is None else _PLAIN_DECODER.decode(self.text)

    def values(self, keys: Sequence[str]) -> Sequence[Sequence[Any]]:
        """Return what the objects have under each of several keys, None where there is no such key."""
        if self.columns is None:
            return values_of(self.listed, keys)
        nothing = [None] * len(self)
        return [self.columns.get(key, nothing) for key in keys]


def values_of(block: Sequence[dict[str, Any]], keys: Sequence[str]) -> list[Sequence[Any]]:
    """Return what the objects have under each of several keys, None where there is no such key."""
    take: Callable[[dict[str, Any]], tuple[Any, ...]] = itemgetter(*keys)
    try:
        return list(zip(*map(take, block), strict=True))
    except KeyError:
        return [[each.get(key) for each in block] for key in keys]


def text_column(values: Sequence[Any], *, is_flag: bool = False) -> pa.Array | None:
    """Return values of a block as texts; None where one is neither text nor number, or is too long for a column."""
    kinds = set(map(type, values))
    if is_flag and bool in kinds:
        values = [("true" if value else "false") if type(value) is bool else value for value in values]
        kinds.discard(bool)
    if not kinds <= {str, int, type(None)}:
        return None
    if int in kinds:
        values = [str(value) if type(value) is int else value for value in values]
    column = pa.array(values, pa.string())
    return column if (pc.max(pc.binary_length(column)).as_py() or 0) <= CELL_CHARACTERS_MAX else None


def _written_keys(text: str) -> int | None:
    """Return how many keys a text of JSON writes, if it is JSON; None where one may be missed, or a value be lost.

    Lost on the way is the one whole number that is not its text; what no column can hold is looked at by itself.
    """
    if _MINUS_ZERO.search(text) or ("\\" in text and "\\u0000" in text):
        return None
    told = np.frombuffer(text.encode(), np.uint8)
    is_quote, after = told[:-1] == ord('"'), told[1:]
    if np.any(is_quote & (after <= ord(" "))) and _SPACED_KEY.search(text):
        return None
    return int(np.count_nonzero(is_quote & (after == ord(":"))))


def _columns_of_same_keys(text: str, written: int) -> dict[str, Sequence[Any]] | None:
    """Return by key what the objects of an array have there; None unless they have the keys of the first, each once.

    Objects of known keys are made in half the time, and their keys need not be counted one by one.
    """
    try:
        first, _ = _DECODER.raw_decode(text, 1)
        if type(first) is not dict or not 1 <= len(first) <= _KEYS_MAX or not all(map(_NAME.fullmatch, first)):
            return None
        keys = tuple(first)
        rows = map(msgspec.structs.astuple, _decoder_of(keys).decode(text))
        columns = dict(zip(keys, zip(*rows, strict=True), strict=True))
    except (json.JSONDecodeError, msgspec.DecodeError, RecursionError, UnicodeError):
        return None
    inner: list[Any] = []
    for values in columns.values():
        if not _CONTAINERS.isdisjoint(map(type, values)):
            inner += [each for each in values if type(each) in _CONTAINERS]
    count = len(keys) * len(columns[keys[0]]) + _key_count(inner)
    return columns if count == written else None


@lru_cache(maxsize=16)
def _decoder_of(keys: tuple[str, ...]) -> msgspec.json.Decoder[list[Any]]:
    """Return what reads an array of objects that have these keys and no others; of a doubled key it takes the last."""
    fields = [f"field_{place}" for place in range(len(keys))]
    element = msgspec.defstruct(
        "Element",
        [(field, Any) for field in fields],
        rename=dict(zip(fields, keys, strict=True)),
        forbid_unknown_fields=True,
        gc=False,
    )
    return msgspec.json.Decoder(GenericAlias(list, (element,)), float_hook=str)


def _plain(text: str, written: int) -> Any:
    """Return what a text of JSON holds that writes so many keys; None where it must be read with more care."""
    try:
        value = _PLAIN_DECODER.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None
    # As many keys are left as were written, so none was written twice.
    return value if _key_count([value]) == written else None


def _key_count(values: list[Any]) -> int:
    """Return how many keys the objects among values have, and all that are in them, level by level."""
    count = 0
    while values:
        objects = [each for each in values if type(each) is dict]
        count += sum(map(len, objects))
        inner = chain(
            chain.from_iterable(map(dict.values, objects)),
            chain.from_iterable(each for each in values if type(each) is list),
        )
        values = [each for each in inner if type(each) is dict or type(each) is list]
    return count


def _elements(reader: _Reader, what: str) -> Iterator[Block | dict[str, Json] | Broken]:
    while True:
        start = reader.raw()
        block = reader.block()
        value = None if block is not None else reader.value()
        if block is not None:
            yield block
        elif isinstance(value, DoubledKey) or (isinstance(value, dict) and _has_doubled_key(value)):
            yield Broken("a key stands twice in the row, so its value is unknown", start)
        elif isinstance(value, dict):
            yield value
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
        # Up to here elements are read one by one, as a block of them could not be.
        self._careful_until = 0
        # How many blocks held objects of other keys than their first.
        self._unlike = 0

    def block(self) -> Block | None:
        """Return many objects that begin here and go behind them; None where they must be read one by one.

        Where a block ends is guessed by the first key, as every object of a partner begins with the same: a wrong guess
        is no JSON, as it leaves something open.
        """
        if self._at < self._careful_until:
            return None
        if len(self._text) - self._at < PIECE_BYTES:
            self._more(_BLOCK_PIECES)
        first = _FIRST_KEY.match(self._text, self._at)
        end = len(self._text)
        for _ in range(_GUESSES_MAX if first is not None else 0):
            assert first is not None
            begin = self._text.rfind(first[0], self._at + 1, end)
            before = self._text[max(begin - _BLANKS_MAX, self._at) : max(begin, self._at)].rstrip(_BLANK)
            end = max(begin - _BLANKS_MAX, self._at) + len(before) - 1
            if begin < 0 or not before.endswith(","):
                continue
            block = self._block_of(f"[{self._text[self._at : end]}]")
            if block is not None:
                self._at = end
                return block
        self._careful_until = max(end, self._at + 1)
        return None

    def _block_of(self, text: str) -> Block | None:
        written = _written_keys(text)
        if written is None:
            return None
        if self._unlike < _UNLIKE_MAX:
            columns = _columns_of_same_keys(text, written)
            if columns is not None:
                return Block(text, columns)
            self._unlike += 1
        found = _plain(text, written)
        return Block(text, None, found) if found and all(type(each) is dict for each in found) else None

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
                value, end = _DECODER.raw_decode(self._text, self._at)
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
                self._at = end
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
        self._careful_until -= self._at
        self._at = 0
        return True
