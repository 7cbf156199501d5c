"""Flows put into the order of the books: which of them make one entry, what number it has, which leg each one is.

All of it is done on whole numbers, a column at a time: a document, a pair of accounts or a component is told by its
place in the order of its kind.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from etl.core.binary_copy import Integers, words

LANE = ("debit_kind", "debit_owner", "credit_kind", "credit_owner", "asset")
"""The columns that say between which two accounts a flow moves its amount."""
MOVED = ("amount", "effective_for", "component", "base_amount", "rate")
"""The columns of a flow that are its posting's as they are."""
_EPOCH = date(1970, 1, 1).toordinal()
_LAST = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class Ranked:
    """For each row the place of its value among the distinct ones; and those, in order (text: that of its bytes)."""

    places: Integers
    values: pa.Array | pa.Table


@dataclass(frozen=True, slots=True)
class RankedFlows:
    """What flows move, and what their order hangs on, as places; `by_document` are rows in the order of documents.

    `moved` has the columns MOVED, each in one piece: to take scattered rows from many pieces takes ten times as long.
    """

    moved: pa.Table
    document: Ranked
    day: Ranked
    component: Ranked
    by_document: Integers


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some documents in the order of the books: a number for each of their entries, and for each of their postings.

    An entry's `document` is a place; a posting's `row` is that of its flow, its `entry` the place of its entry here.
    """

    document: Integers
    booked_on: Integers
    year: Integers
    number: Integers
    entry_no: Integers
    row: Integers
    entry: Integers
    leg: Integers


def ranked(column: pa.ChunkedArray) -> Ranked:
    """Return the values of a column without nulls as places among the distinct ones."""
    coded = column.dictionary_encode().combine_chunks()
    order = pc.sort_indices(coded.dictionary)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return Ranked(pa.array(place).take(coded.indices).to_numpy(), coded.dictionary.take(order))


def ranked_lanes(flows: pa.Table, columns: Sequence[Ranked]) -> Ranked:
    """Return the pair of accounts of each flow as a place among all pairs, which are a table of LANE.

    `columns` are those of LANE, each of them ranked.
    """
    names = _packed([(column.places, len(column.values)) for column in columns])
    lane = ranked(pa.chunked_array([names]))
    example = np.empty(len(lane.values), np.int64)
    example[lane.places] = np.arange(flows.num_rows)
    return Ranked(lane.places, flows.select(LANE).take(example))


def ranked_flows(flows: pa.Table) -> RankedFlows:
    """Return flows with all that their order hangs on but their lanes."""
    document, day, component = (ranked(flows[name]) for name in ("document_id", "effective_for", "component"))
    return RankedFlows(flows.select(MOVED).combine_chunks(), document, day, component, np.argsort(document.places))


def in_order(
    flows: RankedFlows,
    lane: Ranked,
    booked: Mapping[date, date],
    last_entry_no: Integers,
    last_number: Mapping[int, int],
    documents_at_once: int,
) -> Iterator[Chunk]:
    """Yield the entries that flows make: one for each document and day it is booked on, documents in their order.

    `booked` says on which day what is for a day is booked, and keeps their order. Entries are numbered on without gaps
    from `last_entry_no` of their document and `last_number` of their year.
    """
    days = [booked[day] for day in flows.day.values.to_pylist()]
    booked_on = np.array([day.toordinal() for day in days])
    years, year = np.unique([day.year for day in days], return_inverse=True)
    last = np.array([last_number.get(each, 0) for each in years.tolist()])
    ends = np.cumsum(np.bincount(flows.document.places))
    for first in range(0, len(ends), documents_at_once):
        end = ends[min(first + documents_at_once, len(ends)) - 1]
        row = _sorted(flows, lane, year, flows.by_document[ends[first - 1] if first else 0 : end])
        document, day = flows.document.places[row], flows.day.places[row]
        is_first = _is_first(document, booked_on[day])
        entry_document, entry_day = document[is_first], day[is_first]
        entry_booked_on, entry_year = booked_on[entry_day], year[entry_day]
        number = last[entry_year] + _count_up(entry_year)
        last = last + np.bincount(entry_year, minlength=len(years))
        # A document whose entries are of two years stands in two places.
        together = np.lexsort((entry_booked_on, entry_document))
        entry_no = np.empty_like(number)
        entry_no[together] = _count_up(entry_document[together])
        entry = np.cumsum(is_first) - 1
        yield Chunk(
            entry_document,
            entry_booked_on - _EPOCH,
            years[entry_year],
            number,
            entry_no + last_entry_no[entry_document],
            row,
            entry,
            _count_up(entry),
        )


def _sorted(flows: RankedFlows, lane: Ranked, year: Integers, row: Integers) -> Integers:
    """Return the rows, all of some documents, in the order of entries and legs."""
    document, day = flows.document.places[row], flows.day.places[row]
    first = document.min()
    place = _packed(
        [
            (year[day], int(year.max()) + 1),
            (document - first, int(document.max() - first) + 1),
            (day, len(flows.day.values)),
            (flows.component.places[row], len(flows.component.values)),
            (lane.places[row], lane.values.num_rows),
        ]
    )
    order = np.argsort(place)
    if not _is_first(place[order]).all():
        moved = flows.moved.select(["rate", "amount", "base_amount"]).take(row)
        rate, amount = _unscaled(moved["rate"]), moved["amount"].to_numpy()
        order = np.lexsort((_unscaled(moved["base_amount"]), amount, rate, place))
    return row[order]


def _packed(columns: Sequence[tuple[Integers, int]]) -> Integers:
    """Return a number for each row that orders rows as the columns do, the first counting most.

    A column is numbers from zero and how many there may be.
    """
    packed, size = np.zeros(1, np.int64), 1
    for places, count in columns:
        if size * count > _LAST:
            values, packed = np.unique(packed, return_inverse=True)
            size = len(values)
        packed = packed * count + places
        size *= count
    return packed


def _is_first(*columns: Integers) -> npt.NDArray[np.bool_]:
    """Return which rows differ from the one before in one of the columns."""
    is_first = np.ones(len(columns[0]), bool)
    is_first[1:] = np.any([column[1:] != column[:-1] for column in columns], axis=0)
    return is_first


def _count_up(column: Integers) -> Integers:
    """Return 1, 2, 3 and so on within each run of equal numbers."""
    starts = np.flatnonzero(_is_first(column))
    return np.arange(1, len(column) + 1) - np.repeat(starts, np.diff(np.append(starts, len(column))))


def _unscaled(column: pa.ChunkedArray) -> Integers:
    """Return what orders decimals of at most 18 digits, null last."""
    low, _ = words(pc.fill_null(column, pa.scalar(Decimal(0), column.type)).combine_chunks())
    return np.where(column.is_null(), _LAST, low)
