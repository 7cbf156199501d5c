"""The figures of the reconciliation report: computed by PostgreSQL in one snapshot, exact, and read as Arrow tables."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql

from etl.core.context import Context
from etl.core.errors import Stop
from etl.core.money import exponent
from etl.core.warehouse import Connection, fetch
from etl.report.outline import AMOUNT_TYPE, SectionOutline, TableOutline
from etl.report.sections import SECTIONS

QUERIES = Path(__file__).resolve().parent.parent.parent / "sql" / "report"

PREPARED = (
    "account_kind",
    "movement",
    "open_document",
    "current_row",
    "program_name",
    "receivable",
    "liability",
    "break_at_stake",
    "newest_parse",
    "currency",
    "event",
    "payout",
    "batch",
    "control",
)
"""The relations all tables are read from, in the order they need each other: temporary tables `report_<name>`."""

ROW_LIMIT = 50_000
"""Rows of one sheet. A spreadsheet holds a million, a person reads none of them; what is left out is said."""

PAGE_ROW_LIMIT = 2_000
"""Rows of one table on the page, which a browser must lay out."""

PAGE_GROUP_LIMIT = 20
"""Sales, breaks or payouts that one group opens to on the page: the largest."""

Parameter = str | int | date | datetime | list[str] | list[int] | None

_INPUT = pa.schema(
    [
        pa.field("delivery_count", pa.int64()),
        pa.field("delivery_hash", pa.string()),
        pa.field("decision_count", pa.int64()),
        pa.field("decision_hash", pa.string()),
    ]
)
_CHART = pa.schema(
    [
        pa.field("chart", pa.string()),
        pa.field("currency", pa.string()),
        pa.field("place", pa.int64()),
        pa.field("label", pa.string()),
        pa.field("amount", AMOUNT_TYPE),
    ]
)


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose books, which month, up to which day: bookings of [starts_on, until_on), compared with the month before.

    With `known_at` (naive UTC) the books are those that were known then.
    """

    entity: str
    base_currency: str
    last_starts_on: date
    starts_on: date
    until_on: date
    as_of: date
    known_at: datetime | None = None

    @property
    def closing_on(self) -> date:
        """Return the last day that counts: the month's last, or the as-of day if that is earlier."""
        return self.until_on - timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Table:
    """One table with its rows: `data` for the spreadsheet, `excerpt` for the page, and how many rows there are."""

    outline: TableOutline
    data: pa.Table
    excerpt: pa.Table
    row_count: int


@dataclass(frozen=True, slots=True)
class Section:
    """One section with all its tables, those that rows open to behind their parents."""

    outline: SectionOutline
    tables: tuple[Table, ...]

    def table(self, query: str) -> Table:
        """Return the table that `query` computes."""
        return next(table for table in self.tables if table.outline.query == query)


@dataclass(frozen=True, slots=True)
class Report:
    """Everything the page and the spreadsheet show."""

    scope: Scope
    run_id: str
    known_at: datetime
    configuration_hash: str
    inputs_hash: str
    delivery_count: int
    decision_count: int
    sections: tuple[Section, ...]
    bars: pa.Table

    def table(self, query: str) -> Table:
        """Return the table that `query` computes, in whichever section it stands."""
        return next(table for section in self.sections for table in section.tables if table.outline.query == query)

    @property
    def check_count(self) -> int:
        """Return how many checks Control has."""
        return self.table("control").row_count

    @property
    def differing_count(self) -> int:
        """Return how many checks of Control differ."""
        outcomes = self.table("control").data["outcome"]
        return int(pc.sum(pc.not_equal(outcomes, "holds")).as_py() or 0)


def scope_of(context: Context, period_starts_on: date, as_of: date, known_at: datetime | None = None) -> Scope:
    """Return the scope of a report; Stop if the period is no month or begins after `as_of`."""
    if period_starts_on.day != 1:
        raise Stop(f"a period is a month and starts on its first day, not on {period_starts_on}")
    if as_of < period_starts_on:
        raise Stop(
            f"the period of {period_starts_on:%Y-%m} begins after {as_of}: report an earlier one, or as of later"
        )
    next_month = (period_starts_on + timedelta(days=31)).replace(day=1)
    return Scope(
        entity=context.entity.name,
        base_currency=context.entity.base_currency,
        last_starts_on=(period_starts_on - timedelta(days=1)).replace(day=1),
        starts_on=period_starts_on,
        until_on=min(next_month, as_of + timedelta(days=1)),
        as_of=as_of,
        known_at=known_at,
    )


def compute(context: Context, scope: Scope) -> Report:
    """Return the report: every table from one snapshot of the warehouse, so that they agree with each other."""
    with context.warehouse.transaction() as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        connection.execute("SET LOCAL work_mem = '64MB'")
        parameters = _parameters(connection, scope)
        for name in PREPARED:
            _prepare(connection, name, parameters)
        sections = tuple(Section(outline, tuple(_tables(connection, outline, parameters))) for outline in SECTIONS)
        inputs = fetch(connection, _bound(connection, "input", parameters), _INPUT).to_pylist()[0]
        bars = fetch(connection, _bound(connection, "chart", parameters), _CHART)
    configured = context.configuration.hash
    said = "\n".join((inputs["delivery_hash"], configured, inputs["decision_hash"]))
    return Report(
        scope=scope,
        run_id=context.run_id,
        known_at=context.known_at,
        configuration_hash=configured,
        inputs_hash=hashlib.sha256(said.encode()).hexdigest(),
        delivery_count=inputs["delivery_count"],
        decision_count=inputs["decision_count"],
        sections=sections,
        bars=bars,
    )


def _parameters(connection: Connection, scope: Scope) -> dict[str, Parameter]:
    """Return what the queries are told: the scope, and the digits of the currencies that payouts were made in."""
    query = _bound(connection, "currency_in_payout", {})
    currencies = fetch(connection, query, pa.schema([pa.field("currency", pa.string())]))["currency"].to_pylist()
    return {
        "entity": scope.entity,
        "base": scope.base_currency,
        "last_from": scope.last_starts_on,
        "from": scope.starts_on,
        "until": scope.until_on,
        "closing_on": scope.closing_on,
        "known": scope.known_at,
        "currencies": currencies,
        "scales": [exponent(currency) for currency in currencies],
    }


def _bound(connection: Connection, name: str, parameters: Mapping[str, Parameter]) -> str:
    """Return the text of a query with its named parameters written in as literals, which COPY and CREATE need."""
    text = (QUERIES / f"{name}.sql").read_text(encoding="utf-8")
    return psycopg.ClientCursor(connection).mogrify(text, dict(parameters)) if parameters else text


def _prepare(connection: Connection, name: str, parameters: Mapping[str, Parameter]) -> None:
    """Compute one relation that many tables read, for the life of this transaction."""
    table = sql.Identifier(f"report_{name}")
    query = sql.SQL(_bound(connection, f"prepare/{name}", parameters))
    connection.execute(sql.SQL("CREATE TEMPORARY TABLE {} ON COMMIT DROP AS {}").format(table, query))
    # Without statistics the planner takes every relation for a small one, and nests its loops.
    connection.execute(sql.SQL("ANALYZE {}").format(table))


def _tables(connection: Connection, section: SectionOutline, parameters: Mapping[str, Parameter]) -> Iterator[Table]:
    for outline in (table for parent in section.tables for table in parent.with_children()):
        data = _rows(connection, outline, parameters, ROW_LIMIT, ROW_LIMIT)
        # Of a long table the page wants the largest of each group, which may lie anywhere in it.
        is_cut = outline.by_group and data.num_rows > 0
        excerpt = _rows(connection, outline, parameters, PAGE_GROUP_LIMIT, PAGE_ROW_LIMIT) if is_cut else data
        counted = "all_rows" in data.column_names and data.num_rows > 0
        row_count = data["all_rows"][0].as_py() if counted else data.num_rows
        yield Table(outline, data, excerpt.slice(0, PAGE_ROW_LIMIT), row_count)


def _rows(
    connection: Connection, outline: TableOutline, parameters: Mapping[str, Parameter], group_limit: int, row_limit: int
) -> pa.Table:
    limits: dict[str, Parameter] = {"group_limit": group_limit, "row_limit": row_limit}
    query = _bound(connection, outline.query, {**parameters, **limits}).rstrip()
    # The columns are taken by name; a scan of a sorted subquery keeps its order.
    named = ", ".join(f"found.{name}" for name in outline.schema.names)
    return fetch(connection, f"SELECT {named} FROM (\n{query}\n) AS found", outline.schema)
