"""Which files may hold what a search looks for: told by the instants and ids that the rows of each lie between.

What a file says of its rows in its footer is kept in the warehouse (`ops.file_span`), so that each footer is read once.
A file that does not say may hold anything.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import accumulate

import pyarrow as pa
import pyarrow.parquet as pq

from etl.core.lake import Lake
from etl.core.schemas import INSTANT, TEXT
from etl.core.warehouse import Connection, copy_in, fetch

_FILE_SPAN = pa.schema(
    [("object_path", TEXT), ("first_at", INSTANT), ("last_at", INSTANT), ("first_id", TEXT), ("last_id", TEXT)]
)
Interval = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True)
class Span:
    """Between which instants and ids, both ends within, the rows of a file lie; None where it is not known."""

    at: Interval | None
    ids: tuple[str, str] | None


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns whose least and greatest values are kept of files: an instant, and an id where it is asked for."""

    instant: str
    id: str | None = None


class Instants:
    """Intervals of instants, both ends within, to ask whether any of them meets another."""

    def __init__(self, intervals: Iterable[Interval]) -> None:
        ordered = sorted(intervals)
        self._froms = [first for first, _ in ordered]
        self._latest = list(accumulate((last for _, last in ordered), max))

    def meet(self, first: datetime, last: datetime) -> bool:
        """Return whether any interval has an instant between these."""
        begun = bisect_right(self._froms, last)
        return begun > 0 and self._latest[begun - 1] >= first


class Ids:
    """Ids to look for as they stand, and the beginnings of others in lower case."""

    def __init__(self, exact: Iterable[str], folded: Iterable[str]) -> None:
        self._exact = sorted(set(exact))
        self._folded = sorted(set(folded))

    def may_lie(self, first: str, last: str) -> bool:
        """Return whether a file with ids between these may hold any."""
        place = bisect_left(self._exact, first)
        if place < len(self._exact) and self._exact[place] <= last:
            return True
        # All ids of the file begin as its first and last do. What is not ASCII may change its length in lower case.
        common = 0
        while common < min(len(first), len(last)) and first[common] == last[common] and first[common].isascii():
            common += 1
        beginning = first[:common].lower()
        place = bisect_left(self._folded, beginning)
        if place < len(self._folded) and self._folded[place].startswith(beginning):
            return True
        return any(self._is_folded(beginning[:length]) for length in range(1, len(beginning) + 1))

    def _is_folded(self, text: str) -> bool:
        place = bisect_left(self._folded, text)
        return place < len(self._folded) and self._folded[place] == text


class Spans:
    """What is known of files, read when it is first asked for; what was not known is kept."""

    def __init__(self, connection: Connection, lake: Lake) -> None:
        self._connection, self._lake = connection, lake

    @cached_property
    def _known(self) -> dict[str, Span]:
        rows = fetch(self._connection, f"SELECT {', '.join(_FILE_SPAN.names)} FROM ops.file_span", _FILE_SPAN)
        return {str(row["object_path"]): _span(row) for row in rows.to_pylist()}

    def of(self, paths: Iterable[str], columns: Columns) -> Mapping[str, Span]:
        """Return what is known of some files, at least."""
        fresh = [_read(self._lake, path, columns) for path in dict.fromkeys(paths) if path not in self._known]
        copy_in(self._connection, "ops.file_span", pa.Table.from_pylist(fresh, schema=_FILE_SPAN))
        self._known.update((str(row["object_path"]), _span(row)) for row in fresh)
        return self._known


def _span(row: Mapping[str, object]) -> Span:
    first_at, last_at, first_id, last_id = (row[name] for name in _FILE_SPAN.names[1:])
    return Span(
        (first_at, last_at) if isinstance(first_at, datetime) and isinstance(last_at, datetime) else None,
        (first_id, last_id) if isinstance(first_id, str) and isinstance(last_id, str) else None,
    )


def _read(lake: Lake, path: str, columns: Columns) -> dict[str, object]:
    with lake.borrowed(path) as local:
        footer = pq.read_metadata(local)
    first_at, last_at = _ends(footer, columns.instant)
    first_id, last_id = (None, None) if columns.id is None else _ends(footer, columns.id)
    return dict(zip(_FILE_SPAN.names, (path, first_at, last_at, first_id, last_id), strict=True))


def _ends(footer: pq.FileMetaData, column: str) -> tuple[object, object]:
    """Return the least and greatest value of a column as all groups of rows say, or None twice."""
    if column not in footer.schema.names:
        return None, None
    place = footer.schema.names.index(column)
    said = [footer.row_group(number).column(place).statistics for number in range(footer.num_row_groups)]
    if not said or any(each is None or not each.has_min_max for each in said):
        return None, None
    return min(each.min for each in said), max(each.max for each in said)
