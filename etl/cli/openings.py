"""Commands that open the books of a site with a past: load what is owed, have it confirmed, look at it."""

import json
import re
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import typer

from etl.cli.app import SET_UP, AsJson, Day, actor, app, day_of, installation, person, show, told
from etl.cli.layout import amount, columns, counted, print_json, say
from etl.core.context import Context
from etl.core.errors import Stop
from etl.core.opening import KINDS
from etl.installation import Installation, clock

opening = typer.Typer(
    no_args_is_help=True,
    help="Go live with a past: what members and partners are owed on the last day before the books begin. In order: "
    "`opening load FILE`, then another person `opening approve NAME`, then `run`. Sales before that day "
    "are in the opening and are not counted again.",
)
app.add_typer(opening, name="opening", rich_help_panel=SET_UP)

By = Annotated[str | None, typer.Option("--by", help="Who you are; TALLYBACK_PERSON or the login name if absent.")]
Name = Annotated[str, typer.Argument(help="The opening's name, as `opening list` shows it.")]


def _context(opened: Installation, by: str) -> Context:
    return opened.context(f"cli/opening/{uuid.uuid4()}", clock(opened.settings), by)


@opening.command("load")
def opening_load(
    file: Annotated[Path, typer.Argument(help="CSV: kind, owner, reference, currency, amount, as_of.")],
    control: Annotated[
        list[str],
        typer.Option(help="A control total, as cashback_payable:EUR=1234.50; one for each kind and currency."),
    ],
    name: Annotated[str, typer.Option(help="What to call it.")] = "go-live",
    revision: Annotated[int, typer.Option(min=1, help="A corrected file has a higher one.")] = 1,
    by: By = None,
) -> None:
    """Load opening balances, whole or not at all; nothing is booked until another person confirms them."""
    from etl.opening import load_opening

    with told():
        totals = dict(map(_control, control))
        if len(totals) < len(control):
            raise Stop("a control total is given twice: one for each kind and currency")
        show(load_opening(_context(installation(), person(by)), file, name, revision, totals))


def _control(given: str) -> tuple[tuple[str, str], Decimal]:
    found = re.fullmatch(r"([a-z_]+):([A-Z]{3})=(-?[0-9]{1,14}(?:\.[0-9]{1,4})?)", given, re.ASCII)
    if found is None or found[1] not in KINDS:
        raise Stop(
            f"{given!r} is no control total: write KIND:CURRENCY=TOTAL such as cashback_payable:EUR=1234.50; the kinds"
            f" are {', '.join(KINDS)}"
        )
    return (found[1], found[2]), Decimal(found[3])


@opening.command("approve")
def opening_approve(
    name: Name,
    revision: Annotated[int, typer.Option(min=1, help="The revision you looked at.")],
    day: Day = None,
    by: By = None,
) -> None:
    """Confirm a revision that another person loaded, and book it; the one before is replaced by the difference."""
    from etl.opening import approve_opening

    with told():
        opened = installation()
        show(approve_opening(_context(opened, person(by)), name, revision, day_of(day, opened)))
        say("next: tallyback run, so that what it holds is counted once; then tallyback verify")


@opening.command("list")
def opening_list(as_json: AsJson = False) -> None:
    """List every revision of every opening: its totals, who loaded it, who confirmed it."""
    from etl.opening import list_openings

    with told():
        rows = list_openings(_context(installation(), actor())).to_pylist()
    if as_json:
        print_json([row | {"control": json.loads(row["control"])} for row in rows])
        return
    for row in rows:
        state = "in force" if row["is_in_force"] else "replaced" if row["approved_by"] else "waits for another person"
        say(f"{row['opening_id']} revision {row['revision']}  {state}", "bold")
        say(f"    {row['file_name']}, {counted(row['row_count'], 'row')}, loaded by {row['loaded_by']}")
        totals = ", ".join(f"{key} {total}" for key, total in json.loads(row["control"]).items())
        say(f"    {totals}")
        if row["approved_by"]:
            say(f"    confirmed by {row['approved_by']} at {row['approved_at']:%Y-%m-%d %H:%M} UTC")
        else:
            say(f"    next: tallyback opening approve {row['opening_id']} --revision {row['revision']}")
    if not rows:
        say("No opening: this site began without a past, or tallyback opening load FILE is still to come.")


@opening.command("show")
def opening_show(
    name: Name,
    revision: Annotated[int | None, typer.Option(min=1, help="The newest if absent.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show every balance of an opening."""
    from etl.opening import read_lines

    with told():
        rows = read_lines(_context(installation(), actor()), name, revision).to_pylist()
    if as_json:
        print_json(rows)
        return
    shown = [
        (row["kind"], row["owner"], row["reference"], amount(row["amount"], row["currency"]), str(row["as_of"]))
        for row in rows
    ]
    columns(("kind", "owner", "transaction", "balance", "end of"), shown, right=("balance",))
