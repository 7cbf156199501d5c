"""Commands that answer questions: what must be looked at, where a cent comes from, what is missing here."""

import os
import uuid
from typing import Annotated

import typer
from rich.text import Text

from etl.cli.app import LOOK, SET_UP, AsJson, app, installation, out, told
from etl.cli.layout import counted, print_json, say, tree
from etl.installation import clock, credentials_from_environment, machine_clock


@app.command(rich_help_panel=LOOK)
def trace(
    name: Annotated[
        str,
        typer.Argument(
            help="The id of a payout, remittance, sale, transaction, click, member or document; a journal entry as "
            "2026/17; a delivery, or its row as DELIVERY:5."
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Show where a cent comes from and went to: payouts, remittances, sales, postings, versions, rows and clicks."""
    from etl.cli.traced import branch
    from etl.trace import trace as trace_name

    with told():
        opened = installation()
        context = opened.context(f"cli/trace/{uuid.uuid4()}", clock(opened.settings), "")
        found = trace_name(context, name)
    if as_json:
        print_json([node.as_json() for node in found])
        return

    tree(name, [branch(node) for node in found])


@app.command(rich_help_panel=LOOK)
def holds(
    account: Annotated[str | None, typer.Option(help="Only of this partner account.")] = None, as_json: AsJson = False
) -> None:
    """List the deliveries that a check holds, and why; nothing of them is booked until `release`."""
    from etl.findings import list_holds

    with told():
        opened = installation()
        rows = list_holds(opened.context(f"cli/holds/{uuid.uuid4()}", clock(opened.settings), ""), account).to_pylist()
    if as_json:
        print_json(rows)
        return
    for row in rows:
        window = f"{row['window_from']} to before {row['window_until']}"
        say(f"{row['partner_account']}  {window}  {counted(row['row_count'], 'row')}  {row['check_name']}", "bold")
        say(f"    {_reason(row['partner'], row['check_name']) or row['expected']}; found {row['actual']}")
        say(f"    delivery {row['delivery_id']}")
    held = len({row["delivery_id"] for row in rows})
    if not held:
        out.print("No delivery is held.")
        return
    out.print(
        f"{counted(held, 'held delivery', 'held deliveries')}. Look at what the partner's screens "
        "say of those days; then: tallyback release DELIVERY --reason TEXT"
    )


def _reason(partner: str, check_name: str) -> str:
    """Return what a check says of itself; '' if the suite has it no more."""
    from etl.core.expectations import load_suite

    return next((each.reason for each in load_suite("transaction", partner).whole if each.name == check_name), "")


@app.command(rich_help_panel=LOOK)
def rejects(
    account: Annotated[str | None, typer.Option(help="Only of this partner account.")] = None,
    delivery: Annotated[str | None, typer.Option(help="Only of this delivery.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List rows of partners that were not taken, and why; of the newest delivery first."""
    from etl.findings import list_rejects

    with told():
        opened = installation()
        context = opened.context(f"cli/rejects/{uuid.uuid4()}", clock(opened.settings), "")
        rows = list_rejects(context, account, delivery, limit).to_pylist()
    if as_json:
        print_json(rows)
        return
    for row in rows:
        say(f"{row['partner_account']}  row {row['row_number']}  {row['reason']}", "bold")
        where = f"{row['column_name']} = {row['value']!r}" if row["column_name"] else "the whole row"
        say(f"    {where}; transaction {row['transaction_id'] or 'unknown'}; found by {row['stage']}, {row['rule']}")
        say(f"    delivery {row['delivery_id']}")
    more = f", the limit; there may be more (--limit {limit * 2})" if len(rows) == limit else ""
    out.print(f"{counted(len(rows), 'reject')}{more}" if rows else "No row was rejected.")


@app.command(rich_help_panel=SET_UP)
def doctor(as_json: AsJson = False) -> None:
    """Say what is missing or misconfigured here, in the order in which to repair it."""
    from etl.doctor import diagnose

    found = diagnose(os.environ, machine_clock(), credentials_from_environment())
    if as_json:
        rows = [{"name": each.name, "ok": each.is_ok, "found": each.found, "next": each.next_step} for each in found]
        print_json(rows)
    else:
        width = max(len(each.name) for each in found)
        for each in found:
            mark = Text("ok", "green") if each.is_ok else Text("NO", "bold red")
            out.print(Text.assemble(mark, f"  {each.name:<{width}}  {each.found}"), soft_wrap=True)
            if each.next_step:
                out.print(Text.assemble(" " * (width + 6), ("→ ", "bold"), each.next_step), soft_wrap=True)
        wrong = sum(not each.is_ok for each in found)
        say(
            f"{wrong} of {len(found)} need you, in this order." if wrong else f"All {len(found)} are as they must be.",
            "bold",
        )
    if not all(each.is_ok for each in found):
        raise typer.Exit(1)
