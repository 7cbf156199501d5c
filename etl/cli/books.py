"""Commands that read the books: what was restated, balances as of any day, statements, exports."""

import json
import uuid
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from etl.cli.app import AsJson, actor, app, installation, out, show, told
from etl.cli.stages import reference
from etl.core.context import Context
from etl.installation import clock

export = typer.Typer(no_args_is_help=True, help="The books for other people's programs: an ERP, an auditor's ledger.")
app.add_typer(export, name="export")

Month = Annotated[datetime, typer.Option("--month", formats=["%Y-%m"], help="The period, as 2026-09.")]


def _context() -> Context:
    opened = installation()
    return opened.context(f"cli/books/{uuid.uuid4()}", clock(opened.settings), actor() or "command line")


@app.command()
def restatement(
    month: Month,
    documents: Annotated[bool, typer.Option("--documents", help="Show every entry the sums are made of.")] = False,
    csv: Annotated[Path | None, typer.Option("--csv", help="Write every entry to this CSV file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say what changed for a month since it was closed, by partner account, kind of account and cause."""
    from etl.restate import CAUSES, restate

    with told():
        found = restate(_context(), month.date())
        if csv is not None:
            csv.write_bytes(found.as_csv())
    if as_json:
        print(json.dumps(found.as_json(), indent=2))
        return
    if not found.balances:
        out.print(f"Nothing of {found.starts_on:%Y-%m} changed since it was closed.")
        return
    table = Table("partner account", "account", "", "as closed", "change", "now", title=f"{found.starts_on:%Y-%m}")
    for each in found.balances:
        table.add_row(each.partner_account, each.kind, each.currency, *map(str, (each.closed, each.change, each.now)))
    out.print(table)
    table = Table("partner account", "account", "", "change", "documents", "because of")
    for cause in found.causes:
        words = CAUSES.get(cause.cause, cause.cause)
        amounts = (cause.currency, f"{cause.change:+f}", str(cause.document_count))
        table.add_row(cause.partner_account, cause.kind, *amounts, words)
    out.print(table)
    if documents:
        table = Table("entry", "document", "for", "booked on", "account", "amount", "because of")
        for row in found.documents.to_pylist():
            amount = f"{row['amount_minor']} {row['asset']}"
            entry, document = f"{row['year']}/{row['number']}", f"{row['document_kind']} {row['document_id']}"
            days = (str(row["effective_from"]), str(row["booked_on"]))
            table.add_row(entry, document, *days, row["kind"], amount, row["cause"])
        out.print(table)
    else:
        out.print("`--documents` shows the entries, `tallyback trace SALE` what stands behind one.")


@export.command("journal")
def export_journal(
    month: Month,
    output: Annotated[Path, typer.Option("--out", help="Folder for the CSV and its manifest.")],
    draft: Annotated[
        bool, typer.Option("--draft", help="Of a month that is not closed: the bytes may change.")
    ] = False,
) -> None:
    """Write the journal of a closed month for the ERP: per day, general ledger account and currency."""
    from etl.export_journal import export_journal as export_month

    with told():
        show(export_month(_context(), month.date(), output, is_draft=draft))


@reference.command("gl")
def reference_gl(file: Annotated[Path, typer.Argument(help="CSV: kind, gl_account, statement.")]) -> None:
    """Load the map from kinds of account to the general ledger; every kind in use must be in it."""
    from etl.export_journal import load_map

    with told():
        show(load_map(_context(), file))
