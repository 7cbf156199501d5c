"""The spreadsheet holds typed cells, exact amounts, and text that no program takes for a formula."""

from __future__ import annotations

import zipfile
from datetime import date, datetime
from pathlib import Path

import openpyxl
import pytest
from openpyxl.workbook import Workbook
from openpyxl.worksheet.worksheet import Worksheet

from etl.report import report
from tests.report.books import NOW, Books, commission, context
from tests.report.conftest import AWIN, FORMULA

SHEETS = ["Summary", "Roll-forward", "Receivables", "Member liability", "Breaks", "Payouts", "Control"]


def written(url: str, folder: Path) -> Path:
    """Return the spreadsheet of October."""
    report(context(url, folder), date(2026, 10, 1), date(2026, 11, 5), folder / "out")
    return folder / "out" / "reconciliation-acme-2026-10.xlsx"


def lines(sheet: Worksheet) -> list[dict[str, object]]:
    """Return the rows under the frozen header, by heading."""
    assert sheet.freeze_panes is not None
    top = int(sheet.freeze_panes[1:]) - 1
    assert sheet.auto_filter.ref is not None
    assert sheet.auto_filter.ref.startswith(f"A{top}:")
    head = [cell.value for cell in sheet[top]]
    return [dict(zip(head, (cell.value for cell in row), strict=True)) for row in sheet.iter_rows(min_row=top + 1)]


@pytest.fixture
def workbook(october: Books, warehouse_url: str, tmp_path: Path) -> Workbook:
    """The spreadsheet of the hand-worked October."""
    return openpyxl.load_workbook(written(warehouse_url, tmp_path))


def test_sheets_are_the_sections_and_then_what_their_rows_open_to(workbook: Workbook) -> None:
    assert workbook.sheetnames[:7] == SHEETS
    assert "Receivables by sale" in workbook.sheetnames
    assert workbook.properties.created == NOW


def test_cells_have_the_type_of_what_they_hold(workbook: Workbook) -> None:
    row = next(row for row in lines(workbook["Receivables"]) if row["Currency"] == "EUR")
    assert row["Open"] == 23
    assert isinstance(row["Sales"], int)
    sale = next(row for row in lines(workbook["Receivables by sale"]) if row["Sale"] == "s2")
    assert sale["Approved on"] == datetime(2026, 7, 10)  # a spreadsheet's dates have no zone
    assert sale["Line"] == "1"
    roll = {(row["Kind"], row["Currency"]): row for row in lines(workbook["Roll-forward"])}
    assert roll["commission_receivable", "EUR"]["= Closing"] == 23
    control = lines(workbook["Control"])
    assert len(control) > 20
    assert {row["Difference"] for row in control} == {0}


def test_no_text_is_a_formula_or_a_link(workbook: Workbook, tmp_path: Path) -> None:
    cells = [cell for sheet in workbook for row in sheet.iter_rows() for cell in row]
    assert [cell.data_type for cell in cells if cell.value == FORMULA].count("s") >= 3
    assert not [cell.coordinate for cell in cells if cell.data_type == "f" or cell.hyperlink]
    with zipfile.ZipFile(tmp_path / "out" / "reconciliation-acme-2026-10.xlsx") as archive:
        sheets = [name for name in archive.namelist() if name.startswith("xl/worksheets/sheet")]
        assert len(sheets) == len(workbook.sheetnames)
        assert not [name for name in sheets if b"<f>" in archive.read(name)]
        assert not [name for name in archive.namelist() if "externalLink" in name or "vba" in name]


@pytest.mark.parametrize(
    ("amount", "expected"),
    [("99999999999.9999", 99999999999.9999), ("0.1", 0.1), ("123456789012.3456", "123,456,789,012.3456")],
)
def test_an_amount_is_a_number_only_where_every_digit_survives(
    books: Books, warehouse_url: str, tmp_path: Path, amount: str, expected: object
) -> None:
    books.sale("s", "p")
    books.entry("sale", "s", "2026-10-05", commission("receivable", AWIN, amount))
    workbook = openpyxl.load_workbook(written(warehouse_url, tmp_path))
    (row,) = lines(workbook["Receivables"])
    assert row["Open"] == expected


def test_empty_books_make_a_whole_spreadsheet(warehouse_url: str, tmp_path: Path) -> None:
    workbook = openpyxl.load_workbook(written(warehouse_url, tmp_path))
    assert workbook.sheetnames[:7] == SHEETS
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.endswith(".part")]
