"""Commands that close a period: begin, check, finish; and what is closed."""

import json
import uuid
from datetime import datetime
from typing import Annotated

import typer

from etl.cli.app import DAY, AsJson, actor, app, installation, person, show, told
from etl.cli.layout import columns, say
from etl.core.context import Context
from etl.installation import clock

close = typer.Typer(
    no_args_is_help=True,
    help="Close a month. In order: `close begin MONTH`, then only adjustments and revaluation are booked in it; "
    "`close revalue MONTH` books the closing rates; `close check MONTH` says what still blocks and what to do; "
    "`close finish MONTH` locks it for ever and keeps a record of all that went into it. What comes late is booked in "
    "the next month.",
)
app.add_typer(close, name="close", rich_help_panel=DAY)

Month = Annotated[datetime, typer.Argument(formats=["%Y-%m"], help="The period, as 2026-09.")]
By = Annotated[str | None, typer.Option("--by", help="Who you are; TALLYBACK_PERSON or the login name if absent.")]


def _context(by: str) -> Context:
    opened = installation()
    return opened.context(f"cli/close/{uuid.uuid4()}", clock(opened.settings), by)


@close.command("begin")
def close_begin(month: Month, by: By = None) -> None:
    """Begin to close a month that is over: from now on only adjustments and revaluation are booked in it."""
    from etl.close import begin

    with told():
        show(begin(_context(person(by)), month.date()))


@close.command("revalue")
def close_revalue(month: Month, by: By = None) -> None:
    """Book what open items in other currencies are worth at the month's end; taken back on the first of the next."""
    from etl.revalue import revalue

    with told():
        show(revalue(_context(person(by)), month.date()))


@close.command("check")
def close_check(month: Month, as_json: AsJson = False) -> None:
    """Say what still blocks the close of a month, and what to do about each; ends with 1 if anything does."""
    from etl.close import check
    from etl.verify import verify

    with told():
        found = check(_context(actor() or "command line"), month.date(), verify)
    if as_json:
        print(json.dumps([{name: getattr(each, name) for name in each.__slots__} for each in found], indent=2))
    else:
        for each in found:
            mark = "ok" if each.is_ok else "blocks" if each.blocks else "look"
            say(f"{mark:8}{each.name}" + ("" if each.is_ok else f": {each.found}"))
            if not each.is_ok:
                say(f"        {each.next_step}")
    if any(each.blocks and not each.is_ok for each in found):
        raise typer.Exit(1)


@close.command("finish")
def close_finish(month: Month, by: By = None) -> None:
    """Close a month for ever and keep its record; refused while anything blocks. Nobody can take it back."""
    from etl.close import finish
    from etl.verify import verify

    with told():
        record = finish(_context(person(by)), month.date(), verify)
        say(f"{record.starts_on:%Y-%m} is closed by {record.closed_by}.")
        say(f"Keep this hash of its record where nobody of Tallyback can change it: {record.hash}")


@close.command("list")
def close_list(as_json: AsJson = False) -> None:
    """List the periods, the oldest first, with who moved them."""
    from etl.close import list_periods

    with told():
        rows = list_periods(_context(actor() or "command line")).to_pylist()
    if as_json:
        print(json.dumps(rows, indent=2, default=str))
        return
    listed = []
    for row in rows:
        closed_at = f"{row['closed_at']:%Y-%m-%d %H:%M}" if row["closed_at"] else ""
        begun_by, closed_by, record = (row[name] or "" for name in ("begun_by", "closed_by", "record_hash"))
        listed.append((f"{row['starts_on']:%Y-%m}", row["state"], begun_by, closed_by, closed_at, record))
    columns(("period", "state", "begun by", "closed by", "closed at (UTC)", "record"), listed)


@close.command("show")
def close_show(month: Month, as_json: AsJson = False) -> None:
    """Show the closing record of a month: trial balance, what it follows from, who signed it."""
    from etl.close import closing_record

    with told():
        found = closing_record(_context(actor() or "command line"), month.date())
    if as_json:
        # Byte for byte what the hash is taken over.
        print(found.record)
        return
    record = json.loads(found.record)
    say(f"{record['period']} of {record['entity']}, closed by {found.closed_by} at {found.closed_at} UTC", "bold")
    rows = []
    for row in record["trial_balance"]:
        names = ("opening_minor", "debit_minor", "credit_minor", "closing_minor")
        amounts = [_amount(row[name], int(row["asset"][-1])) for name in names]
        base = row["closing_base"] + (f" ({row['without_base_count']} without)" if row["without_base_count"] else "")
        rows.append((row["kind"], row["asset"], *amounts, base))
    right = ("opening", "debit", "credit", "closing", f"in {record['base_currency']}")
    columns(("account", "asset", *right), rows, right=right)
    last = ", ".join(f"{link['year']}/{link['number']}" for link in record["chain"]) or "none"
    say(f"{record['input_count']:,} inputs ({record['inputs_path']}), last journal entries {last}")
    say(f"record {found.hash}")


def _amount(minor: int, scale: int) -> str:
    sign, digits = "-" if minor < 0 else "", str(abs(minor)).rjust(scale + 1, "0")
    whole, rest = (digits[:-scale], digits[-scale:]) if scale else (digits, "")
    return f"{sign}{int(whole):,}" + (f".{rest}" if rest else "")
