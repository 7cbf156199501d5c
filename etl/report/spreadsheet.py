"""The reconciliation report as XLSX: typed cells, and no text that a spreadsheet would take for a formula."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import xlsxwriter

from etl.report.figures import Report, Table
from etl.report.outline import Column, Kind
from etl.report.wording import amount_text, digits, period_text

NUMBER_UNITS_MAX = 10**15
"""A spreadsheet keeps 15 digits. An amount of more minor units is written as text, or its last digits would change."""

TEXT_LENGTH_MAX = 32_767
_BATCH_ROWS = 8_192
_WIDTHS = {Kind.TEXT: 24, Kind.COUNT: 10, Kind.DATE: 12, Kind.AMOUNT: 16, Kind.BASE: 16, Kind.MEASURE: 18}
_WIDE = {
    "label": 46,
    "name": 62,
    "reason": 50,
    "question": 28,
    "document_id": 34,
    "sha256": 66,
    "unit": 10,
    "currency": 9,
}


@dataclass(slots=True)
class _Book:
    """The workbook being written, with one format for each number of digits."""

    workbook: Any
    base_currency: str
    formats: dict[str, Any] = field(default_factory=dict)

    def format(self, name: str, **properties: object) -> Any:
        """Return the format `name`, made at its first use."""
        if name not in self.formats:
            self.formats[name] = self.workbook.add_format(properties)
        return self.formats[name]

    def amount_format(self, places: int) -> Any:
        """Return the number format with `places` digits after the point, negatives in red."""
        number = "#,##0" + ("." + "0" * places if places else "")
        return self.format(f"amount{places}", num_format=f"{number};[Red]-{number}")


def write(report: Report, path: Path, temporary: Path) -> int:
    """Write the report to `path` row by row and return the number of sheets. Same report, same bytes."""
    workbook = xlsxwriter.Workbook(
        str(path),
        {
            "constant_memory": True,
            "tmpdir": str(temporary),
            "strings_to_formulas": False,
            "strings_to_urls": False,
            "strings_to_numbers": False,
        },
    )
    scope = report.scope
    workbook.set_properties(
        {
            "title": f"Reconciliation {scope.entity} {scope.starts_on:%Y-%m}",
            "author": "Tallyback",
            "created": report.known_at,
        }
    )
    book = _Book(workbook, scope.base_currency)
    # The sections come first, in the order of the page; behind them what their rows open to.
    first = [section.tables[0] for section in report.sections]
    tables = first + [table for section in report.sections for table in section.tables[1:]]
    for table in tables:
        _sheet(book, report, table)
    workbook.close()
    return len(tables)


def _sheet(book: _Book, report: Report, table: Table) -> None:
    """Write one table on a sheet of its own: what it is, the header row frozen with a filter, the rows."""
    outline, columns = table.outline, table.outline.columns
    sheet = book.workbook.add_worksheet(outline.sheet)
    for place, column in enumerate(columns):
        sheet.set_column(place, place, _WIDE.get(column.name, _WIDTHS[column.kind]))
    top = 0
    for text, style in _preamble(report, table):
        sheet.write_string(top, 0, text, book.format("bold", bold=True, font_size=14) if style else None)
        top += 1
    heading = book.format("heading", bold=True, bottom=1, text_wrap=True, valign="top", bg_color="#E8EEF4")
    for place, column in enumerate(columns):
        sheet.write_string(top, place, column.heading, heading)
    last = top
    for last, row in enumerate(_rows(table.data), start=top + 1):
        for place, column in enumerate(columns):
            _cell(book, sheet, last, place, column, row)
    sheet.freeze_panes(top + 1, 0)
    sheet.autofilter(top, 0, last, len(columns) - 1)
    sheet.set_landscape()
    sheet.set_paper(9)
    sheet.fit_to_pages(1, 0)
    sheet.repeat_rows(top)


def _preamble(report: Report, table: Table) -> Iterator[tuple[str, bool]]:
    """Yield the lines above a table, each with whether it is the title."""
    scope = report.scope
    yield f"{table.outline.title} – {scope.entity}, {period_text(scope.starts_on)}", True
    known = "" if scope.known_at is None else f" as known at {scope.known_at:%Y-%m-%d %H:%M:%S} UTC"
    closing = f"As of {scope.as_of}{known}, bookings up to {scope.closing_on}. Base currency {scope.base_currency}."
    yield f"{closing} {table.outline.note}".strip(), False
    if table.outline.query == "summary":
        yield f"Run {report.run_id}, made at {report.known_at:%Y-%m-%d %H:%M:%S} UTC.", False
        inputs = f"{report.delivery_count:,d} deliveries, configuration, {report.decision_count:,d} decisions"
        yield f"Inputs {report.inputs_hash} ({inputs}); configuration {report.configuration_hash}.", False
    if table.row_count > table.data.num_rows:
        left = table.row_count - table.data.num_rows
        yield f"{left:,d} of {table.row_count:,d} rows are left out of this sheet.", False


def _rows(data: pa.Table) -> Iterator[dict[str, object]]:
    for batch in data.to_batches(max_chunksize=_BATCH_ROWS):
        yield from batch.to_pylist()


def _cell(book: _Book, sheet: Any, row: int, place: int, column: Column, values: dict[str, object]) -> None:
    """Write one value as what it is. All text goes through write_string: it can never become a formula."""
    value = values[column.name]
    if value is None:
        return
    if isinstance(value, Decimal):
        _number(book, sheet, row, place, value, _currency(book, column, values))
    elif isinstance(value, int) and abs(value) < NUMBER_UNITS_MAX:
        sheet.write_number(row, place, value, book.format("count", num_format="#,##0"))
    elif isinstance(value, date):
        sheet.write_datetime(row, place, value, book.format("date", num_format="yyyy-mm-dd"))
    else:
        sheet.write_string(row, place, str(value)[:TEXT_LENGTH_MAX])


def _currency(book: _Book, column: Column, values: dict[str, object]) -> str | None:
    if column.kind is Kind.BASE:
        return book.base_currency
    found = values.get("unit" if column.kind is Kind.MEASURE else "currency")
    return found if isinstance(found, str) else None


def _number(book: _Book, sheet: Any, row: int, place: int, amount: Decimal, currency: str | None) -> None:
    """Write an amount as a number that shows exactly.

    The decimal itself is handed over, never a float: XlsxWriter prints it with 16 digits, and a decimal of at most 15
    digits survives the spreadsheet's binary number and back.
    """
    places = digits(amount, currency)
    if abs(amount).scaleb(places) < NUMBER_UNITS_MAX:
        sheet.write_number(row, place, amount, book.amount_format(places))
    else:
        sheet.write_string(row, place, amount_text(amount, currency), book.format("long", align="right"))
