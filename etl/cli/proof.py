"""Commands that prove the books and report on them."""

import uuid
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from etl.cli.app import DAY, AsJson, Day, Known, actor, app, day_of, installation, known_instant, show, told, working
from etl.cli.layout import columns, counted, print_json, say
from etl.core.as_of import local_day
from etl.installation import clock

if TYPE_CHECKING:
    from etl.rederive import Rederived


@app.command(rich_help_panel=DAY)
def verify(
    as_json: AsJson = False,
    day: Day = None,
    from_raw: Annotated[
        bool,
        typer.Option("--from-raw", help="Derive everything again from the landed bytes, too, and name what differs."),
    ] = False,
    head: Annotated[
        list[str] | None,
        typer.Option("--head", help="A last journal entry you kept, as YEAR/NUMBER:HASH: is it still the one it was?"),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="With --from-raw, name at most so many differences.")] = 100,
    scratch: Annotated[
        str | None,
        typer.Option(
            envvar="TALLYBACK_SCRATCH_URL",
            help="With --from-raw, an empty database to work in; without one, a server of its own is started for it.",
        ),
    ] = None,
) -> None:
    """Prove the books: posted = target for every document and account, and every other promise that data can break."""
    from etl.verify import EntryHash, last_entries
    from etl.verify import verify as prove

    with told():
        opened = installation()
        known_at = clock(opened.settings)
        context = opened.context(f"cli/verify/{uuid.uuid4()}", known_at, actor() or "command line")
        found = None
        with working("verify") as step:
            checks = prove(context, day_of(day, opened), [EntryHash.parse(each) for each in head or ()])
            with context.warehouse.transaction() as connection:
                heads = last_entries(connection, context.entity.name)
            if from_raw:
                from etl.rederive import booked_through, rederive

                until = day.date() if day else booked_through(context) or day_of(None, opened)
                found = rederive(context, until, step, limit, scratch)
    if as_json:
        plain = [{name: str(getattr(check, name)) for name in check.__slots__} for check in checks]
        print_json(plain if found is None else {"checks": plain, "from_raw": asdict(found)})
    else:
        rows = [
            (
                "holds" if check.is_ok else "BROKEN",
                str(check.expected),
                str(check.actual),
                str(check.difference),
                check.name,
            )
            for check in checks
        ]
        columns(("", "expected", "actual", "difference", "check"), rows, right=("expected", "actual", "difference"))
        broken = sum(not check.is_ok for check in checks)
        say(
            f"{broken} of {len(checks)} checks are broken: pay nothing before they are explained"
            " (docs/runbooks/tallyback__verify.md)"
            if broken
            else f"All {len(checks)} checks hold.",
            "bold",
        )
        for each in heads:
            say(f"Last journal entry of {each.year}: {each}")
        if heads:
            say("Keep it where nobody of Tallyback can change it; `tallyback verify --head` compares.")
        if found is not None:
            _show_rederived(found)
    if not all(check.is_ok for check in checks) or (found is not None and found.differences):
        raise typer.Exit(1)


def _show_rederived(found: "Rederived") -> None:
    """Print what was derived from the landed bytes, and each difference: what is stored, and what follows."""
    for each in found.differences:
        say("")
        say(f"{each.table}  {each.key}", "bold")
        say(f"    stored   {each.stored}")
        say(f"    follows  {each.follows}")
    say("")
    objects = counted(found.object_count, "landed object")
    if found.differences:
        more = " or more" if found.is_cut else ""
        say(
            f"{counted(len(found.differences), 'difference')}{more} from what the {objects} say: pay nothing before "
            "they are explained (docs/runbooks/tallyback__verify.md)",
            "bold",
        )
    else:
        say(
            f"{objects}, {counted(found.row_count, 'row')}: all that is stored until {found.day} follows from them.",
            "bold",
        )


@app.command(rich_help_panel=DAY)
def report(
    month: Annotated[datetime, typer.Option(formats=["%Y-%m"], help="The period, as 2026-09.")],
    output: Annotated[Path | None, typer.Option("--out", help="Folder; the installation's if absent.")] = None,
    day: Day = None,
    known: Known = None,
) -> None:
    """Write the reconciliation report of a period as HTML and XLSX: of now, or as it was known on another day."""
    from etl.report import report as write

    with told():
        opened = installation()
        context = opened.context(f"cli/report/{uuid.uuid4()}", clock(opened.settings), actor() or "command line")
        folder = (output or opened.settings.reports).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        zone = opened.configuration.entity.books_zone
        known_at = None if known is None else known_instant(known, zone)
        # Whoever asks what was known on a day means that day's figures, unless another is named.
        as_of = day_of(day, opened) if day or known_at is None else local_day(known_at, zone)
        with working("report"):
            written = write(context, month.date().replace(day=1), as_of, folder, known_at)
        show(written)
