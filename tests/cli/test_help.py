"""Promises of the command line's help: every command teaches, and asking for help never fails."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, cast

import pytest
import typer.main
from typer.testing import CliRunner

from etl.cli import app

ROOT = Path(__file__).resolve().parents[2]
# Handed on whole to `python -m sandbox`, which has a help of its own.
PASSED_ON = ("sandbox",)


class Parameter(Protocol):
    """An argument or option, as far as this test looks at it: typer ships a click of its own."""

    name: str | None


class Command(Protocol):
    """A command or group of them."""

    help: str | None
    params: list[Parameter]


def commands(command: Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Command]]:
    yield path, command
    for name, each in sorted(getattr(command, "commands", {}).items()):
        yield from commands(each, (*path, name))


ROOT_COMMAND = cast("Command", typer.main.get_command(app))
FOUND = [pytest.param(path, command, id=" ".join(path) or "tallyback") for path, command in commands(ROOT_COMMAND)]


def test_there_are_commands() -> None:
    assert len(FOUND) > 15


@pytest.mark.parametrize(("path", "command"), FOUND)
def test_help_ends_with_0_and_says_what_the_command_does(path: tuple[str, ...], command: Command) -> None:
    text = (command.help or "").strip()
    assert len(text.split()) >= 2, "say in a sentence what it does"
    if path == PASSED_ON:
        return
    result = CliRunner().invoke(app, [*path, "--help"], terminal_width=200)
    assert result.exit_code == 0, result.output
    assert text.split()[0] in result.output


@pytest.mark.parametrize(("path", "command"), FOUND)
def test_every_argument_and_option_is_explained(path: tuple[str, ...], command: Command) -> None:
    shown = [each for each in command.params if not getattr(each, "hidden", False) and each.name != "help"]
    completion = ("install_completion", "show_completion")
    silent = [each.name for each in shown if each.name not in completion and not getattr(each, "help", None)]
    assert silent == []


def test_the_first_page_names_the_daily_work() -> None:
    page = CliRunner().invoke(app, ["--help"], terminal_width=200).output
    for name in ("run", "verify", "report", "match", "payout", "breaks"):
        assert name in page


def test_the_sandbox_answers_for_itself() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "sandbox", "--help"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert result.returncode == 0
    assert "truth" in result.stdout


def test_no_settings_are_needed_for_help(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TALLYBACK_WAREHOUSE_URL", raising=False)
    assert CliRunner().invoke(app, ["run", "--help"]).exit_code == 0


def test_a_missing_setting_is_one_message_and_no_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("TALLYBACK_WAREHOUSE_URL", raising=False)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["db", "migrate"])
    assert result.exit_code == 1
    assert "TALLYBACK_WAREHOUSE_URL" in result.output
    assert "Traceback" not in result.output


def test_migrating_without_a_server_is_one_message_and_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALLYBACK_WAREHOUSE_URL", "postgresql://owner:hunter2@127.0.0.1:9/x?connect_timeout=1")
    result = CliRunner().invoke(app, ["db", "migrate"])
    assert result.exit_code == 75
    assert result.output.startswith("Not now: the warehouse does not answer")
    assert "hunter2" not in result.output
