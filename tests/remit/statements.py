"""Remittance files for tests, written as a partner's export would be."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path

import psycopg

from etl.core.configuration import RemittanceLayout
from etl.core.context import Context, StageResult
from etl.remittances import load_remittances

HEAD = {
    "remittance_id": "R-1",
    "revision": "1",
    "invoice_ref": "INV-1",
    "invoiced_on": "2026-04-01",
    "due_on": "2026-04-30",
    "received_on": "2026-04-15",
    "currency": "EUR",
    "net": "10.00",
    "vat": "0",
    "withholding": "0",
    "gross": "10.00",
    "bank": "house_bank",
    "bank_amount": "10.00",
    "bank_currency": "EUR",
    "period_from": "",
    "period_until": "",
}
LINE = {"line_kind": "", "transaction_id": "", "line_id": "", "payment_ref": "", "line_amount": ""}
LUMP = {"period_from": "2026-03-01", "period_until": "2026-04-01"}


def line(kind: str, amount: str, **named: str) -> dict[str, str]:
    """Return a line of a statement."""
    return {"line_kind": kind, "line_amount": amount, **named}


def statement(*lines: Mapping[str, str], **head: str) -> list[dict[str, str]]:
    """Return the rows of one remittance: its head again and again, each time with a line."""
    return [{**HEAD, **head, **LINE, **each} for each in lines or ({},)]


def write_csv(path: Path, rows: Iterable[Mapping[str, str]], delimiter: str = ",") -> Path:
    """Write rows as CSV and return where."""
    listed = list(rows)
    names = list(listed[0])
    text = io.StringIO()
    writer = csv.DictWriter(text, names, delimiter=delimiter, lineterminator="\n")
    writer.writeheader()
    writer.writerows(listed)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.getvalue(), encoding="utf-8")
    return path


def load(
    context: Context,
    rows: Iterable[Mapping[str, str]],
    account: str = "shop_a",
    layout: RemittanceLayout | None = None,
    name: str = "statement.csv",
) -> StageResult:
    """Write rows to a file and load it."""
    known = layout or RemittanceLayout()
    path = write_csv(context.temporary / name, rows, known.delimiter)
    return load_remittances(context, path, context.configuration.account(account), known)


def stored(url: str, query: str) -> list[tuple[object, ...]]:
    """Return the rows of a query of the warehouse."""
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()
