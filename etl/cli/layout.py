"""How answers are laid out on a terminal: aligned columns, blocks and trees of which nothing is ever cut away.

A table that shortens an id to fit the window shows what nobody can copy. Lines here are as long as what they say; a
terminal wraps them, a pipe gets them whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from decimal import Decimal

from rich.text import Text

from etl.cli.app import out
from etl.report.wording import amount_text

GAP = "  "


def amount(value: Decimal | None, currency: str | None) -> str:
    """Return an amount with its currency, such as 'EUR 1,234.50'; '' for none."""
    return "" if value is None else f"{currency or ''} {amount_text(value, currency)}".strip()


def counted(count: int, noun: str, plural: str = "") -> str:
    """Return a count with its noun, such as '1 payout' or '1,200 payouts'."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def columns(headings: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()) -> None:
    """Print rows under headings, each column as wide as its widest text; those named in `right` end at one line."""
    widths = [max(map(len, cells)) for cells in zip(headings, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if heading in right else cell.ljust(width)
            for cell, width, heading in zip(cells, widths, headings, strict=True)
        )
        return GAP.join(padded).rstrip()

    say(line(headings), "bold")
    for row in rows:
        say(line(row))


def say(text: str, style: str = "") -> None:
    """Print text as it is: nothing in it is taken for markup, and no line of it is broken."""
    out.print(Text(text, style), soft_wrap=True)


def print_json(document: object) -> None:
    """Print one JSON document; amounts, days and instants as text, for no number may pass through a float."""
    print(json.dumps(document, indent=2, default=str, ensure_ascii=False))


def tree(title: str, branches: Sequence[Branch]) -> None:
    """Print a title and what hangs below it."""
    say(title, "bold")
    for line in _limbs(branches, ""):
        out.print(line, soft_wrap=True)


Branch = tuple[str, str, Sequence["Branch"]]
"""A name, what is known of it, and what hangs below it."""


def _limbs(branches: Sequence[Branch], before: str) -> Iterator[Text]:
    for place, (name, facts, below) in enumerate(branches, start=1):
        is_last = place == len(branches)
        yield Text.assemble(before, "└── " if is_last else "├── ", (name, "bold"), GAP, facts)
        yield from _limbs(below, before + ("    " if is_last else "│   "))
