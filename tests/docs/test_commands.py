"""Every `tallyback` command a page shows is one there is, with the options it shows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, cast

import pytest
import typer.main

from etl.cli import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
# In a code span, or in a line that is indented as code or fenced.
SHOWN = re.compile(r"`tallyback ([^`]+)`|^(?: {4})?(?:\S*/bin/)?tallyback ([a-z].*)$", re.MULTILINE)


class Parameter(Protocol):
    """An option or argument of a command."""

    opts: list[str]
    secondary_opts: list[str]


class Command(Protocol):
    """A command or group of them: typer ships a click of its own."""

    params: list[Parameter]


def shown(page: Path) -> Iterator[str]:
    for span, line in SHOWN.findall(page.read_text(encoding="utf-8")):
        # A page may show one command and the subcommands of another in one sentence: only the first line counts.
        yield (span or line).split("#")[0].split("\n")[0].strip()


FOUND = [pytest.param(text, id=f"{page.name}: {text}"[:80]) for page in PAGES for text in dict.fromkeys(shown(page))]


def test_commands_were_found() -> None:
    assert len(FOUND) > 20


@pytest.mark.parametrize("text", FOUND)
def test_a_command_that_is_shown_exists(text: str) -> None:
    command = cast("Command", typer.main.get_command(app))
    words = text.split()
    while (inside := getattr(command, "commands", None)) and words and not words[0].startswith("-"):
        assert words[0] in inside, f"there is no `tallyback {text}`"
        command = inside[words.pop(0)]
    # Handed on whole to `python -m sandbox`.
    if text.startswith("sandbox"):
        return
    known = {"--help"} | {option for each in command.params for option in (*each.opts, *each.secondary_opts)}
    assert [word for word in words if word.startswith("--") and word not in known] == []
