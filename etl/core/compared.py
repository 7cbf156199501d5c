"""Two warehouses side by side: rows of one query in the order of its key, met one by one in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from etl.core.warehouse import Connection

_FETCHED_ROWS = 5_000
Row = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference: in what, of which row, what is stored and what follows from the inputs."""

    table: str
    key: str
    stored: str
    follows: str


@dataclass(frozen=True, slots=True)
class Compared:
    """One query to compare: named, with the words for its key columns and its values, in the order it selects them."""

    name: str
    query: str
    key: tuple[str, ...]
    values: tuple[str, ...]

    def statement(self) -> str:
        """Return the query ordered by its key, text byte by byte, so that both sides and Python agree on the order."""
        columns = ", ".join((*self.key, *self.values))
        return f"SELECT {columns} FROM ({self.query}) AS q ORDER BY {', '.join(_ordered(name) for name in self.key)}"


def _ordered(name: str) -> str:
    # Numbers and days are keys too, and have no collation.
    return f"""coalesce((q.{name})::text, '') COLLATE "C\""""


def compare(stored: Connection, derived: Connection, what: Compared) -> Iterator[Difference]:
    """Yield where the two sides differ, row by row; each side is read once, some rows at a time."""
    count = len(what.key)

    def ordering(row: Row) -> tuple[bytes, ...]:
        return tuple(_text(value).encode() for value in row[:count])

    ours, theirs = _rows(stored, what, "stored"), _rows(derived, what, "derived")
    one, other = next(ours, None), next(theirs, None)
    while one is not None or other is not None:
        if other is None or (one is not None and ordering(one) < ordering(other)):
            assert one is not None
            yield Difference(what.name, _key(what, one), _told(what, one), "nothing")
            one = next(ours, None)
        elif one is None or ordering(other) < ordering(one):
            yield Difference(what.name, _key(what, other), "nothing", _told(what, other))
            other = next(theirs, None)
        else:
            if one != other:
                changed = [place for place in range(count, len(one)) if one[place] != other[place]]
                yield Difference(what.name, _key(what, one), _told(what, one, changed), _told(what, other, changed))
            one, other = next(ours, None), next(theirs, None)


def _rows(connection: Connection, what: Compared, name: str) -> Iterator[Row]:
    with connection.cursor(name=f"{name}_rows") as cursor:
        cursor.itersize = _FETCHED_ROWS
        cursor.execute(what.statement())
        yield from cursor


def _key(what: Compared, row: Row) -> str:
    named = zip(what.key, row, strict=False)
    return ", ".join(f"{name} {_text(value)}" for name, value in named if value not in (None, ""))


def _told(what: Compared, row: Row, places: Sequence[int] | None = None) -> str:
    chosen = range(len(what.key), len(row)) if places is None else places
    names = (*what.key, *what.values)
    told = [f"{names[place]} {_text(row[place]) or 'none'}" for place in chosen]
    return ", ".join(told if places is not None else [each for each in told if not each.endswith(" none")]) or "a row"


def _text(value: object) -> str:
    if value is None:
        return ""
    return f"{value:f}" if isinstance(value, Decimal) else str(value)
