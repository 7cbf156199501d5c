"""What all commands share: the application, how errors are told, who is at the keyboard, how a stage is run."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console

from etl.core.connector import Window
from etl.core.context import StageResult
from etl.core.errors import Retry, Stop
from etl.core.settings import Settings, read_settings
from etl.installation import Installation, clock, credentials_from_environment, open_installation

app = typer.Typer(
    name="tallyback",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="What affiliate partners owe you, what you owe your members, and what you may pay out today: to the cent, "
    "with proof.\n\nA day: `tallyback run` fetches, checks, reconciles and books everything due; `tallyback verify` "
    "proves the books; `tallyback breaks list` shows what a person must look at; `tallyback payout`, `approve` and "
    "`transmit` pay; `tallyback report` writes the reconciliation. To try your own data without a warehouse: "
    "`tallyback match --help`.",
)
out = Console(soft_wrap=True)
err = Console(stderr=True, soft_wrap=True)

Day = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="The day it runs for; today if absent.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]


@contextmanager
def told() -> Iterator[None]:
    """Turn an error raised on purpose into one message and an exit status: 75 try again, 1 a person must act."""
    try:
        yield
    except Retry as error:
        err.print(f"[yellow]Not now:[/] {error}", highlight=False)
        raise typer.Exit(75) from error
    except Stop as error:
        err.print(f"[red]Stopped:[/] {error}", highlight=False)
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
    """Return the given day, else today by the installation's clock."""
    return (given or clock(opened.settings)).date()


def show(result: StageResult) -> None:
    """Print what a stage did: its counts, then its note."""
    counts = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in result.counts) or "nothing to count"
    out.print(f"[bold]{result.stage}[/] {result.key}: {counts}", highlight=False)
    if result.note:
        out.print(f"  {result.note}", highlight=False)


def run_one(stage: str, key: str, day: datetime | None, window: Window | None = None) -> None:
    """Run one stage for one key and print what it did."""
    from etl.pipeline import Task, run_stage

    with told():
        opened = installation()
        known_at = clock(opened.settings)
        task = Task(stage, key, (day or known_at).date(), window)
        result = run_stage(
            opened,
            task,
            run_id=f"cli/{stage}/{uuid.uuid4()}",
            known_at=known_at,
            actor=actor() or "command line",
            credentials=credentials_from_environment(),
        )
        show(result)
