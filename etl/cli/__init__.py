"""A person's way in: the `tallyback` command line. Whatever Airflow runs can be run here."""

from etl.cli import (
    adjustments,
    books,
    breaks,
    closing,
    contracts,
    debts,
    lake,
    money,
    openings,
    proof,
    questions,
    remittances,
    stages,
)
from etl.cli.app import PANELS, app

# The first page tells a day first, then what follows from it; whoever registered first does not matter.
_PLACES = {panel: place for place, panel in enumerate(PANELS)}
app.registered_commands.sort(key=lambda command: _PLACES.get(str(command.rich_help_panel), len(PANELS)))
app.registered_groups.sort(key=lambda group: _PLACES.get(str(group.rich_help_panel), len(PANELS)))

__all__ = [
    "adjustments",
    "app",
    "books",
    "breaks",
    "closing",
    "contracts",
    "debts",
    "lake",
    "main",
    "money",
    "openings",
    "proof",
    "questions",
    "remittances",
    "stages",
]


def main() -> None:
    """Run the command line."""
    app()
