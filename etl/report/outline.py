"""What a section, a table and a column of the reconciliation report are."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import pyarrow as pa

AMOUNT_TYPE = pa.decimal128(38, 4)


class Kind(StrEnum):
    """How a column is read. AMOUNT is in the row's currency, BASE in the entity's, MEASURE in the row's unit."""

    TEXT = "text"
    COUNT = "count"
    AMOUNT = "amount"
    BASE = "base"
    MEASURE = "measure"
    DATE = "date"


_TYPES = {
    Kind.TEXT: pa.string(),
    Kind.COUNT: pa.int64(),
    Kind.AMOUNT: AMOUNT_TYPE,
    Kind.BASE: AMOUNT_TYPE,
    Kind.MEASURE: AMOUNT_TYPE,
    Kind.DATE: pa.date32(),
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: its name in the query, what a reader sees above it, and its kind."""

    name: str
    heading: str
    kind: Kind

    @property
    def is_number(self) -> bool:
        """Return whether the column is set flush right."""
        return self.kind not in (Kind.TEXT, Kind.DATE)


@dataclass(frozen=True, slots=True)
class TableOutline:
    """One table: the query under sql/report that computes it, and the table one opens a row of it to (`child`).

    `hidden` are columns of the query for the page itself. `key` are the columns that name a row and that the child
    has too. A table `by_group` is long: the page shows the largest of each group, the spreadsheet all.
    """

    query: str
    sheet: str
    title: str
    note: str
    columns: tuple[Column, ...]
    hidden: tuple[Column, ...] = ()
    key: tuple[str, ...] = ()
    child: TableOutline | None = None
    by_group: bool = False

    @property
    def schema(self) -> pa.Schema:
        """Return the exact schema of the query's result."""
        return pa.schema([pa.field(column.name, _TYPES[column.kind]) for column in self.columns + self.hidden])

    def with_children(self) -> list[TableOutline]:
        """Return this table and those its rows open to."""
        return [self, *(self.child.with_children() if self.child else [])]


@dataclass(frozen=True, slots=True)
class SectionOutline:
    """One section of the report; its first table is the sheet of the same name."""

    name: str
    title: str
    lead: str
    tables: tuple[TableOutline, ...]
