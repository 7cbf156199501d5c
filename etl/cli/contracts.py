"""Commands about what partners owe by contract: what they report less than that, as one sends it to them."""

from __future__ import annotations

import uuid
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from etl.cli.app import LOOK, AsJson, Day, app, day_of, installation, told
from etl.cli.layout import amount, columns, counted, print_json, say
from etl.installation import clock


@app.command(rich_help_panel=LOOK)
def shortfall(
    account: Annotated[str | None, typer.Option(help="Only of this partner account.")] = None,
    period: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m"], help="Only sales of this month, as 2026-09.")
    ] = None,
    csv: Annotated[
        Path | None, typer.Option("--csv", help="Write each sale with its evidence to this file, for the partner.")
    ] = None,
    day: Day = None,
    as_json: AsJson = False,
) -> None:
    """Show what partners report less than their contract says, by program; with --csv, what to send them for it."""
    from etl.shortfall import shortfall as found_short

    with told():
        opened = installation()
        context = opened.context(f"cli/shortfall/{uuid.uuid4()}", clock(opened.settings), "")
        found = found_short(context, day_of(day, opened), account, period.date() if period else None)
        if csv is not None:
            csv.write_bytes(found.as_csv())
    if as_json:
        print_json({"compared": found.compared_count, "sales": [asdict(each) for each in found.sales]})
        return
    compared = f"{counted(found.compared_count, 'sale')} compared with the contract"
    if not found.programs:
        say(f"{compared}: none is short.")
        return
    rows = [
        (each.partner_account, each.program or each.program_id, f"{each.sale_count:,}",
         *(amount(value, each.currency) for value in (each.reported, each.expected, each.shortfall)))
        for each in found.programs
    ]  # fmt: skip
    right = ("sales", "reported", "expected", "short")
    columns(("account", "program", *right), rows, right=right)
    say(f"{compared}, {counted(len(found.sales), 'sale')} short." + (f" Written to {csv}." if csv else ""))
