"""The reconciliation report as one HTML page: needs nothing outside it, and all text in it is escaped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from etl.report.charts import bars, waterfall
from etl.report.figures import Report, Section, Table
from etl.report.outline import Column, Kind
from etl.report.wording import amount_text, period_text, value_text

_HERE = Path(__file__).parent
Row = Mapping[str, object]

CHART_CURRENCIES_MAX = 4
"""Charts of one kind; more currencies are in the tables only."""

TABLE_ROWS_MAX = 200
"""Rows of one table on the page; a table says how many more the spreadsheet has."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One value as it is written, and its class in the style sheet."""

    text: str
    style: str


@dataclass(frozen=True, slots=True)
class Sheet:
    """One table as the page shows it."""

    title: str
    note: str
    headings: tuple[Cell, ...]
    rows: tuple[tuple[Cell, ...], ...]
    left_out: str


@dataclass(frozen=True, slots=True)
class Group:
    """A row that opens: its name, its figure, the table inside, and the groups which that table's rows open to."""

    label: str
    figure: str
    sheet: Sheet
    groups: tuple[Group, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """One table of a section, with the groups that its rows open to."""

    sheet: Sheet
    groups: tuple[Group, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """One section of the page."""

    name: str
    title: str
    lead: str
    figures: tuple[Markup, ...]
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """One line of a card of the first screen."""

    label: str
    amount: str
    detail: str
    is_alarm: bool


@dataclass(frozen=True, slots=True)
class Card:
    """One question of the first screen with its answers."""

    question: str
    answers: tuple[Answer, ...]


def write(report: Report, path: Path) -> None:
    """Write the page to `path`. The same report gives the same bytes."""
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    stream = environment.get_template("page.html").stream(
        report=report,
        scope=report.scope,
        period=period_text(report.scope.starts_on),
        style=Markup((_HERE / "page.css").read_text(encoding="utf-8")),
        cards=tuple(_cards(report)),
        parts=tuple(_part(report, section) for section in report.sections),
    )
    stream.enable_buffering(256)
    with path.open("w", encoding="utf-8", newline="\n") as page:
        page.writelines(stream)


def _cards(report: Report) -> Iterator[Card]:
    """Yield the questions of the summary, each with its lines."""
    found: dict[str, list[Answer]] = {}
    for row in report.table("summary").data.to_pylist():
        found.setdefault(row["question"], []).append(_answer(row))
    for question, answers in found.items():
        yield Card(question, tuple(answers))


def _answer(row: Row) -> Answer:
    count, amount, change, currency = row["item_count"], row["amount"], row["change"], str(row["currency"])
    label = str(row["label"])
    if not isinstance(amount, Decimal):
        return Answer(label, f"{count:,d}", "", bool(count) and not label.startswith("Checks that hold"))
    parts = [f"{count:,d} items" if count != 1 else "1 item"]
    if isinstance(change, Decimal):
        sign = "+" if change > 0 else ""
        parts.append(f"{sign}{amount_text(change, currency)} on last period" if change else "as last period")
    return Answer(label, f"{amount_text(amount, currency)} {currency}", ", ".join(parts), False)


def _part(report: Report, section: Section) -> Part:
    """Return one section as the page shows it."""
    outline = section.outline
    blocks = tuple(_block(report, section, section.table(table.query)) for table in outline.tables)
    return Part(outline.name, outline.title, outline.lead, tuple(_charts(report, outline.name)), blocks)


def _block(report: Report, section: Section, table: Table) -> Block:
    sheet = _sheet(report, table, table.excerpt, hidden=())
    return Block(sheet, tuple(_groups(report, section, table, table.excerpt)))


def _groups(report: Report, section: Section, table: Table, rows: pa.Table) -> Iterator[Group]:
    """Yield what each of the rows opens to; a row without anything behind it does not open."""
    outline = table.outline
    if outline.child is None or rows.num_rows == 0:
        return
    child = section.table(outline.child.query)
    behind = _grouped(child.excerpt, outline.key)
    for row in rows.slice(0, TABLE_ROWS_MAX).to_pylist():
        inside = behind.get(tuple(row[name] for name in outline.key))
        if inside is not None:
            label = " · ".join(str(row[name]) for name in _naming(table))
            sheet = _sheet(report, child, inside, hidden=outline.key)
            yield Group(label, _figure(row), sheet, tuple(_groups(report, section, child, inside)))


def _naming(table: Table) -> tuple[str, ...]:
    """Return the columns that name a row to a reader."""
    names = {"receivable_program": ("program", "program_id")}
    return names.get(table.outline.query, tuple(name for name in table.outline.key if name != "currency"))


def _figure(row: Row) -> str:
    amount, count, currency = row["amount"], row["item_count"], str(row["currency"])
    said = amount_text(amount, currency) if isinstance(amount, Decimal) else ""
    return f"{said} {currency} ({count:,d})"


def _grouped(data: pa.Table, key: tuple[str, ...]) -> dict[tuple[object, ...], pa.Table]:
    """Return the rows of each key, in their order."""
    places: dict[tuple[object, ...], list[int]] = {}
    columns = (data[name].to_pylist() for name in key)
    for place, found in enumerate(zip(*columns, strict=True)):
        places.setdefault(found, []).append(place)
    return {found: data.take(pa.array(where)) for found, where in places.items()}


def _sheet(report: Report, table: Table, data: pa.Table, hidden: tuple[str, ...]) -> Sheet:
    """Return a table, without the columns that its group has said already and those that hold nothing at all."""
    outline = table.outline
    shown = data.slice(0, TABLE_ROWS_MAX)
    said = {*hidden, "program"} - {"currency"} if "program_id" in hidden else set(hidden) - {"currency"}
    columns = [column for column in outline.columns if column.name not in said]
    if outline.query != "summary":
        columns = [column for column in columns if not _is_idle(column, shown)]
    if any(column.name == "label" for column in columns):
        # The label says it to a reader; the name in the ledger is in the spreadsheet.
        columns = [column for column in columns if column.name != "kind"]
    rows = _aligned([tuple(_cell(report, column, row) for column in columns) for row in _said_once(shown.to_pylist())])
    headings = tuple(Cell(column.heading, "number" if column.is_number else "text") for column in columns)
    is_whole = not hidden
    left_out = _left_out(table, data, shown.num_rows, is_whole)
    return Sheet(outline.title if is_whole else "", outline.note if is_whole else "", headings, rows, left_out)


def _aligned(rows: Sequence[tuple[Cell, ...]]) -> tuple[tuple[Cell, ...], ...]:
    """Return the rows with their decimal points below each other: fewer digits than the column's most leave room."""
    most = [max((_digits(cell) for cell in column), default=0) for column in zip(*rows, strict=True)]

    def aligned(cell: Cell, digits: int) -> Cell:
        room = digits - _digits(cell)
        return Cell(cell.text, f"{cell.style} room{room}") if room and cell.style.startswith("number") else cell

    return tuple(tuple(map(aligned, row, most)) for row in rows)


def _digits(cell: Cell) -> int:
    return len(cell.text.partition(".")[2]) if cell.style.startswith("number") else 0


def _said_once(rows: Sequence[dict[str, object]]) -> Iterator[Row]:
    """Yield the rows with a question on the first of its lines only."""
    said: object = None
    for row in rows:
        question = row.get("question")
        yield {**row, "question": None} if question is not None and question == said else row
        said = question


_OPTIONAL = {"fx", "rounding", "other", "moved", "without_base", "line_id", "validation_reject_count", "program_id"}


def _is_idle(column: Column, shown: pa.Table) -> bool:
    """Return whether an optional column holds nothing but nothing: it would only push the others apart."""
    return column.name in _OPTIONAL and not any(value for value in shown[column.name].to_pylist())


def _left_out(table: Table, data: pa.Table, shown: int, is_whole: bool) -> str:
    """Return the sentence that says what a capped list does not show, '' if it shows all."""
    sheet = f"see the sheet “{table.outline.sheet}” of the spreadsheet."
    if is_whole:
        left = table.row_count - shown
        return f"{left:,d} more rows: {sheet}" if left > 0 else ""
    if "left_out_count" in data.column_names:
        first = data.slice(0, 1).to_pylist()[0]
        if first["left_out_count"]:
            amount = amount_text(first["left_out_amount"], first["currency"])
            return f"The largest are shown. {first['left_out_count']:,d} more, {amount} {first['currency']}: {sheet}"
    left = data.num_rows - shown
    return f"{left:,d} more rows: {sheet}" if left > 0 else ""


def _cell(report: Report, column: Column, row: Row) -> Cell:
    value = row[column.name]
    currency, unit = row.get("currency"), row.get("unit")
    text = value_text(
        value,
        column.kind,
        currency if isinstance(currency, str) else None,
        unit if isinstance(unit, str) else None,
        report.scope.base_currency,
    )
    if column.is_number:
        weight = " none" if not value else " minus" if isinstance(value, Decimal) and value < 0 else ""
        return Cell(text, "number" + weight)
    if column.name == "outcome":
        return Cell(text, "good" if value == "holds" else "bad")
    if column.kind is Kind.DATE:
        return Cell(text, "date")
    return Cell(text, "code" if column.name in _CODES else "phrase" if column.name in _PHRASES else "text")


_PHRASES = {"label", "name", "program", "reason", "question"}
_CODES = {"delivery_id", "document_id", "transaction_id", "sha256", "payout_id", "member_id", "kind", "program_id"}


def _charts(report: Report, section: str) -> Iterator[Markup]:
    """Yield the charts of a section, one for each currency."""
    if section == "roll_forward":
        yield from _waterfalls(report)
        return
    charts = {
        "receivables": ("receivable", "Receivables by age"),
        "liability": ("liability", "Owed to members by state, net"),
        "breaks": ("break", "Money at stake by kind of break"),
    }
    if section not in charts:
        return
    chart, title = charts[section]
    found: dict[str, list[tuple[str, Decimal]]] = {}
    for row in report.bars.to_pylist():
        if row["chart"] == chart:
            found.setdefault(row["currency"], []).append((row["label"], row["amount"]))
    for currency in list(found)[:CHART_CURRENCIES_MAX]:
        yield bars(title, currency, found[currency][:12])


def _waterfalls(report: Report) -> Iterator[Markup]:
    """Yield how receivables moved from opening to closing, in each currency."""
    rows = [row for row in report.table("roll_forward").data.to_pylist() if row["kind"] == "commission_receivable"]
    for row in rows[:CHART_CURRENCIES_MAX]:
        steps = [
            ("Opening", row["opening"]),
            ("Approved", row["new"] + row["approved"]),
            ("Declined", -row["declined"]),
        ]
        steps.append(("Paid", -row["paid"]))
        rest = row["moved"] + row["fx"] + row["rounding"] + row["other"]
        if rest:
            steps.append(("FX, rounding, other", rest))
        yield waterfall("Commission receivable, opening to closing", row["currency"], steps, "Closing")
