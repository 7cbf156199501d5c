"""The command that says which members owe something back, and what becomes of it."""

import uuid
from typing import Annotated

import typer

from etl.cli.app import LOOK, AsJson, Day, actor, app, day_of, installation, told
from etl.cli.layout import amount, columns, counted, print_json, say
from etl.installation import clock


@app.command(rich_help_panel=LOOK)
def debts(
    everybody: Annotated[bool, typer.Option("--all", help="Also those who owe no more.")] = False,
    day: Day = None,
    as_json: AsJson = False,
) -> None:
    """List members who were paid for sales that were declined since: what they owe, and what becomes of it."""
    from etl.clawback import list_debts

    with told():
        opened = installation()
        context = opened.context(f"cli/debts/{uuid.uuid4()}", clock(opened.settings), actor())
        found = list_debts(context, day_of(day, opened), is_whole=everybody)
    if as_json:
        print_json([{name: getattr(each, name) for name in each.__slots__} for each in found])
        return
    rows = [
        (
            each.member_id, amount(each.owed, each.currency), str(each.since or ""), amount(each.offset, each.currency),
            amount(each.written_off, each.currency), each.next_text,
        )
        for each in found
    ]  # fmt: skip
    if not rows:
        say("No member owes anything.")
        return
    columns(
        ("member", "owes", "since", "offset so far", "written off", "next"),
        rows,
        right=("owes", "offset so far", "written off"),
    )
    say(f"{counted(len(rows), 'member')}. `tallyback statement MEMBER` says in a member's words how it came.")
