"""The page needs nothing from outside, shows hostile text as text, opens down to the row, says what it leaves out."""

from __future__ import annotations

import re
from datetime import date
from html.parser import HTMLParser
from pathlib import Path

import pytest

from etl.report import report
from tests.report.books import Books, commission, context
from tests.report.conftest import AWIN, FORMULA, MARKUP

VOID = {"meta", "line", "rect", "link", "br", "img", "input"}
OCTOBER, AS_OF = date(2026, 10, 1), date(2026, 11, 5)


class Page(HTMLParser):
    """Reads a page strictly: every element that opens closes, in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.texts: list[str] = []
        self.deepest = 0
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)
        self.deepest = max(self.deepest, self.open.count("details"))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def read(url: str, folder: Path, run_id: str = "run-7") -> str:
    """Return the page of October."""
    result = report(context(url, folder, run_id), OCTOBER, AS_OF, folder / "out")
    assert result.key == "acme/2026-10"
    return (folder / "out" / "reconciliation-acme-2026-10.html").read_text(encoding="utf-8")


def test_the_page_is_well_formed_and_references_nothing(october: Books, warehouse_url: str, tmp_path: Path) -> None:
    text = read(warehouse_url, tmp_path)
    page = Page(text)
    assert page.open == []
    assert not {"script", "link", "img", "iframe", "object", "form"} & set(page.tags)
    names = {name for name, _ in page.attributes}
    assert not {name for name in names if name.startswith("on")} | names & {"src", "srcset", "action", "style"}
    links = [value for name, value in page.attributes if name.endswith("href")]
    assert len(links) == 7
    assert all(link.startswith("#") for link in links)
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert style is not None
    assert not re.search(r"url\(|@import|//", style.group(1))


def test_what_a_partner_wrote_is_shown_and_never_run(october: Books, warehouse_url: str, tmp_path: Path) -> None:
    text = read(warehouse_url, tmp_path)
    assert "<script" not in text
    assert "Shoes &amp; &lt;script src=" in text
    seen = Page(text).texts
    assert FORMULA in seen
    assert any(MARKUP in piece for piece in seen)


def test_a_partner_opens_to_programs_and_a_program_to_rows_of_a_delivery(
    october: Books, warehouse_url: str, tmp_path: Path
) -> None:
    text = read(warehouse_url, tmp_path)
    page = Page(text)
    assert page.deepest == 2
    receivables = text[text.index('<section id="receivables">') : text.index('<section id="liability">')]
    partner = receivables.index("<summary><span>awin_main</span> <b>23.00 EUR (3)</b></summary>")
    program = receivables.index("(p1)" if "(p1)" in receivables else "· p1</span> <b>28.00 EUR (2)</b>")
    row = receivables.index('<td class="code">awin_main-october</td><td class="number">2</td>')
    assert partner < program < row


def test_decimal_points_stand_below_each_other(october: Books, warehouse_url: str, tmp_path: Path) -> None:
    text = read(warehouse_url, tmp_path)
    places: dict[tuple[int, int], set[int]] = {}
    for table, body in enumerate(re.findall("<tbody>(.*?)</tbody>", text, re.DOTALL)):
        for row in re.findall("<tr>(.*?)</tr>", body, re.DOTALL):
            for column, (style, value) in enumerate(re.findall('<td class="([^"]*)">(.*?)</td>', row)):
                if style.startswith("number") and "." in value:
                    room = re.search(r"room(\d)", style)
                    digits = len(value.partition(".")[2]) + int(room[1] if room else 0)
                    places.setdefault((table, column), set()).add(digits)
    assert len(places) > 20
    assert [where for where, digits in places.items() if len(digits) != 1] == []
    # There are rooms, and the style sheet knows each.
    rooms = set(re.findall(r'class="number[^"]*(room\d)', text))
    assert rooms
    assert all(f"td.{room} " in text for room in rooms)


def test_the_first_screen_says_whether_the_books_prove(october: Books, warehouse_url: str, tmp_path: Path) -> None:
    text = read(warehouse_url, tmp_path)
    assert re.search(r"<strong>All \d\d checks hold\.</strong>", text)
    assert text.index("What do partners owe us?") < text.index("What do we owe members?") < text.index("<nav")
    october.connection.execute("UPDATE payout.batch SET total_minor = 1500 WHERE batch_id = 'b1'")
    assert re.search(r"<strong>1 of \d\d checks differ\.</strong>", read(warehouse_url, tmp_path))


def test_the_same_books_give_the_same_bytes(october: Books, warehouse_url: str, tmp_path: Path) -> None:
    first = read(warehouse_url, tmp_path / "a"), (tmp_path / "a/out/reconciliation-acme-2026-10.xlsx").read_bytes()
    second = read(warehouse_url, tmp_path / "b"), (tmp_path / "b/out/reconciliation-acme-2026-10.xlsx").read_bytes()
    assert first == second
    assert "run-8" in read(warehouse_url, tmp_path / "a", "run-8")


def test_empty_books_make_a_whole_page(warehouse_url: str, tmp_path: Path) -> None:
    page = Page(read(warehouse_url, tmp_path))
    assert page.open == []
    assert "Approved commission not yet paid to us:" in page.texts


def test_a_capped_list_says_what_it_leaves_out(books: Books, warehouse_url: str, tmp_path: Path) -> None:
    for number in range(25):
        books.sale(f"s{number:02d}", "p")
        books.entry("sale", f"s{number:02d}", "2026-10-05", commission("receivable", AWIN, str(100 - number)))
    text = read(warehouse_url, tmp_path)
    left = "The largest are shown. 5 more, 390.00 EUR: see the sheet “Receivables by sale” of the spreadsheet."
    assert left in text
    assert "s19" in text
    assert "s20" not in text


@pytest.mark.timeout(200)
def test_fifty_thousand_sales_stay_bounded(books: Books, warehouse_url: str, tmp_path: Path) -> None:
    receivable, income = (books.account(kind, AWIN, "EUR/4") for kind in ("commission_receivable", "commission_income"))
    run = books.connection.execute
    run(
        "INSERT INTO ledger.journal_entry SELECT 'acme', 2026, n, 'sale', 's' || n, 1, '2026-10-05', '2026-10-05', 'r',"
        " 'test', '', '' FROM generate_series(1, 51000) AS n"
    )
    run(
        "INSERT INTO ledger.posting (document_kind, document_id, entry_no, year, number, leg, entity, debit, credit,"
        " amount, effective_for, booked_on, component)"
        " SELECT 'sale', 's' || n, 1, 2026, n, 1, 'acme', %s, %s, n, '2026-10-05', '2026-10-05',"
        " 'commission' FROM generate_series(1, 51000) AS n",
        (receivable, income),
    )
    run(
        "INSERT INTO ops.sale SELECT 's' || n, 'awin', 'awin_main', 'p' || n %% 700, 'm', NULL, '2026-10-01',"
        " '2026-10-01', 'unmatched', NULL, NULL, NULL, NULL, true, false FROM generate_series(1, 51000) AS n",
        (),
    )
    run(
        "INSERT INTO ops.transaction_version SELECT 'awin', 'awin_main', 's' || n, '', 'sale', NULL, NULL, NULL,"
        " 'p' || n %% 700, NULL, NULL, NULL, '2026-10-01', 60, NULL, NULL, 'approved', NULL, false, NULL, NULL, 100,"
        " 10, 'EUR', 'd', n, 'h', '2026-10-02', 1, false, 's' || n, '2026-10-01' FROM generate_series(1, 51000) AS n",
        (),
    )
    text = read(warehouse_url, tmp_path)
    assert Page(text).open == []
    assert len(text) < 6_000_000
    assert "130,052.5500" not in text
    assert "130,052.55 EUR" in text
    assert "500 more rows: see the sheet “Receivables by program”" in text
