"""What all commands share: the application, how errors are told, who is at the keyboard, how a stage is run."""

import os
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, time
from importlib.metadata import version
from typing import Annotated
from zoneinfo import ZoneInfo

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from etl.core.as_of import end_of_day
from etl.core.connector import Window
from etl.core.context import StageResult
from etl.core.errors import Retry, Stop
from etl.core.settings import Settings, read_settings
from etl.installation import Installation, clock, credentials_from_environment, open_installation

app = typer.Typer(
    name="tallyback",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="What affiliate partners owe you, what you owe your members, and what you may pay out today: to the cent, "
    "with proof.\n\nA day: `run` fetches, checks, reconciles and books everything due; `verify` proves the books; "
    "`breaks list` and `holds` show what a person must look at; `payout` pays; `report` writes the reconciliation; "
    "`trace` tells where a cent comes from. To try your own data without a warehouse: `match`. Something is missing "
    "or wrong: `doctor`.",
    epilog="Exit status: 0 done, 1 a person must act (the message says how), 2 not a command like that, 75 try again "
    "later. Settings are TALLYBACK_… variables: `tallyback doctor` lists them.",
)
DAY, LOOK, PAY = "A day", "Questions", "Pay and be paid"
A_STAGE, SET_UP, TRY = "One stage for one key", "Set up", "Try"
PANELS = (DAY, LOOK, PAY, A_STAGE, SET_UP, TRY)
"""The groups of commands on the first page, in their order."""

# A pipe has no width: what a table holds is never shortened for it.
out = Console(soft_wrap=True, width=None if sys.stdout.isatty() else 1_000)
err = Console(stderr=True, soft_wrap=True)


def _version(asked: bool) -> None:
    if asked:
        out.print(f"tallyback {version('tallyback')}", highlight=False)
        raise typer.Exit


@app.callback()
def _main(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None: ...


Day = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="The day it runs for; today if absent.")]
Known = Annotated[
    datetime | None,
    typer.Option(
        "--known",
        formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"],
        help="What we knew at the end of this day, or at this instant (UTC); all if absent.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]


@contextmanager
def told() -> Iterator[None]:
    """Turn an error raised on purpose into one message and an exit status: 75 try again, 1 a person must act."""
    try:
        yield
    except Retry as error:
        # What an error quotes was written by others: brackets in it are no markup.
        err.print(f"[yellow]Not now:[/] {escape(str(error))}", highlight=False)
        raise typer.Exit(75) from error
    except Stop as error:
        err.print(f"[red]Stopped:[/] {escape(str(error))}", highlight=False)
        raise typer.Exit(1) from error


def settings() -> Settings:
    """Return the settings; Stop naming each that is missing or wrong."""
    try:
        return read_settings()
    except ValidationError as error:
        names = ", ".join("TALLYBACK_" + "_".join(str(part) for part in item["loc"]).upper() for item in error.errors())
        raise Stop(f"these settings are missing or wrong: {names}; `tallyback doctor` explains each") from None


def installation() -> Installation:
    """Return the installation the environment describes."""
    return open_installation(settings())


def actor() -> str:
    """Return who is at the keyboard: TALLYBACK_PERSON, else the login name."""
    return os.environ.get("TALLYBACK_PERSON") or os.environ.get("USER") or os.environ.get("LOGNAME") or ""


def person(given: str | None) -> str:
    """Return the named person; Stop if nobody is named."""
    name = given or actor()
    if not name:
        raise Stop("say who you are: --by NAME or TALLYBACK_PERSON")
    return name


def day_of(given: datetime | None, opened: Installation) -> date:
    """Return the given day, else today by the installation's clock, where the books are kept."""
    if given is not None:
        return given.date()
    zone = ZoneInfo(opened.configuration.entity.books_zone)
    return clock(opened.settings).replace(tzinfo=UTC).astimezone(zone).date()


def known_instant(given: datetime, zone: str) -> datetime:
    """Return the instant (naive UTC) a known day or instant stands for: of a day, its end in `zone`."""
    return end_of_day(given.date(), zone) if given.time() == time() else given


def show(result: StageResult) -> None:
    """Print what a stage did: its counts (those that are none only if all are), then its note."""
    some = [(name, count) for name, count in result.counts if count] or result.counts[:3]
    counts = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in some) or "nothing to count"
    out.print(f"[bold]{result.stage}[/] {escape(result.key)}: {counts}", highlight=False)
    if result.note:
        out.print(f"  {escape(result.note)}", highlight=False)


@contextmanager
def working(what: str) -> Iterator[Callable[[str], None]]:
    """Show on a terminal that something goes on, and for how long; a pipe sees nothing of it.

    What is yielded is told the step it has come to.
    """
    shown = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    # Redirected, what goes into a file or a pipe would go to the terminal with the bar.
    is_terminal = err.is_terminal and sys.stdout.isatty()
    with Progress(*shown, console=err, transient=True, disable=not err.is_terminal, redirect_stdout=is_terminal) as bar:
        task = bar.add_task(escape(what), total=None)
        yield lambda step: bar.update(task, description=escape(f"{what}: {step}"))


def run_one(
    stage: str, key: str, day: datetime | None, window: Window | None = None, *, is_whole: bool = False
) -> None:
    """Run one stage for one key and print what it did."""
    from etl.pipeline import Task, run_stage

    with told():
        opened = installation()
        known_at = clock(opened.settings)
        task = Task(stage, key, (day or known_at).date(), window, is_whole)
        with working(f"{stage} {key}"):
            result = run_stage(
                opened,
                task,
                run_id=f"cli/{stage}/{uuid.uuid4()}",
                known_at=known_at,
                actor=actor() or "command line",
                credentials=credentials_from_environment(),
            )
        show(result)
