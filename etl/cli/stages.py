"""Commands that set Tallyback up, run stages, and try it on files."""

import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from etl.cli.app import (
    A_STAGE,
    DAY,
    LOOK,
    SET_UP,
    TRY,
    Day,
    actor,
    app,
    installation,
    out,
    person,
    run_one,
    settings,
    show,
    told,
    working,
)
from etl.cli.layout import counted, say
from etl.core.connector import Window
from etl.core.context import StageResult
from etl.core.errors import Stop
from etl.installation import clock, credentials_from_environment

if TYPE_CHECKING:
    from etl.core.engine import SqlEngine

db = typer.Typer(no_args_is_help=True, help="The warehouse.")
config = typer.Typer(no_args_is_help=True, help="The configuration under config/.")
keys = typer.Typer(no_args_is_help=True, help="Keys that encrypt personal data.")
reference = typer.Typer(no_args_is_help=True, help="Programs, cashback rules and exchange rates.")
app.add_typer(db, name="db", rich_help_panel=SET_UP)
app.add_typer(config, name="config", rich_help_panel=SET_UP)
app.add_typer(keys, name="keys", rich_help_panel=SET_UP)
app.add_typer(reference, name="reference", rich_help_panel=A_STAGE)


@db.command("migrate")
def db_migrate() -> None:
    """Bring the warehouse to the newest schema (safe to run twice; run as the owner)."""
    from etl.core.warehouse import migrate

    with told():
        migrate(settings().warehouse_url.get_secret_value())
        out.print("The warehouse is at the newest schema.")


@config.command("check")
def config_check(
    folder: Annotated[
        Path, typer.Argument(envvar="TALLYBACK_CONFIGURATION", help="The configuration's folder.")
    ] = Path("config"),
) -> None:
    """Check all YAML under the folder against its schema; every problem is named at once."""
    from etl.core.configuration import load

    with told():
        found = load(folder)
    has = (
        counted(len(found.accounts), "partner account"),
        counted(len(found.click_sources), "click source"),
        counted(len(found.banks), "bank"),
    )
    say(f"Entity {found.entity.name}, {', '.join(has)}: no problem found.")


@keys.command("create")
def keys_create(path: Annotated[Path, typer.Argument(help="Where to write it; readable by you alone.")]) -> None:
    """Make a key file. Keep a copy apart: without it, no IBAN can be read again."""
    from etl.core.encryption import create_key_file

    with told():
        create_key_file(path)
        out.print(f"Wrote {path}. Keep a copy of it apart from the database.")


@reference.command("load")
def reference_load(
    folder: Annotated[
        Path | None,
        typer.Argument(
            help="Folder with programs.csv, cashback_rules.csv and, if you like, contract_terms.csv and aliases.csv."
        ),
    ] = None,
    day: Day = None,
) -> None:
    """Load programs, cashback rules, contract terms and aliases; a second run writes nothing, a change is refused."""
    if folder is not None:
        os.environ["TALLYBACK_REFERENCE"] = str(folder)
    run_one("reference", "reference", day)


@reference.command("rates")
def reference_rates(
    file: Annotated[Path | None, typer.Argument(help="The ECB's eurofxref-hist as csv, zip or gz.")] = None,
    day: Day = None,
) -> None:
    """Load the ECB's reference rates; known days are left as they are."""
    if file is not None:
        os.environ["TALLYBACK_RATES"] = str(file)
    run_one("rates", "rates", day)


@app.command(rich_help_panel=A_STAGE)
def fetch(
    account: Annotated[str, typer.Argument(help="Partner account, as in config/partners.")],
    since: Annotated[datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="First day.")] = None,
    until: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Day after the last.")] = None,
    day: Day = None,
) -> None:
    """Fetch a window of a partner account and land its bytes; without --from and --until, every window that is due."""
    window = None
    with told():
        if (since is None) != (until is None):
            raise Stop("give both --from and --until, or neither")
        if since is not None and until is not None:
            if until <= since:
                raise Stop(f"--until {until.date()} must be after --from {since.date()}")
            window = Window(since.date(), until.date())
    run_one("fetch", account, day, window)


def _stage_command(stage: str, argument: str, text: str) -> Callable[..., None]:
    def command(key: Annotated[str, typer.Argument(help=argument)], day: Day = None) -> None:
        run_one(stage, key, day)

    command.__doc__ = text
    return command


_ACCOUNT = "Partner account, as in config/partners."
app.command("parse", rich_help_panel=A_STAGE)(
    _stage_command("parse", _ACCOUNT, "Parse what was landed and not parsed yet; rejects are stored.")
)
app.command("validate", rich_help_panel=A_STAGE)(
    _stage_command("validate", _ACCOUNT, "Check what was parsed; rows are rejected, deliveries held.")
)
app.command("clicks", rich_help_panel=A_STAGE)(
    _stage_command("clicks", "Click source, as in config/clicks.", "Load new clicks and conversions, check the clicks.")
)
_ENTITY = "The entity, as in config/entity.yaml."
Everything = Annotated[
    bool, typer.Option("--everything", help="Look at all sales, not only at those that something new touched.")
]


def _books_command(stage: str, text: str) -> Callable[..., None]:
    def command(
        key: Annotated[str, typer.Argument(help=_ENTITY)], day: Day = None, everything: Everything = False
    ) -> None:
        run_one(stage, key, day, is_whole=everything)

    command.__doc__ = text
    return command


app.command("reconcile", rich_help_panel=A_STAGE)(
    _books_command("reconcile", "Find versions, sales, matches and breaks.")
)
app.command("remit", rich_help_panel=A_STAGE)(
    _books_command("remit", "Take in new remittances, allocate them to approved commission, and post.")
)
app.command("accrue", rich_help_panel=A_STAGE)(
    _books_command("accrue", "Post what every touched sale should have and has not.")
)


@app.command(rich_help_panel=DAY)
def run(
    day: Day = None,
    verbose: Annotated[bool, typer.Option(help="Print each stage as it ends.")] = True,
) -> None:
    """Run all stages that are due on a day, from reference data to accrual: what the DAGs run, in one process."""
    from etl.pipeline import run_day

    with told():
        opened = installation()
        known_at = clock(opened.settings)
        with working("run"):
            run_day(
                opened,
                (day or known_at).date(),
                run_id=f"cli/run/{uuid.uuid4()}",
                known_at=known_at,
                actor=actor() or "command line",
                credentials=credentials_from_environment(),
                told=show if verbose else lambda _: None,
            )


class EngineName(StrEnum):
    """The engines that run the SQL of reconcile and accrue."""

    DUCKDB = "duckdb"
    SPARK = "spark"


def chosen_engine(name: EngineName, master: str | None, memory_limit: str) -> "SqlEngine":
    """Return the engine that `match` was asked to use; Stop if a master is named for one that has none."""
    from etl.core.engine import Engine

    local = Engine(memory_limit)
    if name is EngineName.DUCKDB:
        if master is not None:
            raise Stop("--master is of Spark: add --engine spark")
        return local
    from etl.core.configuration import SparkSettings
    from etl.core.spark import SparkEngine

    # As Java writes it: 2g.
    memory = memory_limit.lower().replace(" ", "").removesuffix("b").replace("i", "")
    return SparkEngine(SparkSettings(master or "local[*]", memory, memory), local)


@app.command(rich_help_panel=TRY)
def match(
    clicks: Annotated[Path, typer.Option(help="Parquet of clicks (canonical schema).")],
    transactions: Annotated[Path, typer.Option(help="Parquet of transactions (canonical schema).")],
    programs: Annotated[Path, typer.Option(help="Parquet of programs (canonical schema).")],
    output: Annotated[Path, typer.Option("--out", help="Folder for match.parquet and break.parquet.")],
    conversions: Annotated[Path | None, typer.Option(help="Parquet of our own conversions.")] = None,
    memory_limit: Annotated[str, typer.Option(help="What the engine may use before it spills.")] = "2GB",
    engine: Annotated[EngineName, typer.Option(help="What runs the SQL.")] = EngineName.DUCKDB,
    master: Annotated[
        str | None, typer.Option(help="Of Spark: local[N], spark://host:port, sc://host:port, k8s://…, yarn.")
    ] = None,
) -> None:
    """Match transactions with clicks from files alone, no warehouse: to try Tallyback on your own data."""
    from etl.match import match_files

    with told():
        for path in (clicks, transactions, programs, *([conversions] if conversions else [])):
            if not path.is_file():
                raise Stop(f"there is no file {path}")
        output.mkdir(parents=True, exist_ok=True)
        with working("match"):
            chosen = chosen_engine(engine, master, memory_limit)
            counts = match_files(clicks, transactions, programs, conversions, output, chosen)
        show(StageResult("match", str(output), tuple(counts), ""))


@app.command(rich_help_panel=LOOK)
def release(
    delivery: Annotated[str, typer.Argument(help="The held delivery.")],
    reason: Annotated[str, typer.Option(help="Why it may go on.")],
    by: Annotated[str | None, typer.Option(help="Who you are.")] = None,
) -> None:
    """Release a delivery that a check holds; the next reconcile takes it in."""
    from etl.validate import release as release_delivery

    with told():
        opened = installation()
        context = opened.context(f"cli/release/{uuid.uuid4()}", clock(opened.settings), person(by))
        release_delivery(context, delivery, person(by), reason)
        out.print(f"Released {delivery}.")


@app.command(
    rich_help_panel=TRY,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    add_help_option=False,
)
def sandbox(context: typer.Context) -> None:
    """The sandbox world (up, build, clock, truth): see `tallyback sandbox --help`."""
    raise typer.Exit(subprocess.run([sys.executable, "-m", "sandbox", *context.args], check=False).returncode)
