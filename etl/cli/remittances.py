"""Commands for money from partners: load what they told, look at it."""

import json
import sys
import uuid
from pathlib import Path
from typing import Annotated

import typer
from psycopg.rows import dict_row
from rich.table import Table

from etl.cli.app import PAY, AsJson, actor, app, installation, out, show, told
from etl.core.errors import Stop
from etl.installation import Installation, clock

remittance = typer.Typer(
    no_args_is_help=True,
    help="Money partners paid. `remittance load` takes their statements, `remittance list` and `show` tell what each "
    "pays.",
)
app.add_typer(remittance, name="remittance", rich_help_panel=PAY)


@remittance.command("load")
def remittance_load(
    files: Annotated[list[Path], typer.Argument(help="CSV files of one partner account.")],
    account: Annotated[str, typer.Option(help="Partner account, as in config/partners.")],
    columns: Annotated[
        list[str] | None, typer.Option("--column", help="ours=theirs; adds to the account's layout. Repeat.")
    ] = None,
    fixed: Annotated[
        list[str] | None, typer.Option("--fixed", help="ours=value for a column the file has not. Repeat.")
    ] = None,
) -> None:
    """Load remittances from CSV. Those whose lines do not add up are rejected; loaded again, nothing is written."""
    from etl.remittances import layout_of, load_remittances

    rejects = 0
    with told():
        opened = installation()
        context = opened.context(f"cli/remittances/{uuid.uuid4()}", clock(opened.settings), actor() or "command line")
        found = opened.configuration.account(account)
        layout = layout_of(found, columns or (), fixed or ())
        for file in files:
            result = load_remittances(context, file, found, layout)
            rejects += result.count("rejects")
            show(result)
    if rejects:
        raise typer.Exit(1)


@remittance.command("list")
def remittance_list(
    account: Annotated[str | None, typer.Option(help="Only of this partner account.")] = None,
    as_json: AsJson = False,
) -> None:
    """List remittances in their highest revision, the newest first."""
    with told():
        rows = _rows(
            installation(),
            "SELECT partner_account, remittance_id, revision, invoice_ref, due_on, received_on, currency, net, vat,"
            " withholding, gross, bank, bank_amount, bank_currency, coverage, period_from, period_until"
            " FROM mart.remittance WHERE NOT is_superseded AND (%s::text IS NULL OR partner_account = %s)"
            " ORDER BY received_on DESC NULLS FIRST, partner_account, remittance_id",
            account,
            account,
        )
    if as_json:
        json.dump(rows, sys.stdout, indent=2, default=str)
        print()
        return
    table = Table(
        "account", "remittance", "invoice", "due", "received", "net", "vat", "withheld", "at the bank", "pays"
    )
    for row in rows:
        pays = "lines" if row["coverage"] == "lines" else f"{row['period_from']} until {row['period_until']}"
        bank = "" if row["bank"] is None else f"{row['bank_currency']} {row['bank_amount']} at {row['bank']}"
        revision = f" (revision {row['revision']})" if row["revision"] != 1 else ""
        texts = (row["invoice_ref"], row["due_on"], row["received_on"] or "not yet", f"{row['currency']} {row['net']}")
        values = (row["partner_account"], f"{row['remittance_id']}{revision}", *texts, row["vat"], row["withholding"])
        table.add_row(*("" if value is None else str(value) for value in (*values, bank, pays)))
    out.print(table)


@remittance.command("show")
def remittance_show(
    name: Annotated[str, typer.Argument(help="The remittance, as `remittance list` shows it.")],
    as_json: AsJson = False,
) -> None:
    """Show a remittance: its revisions, the newest one's lines, and the files it came from."""
    with told():
        opened = installation()
        revisions = _rows(opened, _REVISIONS, name, name)
        if not revisions:
            raise Stop(f"there is no remittance {name!r}: `tallyback remittance list` shows those there are")
        newest = revisions[0]
        if accounts := {str(row["partner_account"]) for row in revisions} - {str(newest["partner_account"])}:
            known = ", ".join(f"{each}:{newest['remittance_id']}" for each in (newest["partner_account"], *accounts))
            raise Stop(f"several accounts have a remittance {name!r}: name one of {known}")
        lines = _rows(opened, _LINES, newest["partner_account"], newest["remittance_id"], newest["revision"])
    if as_json:
        json.dump({"revisions": revisions, "lines": lines}, sys.stdout, indent=2, default=str)
        print()
        return
    for row in revisions:
        state = "superseded" if row["is_superseded"] else "counts"
        facts = "  ".join(
            f"{key} {value}" for key, value in row.items() if value is not None and key != "is_superseded"
        )
        out.print(f"[bold]{state}[/]  {facts}", highlight=False)
    table = Table("line", "kind", "transaction", "line of it", "payment", "amount")
    for row in lines:
        amount = f"{row['currency']} {row['amount']}"
        values = (row["line_no"], row["kind"], row["transaction_id"], row["line_id"], row["payment_ref"], amount)
        table.add_row(*("" if value is None else str(value) for value in values))
    out.print(table)


_REVISIONS = """
    SELECT r.*, m.is_superseded, f.name AS file
    FROM ops.remittance AS r
    JOIN mart.remittance AS m USING (partner_account, remittance_id, revision)
    JOIN ops.remittance_file AS f ON f.sha256 = r.file_sha256 AND f.partner_account = r.partner_account
    WHERE r.remittance_id = %s OR r.partner_account || ':' || r.remittance_id = %s
    ORDER BY r.partner_account, r.revision DESC
"""
_LINES = """
    SELECT line_no, kind, transaction_id, line_id, payment_ref, amount, currency
    FROM ops.remittance_line
    WHERE partner_account = %s AND remittance_id = %s AND revision = %s
    ORDER BY line_no
"""


def _rows(opened: Installation, query: str, *parameters: object) -> list[dict[str, object]]:
    with opened.warehouse.transaction() as connection, connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query, parameters).fetchall()
