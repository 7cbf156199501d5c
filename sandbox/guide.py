"""What a person at the sandbox is told: where the screens are, how a morning is run by hand, how to type commands."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from rich.console import Console

from sandbox.airflow_stack import AirflowStack
from sandbox.clock import now
from sandbox.house import Place

ENVIRONMENT_FILE = "environment.sh"
DOES = {"robin": "runs the house and releases payouts", "alex": "approves payouts"}


def write_environment(place: Place, variables: Mapping[str, str]) -> Path:
    """Write what the command line needs to work on this world, for a shell to read; readable by its owner alone."""
    path = place.home / ENVIRONMENT_FILE
    lines = [f"export {name}={shlex.quote(text)}" for name, text in sorted(variables.items())]
    lines.append(f'export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"')
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as handle:
        handle.write("\n".join(lines) + "\n")
    return path


def tell(console: Console, place: Place, stack: AirflowStack, mornings: Sequence[datetime]) -> None:
    """Print how to click through the world that was started, and how to go on from where it stands."""
    console.rule("It is up")
    console.print(f"Airflow    {stack.url}")
    for person, password in stack.passwords().items():
        console.print(f"           log in as {person:<6}  password {password}   {DOES.get(person, '')}")
    console.print(
        f"Simulated  {now(place.world):%Y-%m-%d %H:%M} UTC: what the partners, the tracker and the books take for now"
    )
    console.print()
    console.print("A morning by hand, in Airflow, as robin (each run's note says what it did):")
    console.print(
        "  1. Trigger tallyback__reference, tallyback__rates and tallyback__clicks, then each tallyback__ingest__…"
    )
    console.print("     tallyback__reconcile_accrue follows by itself. Leave the fields of the form empty.")
    console.print("  2. To pay, trigger tallyback__payout__sepa; alex answers what it asks (Browse, Required Actions).")
    console.print("  3. tallyback__verify proves the books, tallyback__report writes the reconciliation.")
    later = [morning for morning in mornings if morning.replace(tzinfo=None) > now(place.world)]
    if later:
        console.print(f"  4. The next morning: {clock_command(place, later[0])}")
        console.print(f"     and then {', '.join(f'{morning:%Y-%m-%d}' for morning in later[1:]) or 'no more'}.")
    else:
        console.print("  All its mornings are over; `make up SEED=7` is another world.")
    console.print()
    console.print("The command line on this world, in another terminal:")
    console.print(f"  . {_shown(place.home / ENVIRONMENT_FILE)} && tallyback breaks list")
    console.print()
    console.print("Ctrl-C here ends it, or `make down` elsewhere. What is under .tallyback stays.")


def clock_command(place: Place, morning: datetime) -> str:
    """Return the command that moves the world's clock to `morning`."""
    return f".venv/bin/python -m sandbox clock --dir {_shown(place.world)} --set {morning:%Y-%m-%dT%H:%M:%SZ}"


def _shown(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
