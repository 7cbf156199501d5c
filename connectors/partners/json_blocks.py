"""Many plain objects of JSON at once; numbers are the text they came as, whole numbers are such still.

The decoder that reads them so fast takes the last of a doubled key: it is believed only where as many keys came of a
text as the text writes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, TypeAlias

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from connectors.partners.rows import CELL_CHARACTERS_MAX

Json: TypeAlias = "str | bool | dict[str, Json] | list[Json] | None"
"""A JSON value whose numbers (and NaN, Infinity) are kept as text: a float would change money."""


class DoubledKey(dict[str, Json]):
    """An object that gave one key two values, so that nobody can say which is meant."""


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    made = dict(pairs)
    return made if len(made) == len(pairs) else DoubledKey(made)


DECODER = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str, object_pairs_hook=_object)
"""Reads one value with care: numbers as text, and an object that doubles a key is told apart."""

# Reads what the other does, ten times as fast, but takes the last of a doubled key, and whole numbers as such.
_PLAIN_DECODER = msgspec.json.Decoder(float_hook=str)
# What is searched for begins with a letter that never varies, or the search takes longer than all else.
_SPACED_KEY = re.compile(r'"\s+:')
_MINUS_ZERO = re.compile(r"-0[\s,}\]]")


def with_texts(value: Any) -> Any:
    """Return a value of a block with the text of its whole numbers in their place."""
    if isinstance(value, DoubledKey):
        return value
    if isinstance(value, dict):
        return {key: inner if isinstance(inner, str) else with_texts(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [with_texts(inner) for inner in value]
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def values_of(block: Sequence[dict[str, Any]], keys: Sequence[str]) -> list[Sequence[Any]]:
    """Return what the objects have under each of two keys or more, None where there is no such key."""
    take: Callable[[dict[str, Any]], tuple[Any, ...]] = itemgetter(*keys)
    try:
        return list(zip(*map(take, block), strict=True)) if block else [()] * len(keys)
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


def plain_object(text: str) -> dict[str, Any] | None:
    """Return the one object of a text of JSON, whole numbers as such; None where it must be read with more care."""
    written = _written_keys(text)
    found = None if written is None else _plain(text, written)
    return found if isinstance(found, dict) else None


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
