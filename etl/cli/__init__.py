"""A person's way in: the `tallyback` command line. Whatever Airflow runs can be run here."""

from etl.cli import books, closing, lake, money, questions, remittances, stages
from etl.cli.app import app

__all__ = ["app", "books", "closing", "lake", "main", "money", "questions", "remittances", "stages"]


def main() -> None:
    """Run the command line."""
    app()
