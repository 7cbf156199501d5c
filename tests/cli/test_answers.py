"""Promises of the command line on a world that lived: answers are whole, errors say what to do, people pay with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from etl.cli import app
from tests.world.conftest import House, house_of

__all__ = ["house_of"]
MORNINGS = ["2026-09-25T06:30:00", "2026-11-20T06:30:00"]


WRONG: list[tuple[str, ...]] = [
    ("fetch", "nosuch"),
    ("clicks", "nosuch"),
    ("payout", "select", "nosuch"),
    ("payout", "transmit", "nosuch"),
    ("payout", "settle", "nosuch"),
    ("payout", "return", "nosuch", "--reason", "x"),
    ("payout", "cancel", "nosuch", "--reason", "x"),
    ("export", "batch", "nosuch"),
    ("release", "nosuch", "--reason", "x"),
    ("breaks", "resolve", "nosuch", "--as", "accept_click", "--click", "c", "--reason", "x"),
    ("breaks", "resolve", "--kind", "unmatched", "--as", "forget", "--reason", "x"),
    ("breaks", "resolve", "--as", "no_cashback", "--reason", "x"),
    ("breaks", "undo", "0123456789ab", "--reason", "x"),
    ("breaks", "agree", "0123456789ab", "--reason", "x"),
    ("breaks", "list", "--state", "gone"),
    ("breaks", "list", "--at-least", "much"),
    ("report", "--month", "2030-01"),
    ("fetch", "awin_main", "--from", "2026-09-01"),
    ("fetch", "awin_main", "--from", "2026-09-02", "--until", "2026-09-01"),
]
"""What nobody has, or what makes no sense."""


@dataclass(slots=True)
class Keyboard:
    """The command line of one world, as whoever sits at it."""

    house: House

    def type(self, *words: str, expect: int = 0, person: str = "robin") -> str:
        """Return everything a command printed; it must end with the status expected."""
        environment = {**self.house.variables, "TALLYBACK_PERSON": person, "COLUMNS": "60"}
        result = CliRunner().invoke(app, list(words), env=environment)
        assert result.exit_code == expect, (words, result.output, result.exception)
        assert "Traceback" not in result.output
        return result.output

    def ask(self, *words: str) -> Any:
        """Return the JSON document that a question is answered with."""
        return json.loads(self.type(*words, "--json"))

    def one(self, query: str) -> str:
        """Return one value of the warehouse."""
        with psycopg.connect(self.house.variables["TALLYBACK_WAREHOUSE_URL"]) as connection:
            row = connection.execute(query).fetchone()
        assert row is not None
        return str(row[0])


def keyboard_of(house: House) -> Keyboard:
    for morning in MORNINGS:
        house.live(morning)
    return Keyboard(house)


@pytest.mark.timeout(600)
def test_questions_are_answered_whole_and_as_json(house_of: Callable[[str, int], House]) -> None:
    keyboard = keyboard_of(house_of("small", 2))
    breaks = keyboard.ask("breaks", "list", "--limit", "1000")
    assert breaks
    listed = keyboard.type("breaks", "list", "--limit", "1000")
    # The window is 60 columns wide, and still nothing is cut.
    assert all(each["transaction_id"] in listed and each["kind"] in listed for each in breaks)
    assert "…" not in listed
    kind = breaks[0]["kind"]
    assert all(each["kind"] == kind for each in keyboard.ask("breaks", "list", "--kind", kind))
    amounts = [each["amount"] for each in keyboard.ask("breaks", "list", "--at-least", "5")]
    assert all(abs(float(amount)) >= 5 for amount in amounts)
    assert "Kinds that are open: " in keyboard.type("breaks", "list", "--kind", "nosuch")
    assert "known: awin_main" in keyboard.type("breaks", "list", "--account", "nosuch", expect=1)
    sale = next(each["sale_id"] for each in breaks if each["kind"] in {"unmatched", "ambiguous", "outside_window"})
    clicks, shown = keyboard.ask("breaks", "candidates", sale), keyboard.type("breaks", "candidates", sale)
    assert all(each["click_id"] in shown for each in clicks)

    decide_about_breaks(keyboard, kind)

    held, shown = keyboard.ask("holds"), keyboard.type("holds")
    assert all(each["delivery_id"] in shown for each in held)
    assert keyboard.ask("rejects") == []
    assert "No row was rejected." in keyboard.type("rejects")
    assert "known: awin_main" in keyboard.type("rejects", "--account", "nosuch", expect=1)

    transaction = keyboard.one("SELECT transaction_id FROM ops.match WHERE click_id IS NOT NULL ORDER BY 1 LIMIT 1")
    click = keyboard.one(f"SELECT click_id FROM ops.match WHERE transaction_id = '{transaction}'")
    told = keyboard.type("trace", transaction)
    delivery = keyboard.one(f"SELECT delivery_id FROM ops.transaction_version WHERE transaction_id = '{transaction}'")
    assert click in told and delivery[:12] in told and "posting" in told
    assert transaction in keyboard.type("trace", click)
    assert keyboard.ask("trace", click)
    assert "check it for typing mistakes" in keyboard.type("trace", "nosuch", expect=1)

    assert "checks hold" in keyboard.type("verify")
    assert all(each["difference"] == "0" for each in keyboard.ask("verify"))
    assert "no problem found" in keyboard.type("config", "check")
    looked = keyboard.type("doctor", expect=0 if all(each["ok"] for each in keyboard.ask("doctor")) else 1)
    assert "TALLYBACK_WAREHOUSE_URL" in looked
    assert "0 new versions" in keyboard.type("run")


def decide_about_breaks(keyboard: Keyboard, kind: str) -> None:
    """Decide about breaks from the keyboard: shown first, by a script exactly that, by two persons above the limit."""
    meant = ("breaks", "resolve", "--kind", kind, "--as", "wait", "--until", "2027-01-01", "--reason", "they look")
    shown = keyboard.ask(*meant)
    assert f"--yes --expect {shown['expect']}" in keyboard.type(*meant)
    assert keyboard.ask("breaks", "decisions") == []
    keyboard.type(*meant, "--yes", "--expect", "0" * 32, expect=1)
    assert "Recorded: " in keyboard.type(*meant, "--yes", "--expect", shown["expect"])
    assert "Recorded before: " in keyboard.type(*meant, "--yes", "--expect", shown["expect"])
    assert "nothing is decided" in keyboard.type(*meant, "--yes")
    assert keyboard.ask("breaks", "list", "--kind", kind) == []
    assert "waiting until 2027-01-01" in keyboard.type("breaks", "list", "--kind", kind, "--state", "waiting")
    assert "for a day: --state waiting" in keyboard.type("breaks", "list")
    batch = keyboard.ask("breaks", "decisions")[0]["batch_id"][:12]
    assert batch in keyboard.type("breaks", "decisions")
    assert "Undone: " in keyboard.type("breaks", "undo", batch, "--reason", "not worth it")
    name = keyboard.ask("breaks", "list", "--kind", kind)[0]["name"][:12]
    entity = Path(keyboard.house.variables["TALLYBACK_CONFIGURATION"]) / "entity.yaml"
    text = entity.read_text(encoding="utf-8")
    entity.write_text(f'{text}\nsecond_person_above: "0"\n', encoding="utf-8")
    one = ("breaks", "resolve", name, "--as", "wait", "--until", "2027-01-01", "--reason", "they look")
    assert "Proposed: 1 decision" in keyboard.type(*one)
    assert "proposed by robin" in keyboard.type("breaks", "list", "--state", "proposed")
    (proposal,) = [each["decision_id"][:12] for each in keyboard.ask("breaks", "proposals")]
    assert proposal in keyboard.type("breaks", "proposals")
    assert "another person" in keyboard.type("breaks", "agree", proposal, "--reason", "so do I", expect=1)
    assert "Agreed: 1 decision" in keyboard.type("breaks", "agree", proposal, "--reason", "so do I", person="alex")
    assert "agreed by alex" in keyboard.type("breaks", "decisions")
    assert "Proposed to undo" in keyboard.type("breaks", "undo", proposal, "--reason", "no")
    undoing = keyboard.ask("breaks", "proposals")[0]["decision_id"]
    assert "Refused: 1 decision" in keyboard.type("breaks", "refuse", undoing, "--reason", "yes", person="alex")
    entity.write_text(text, encoding="utf-8")


@pytest.mark.timeout(600)
def test_a_batch_is_paid_from_the_keyboard_by_two_people(house_of: Callable[[str, int], House]) -> None:
    keyboard = keyboard_of(house_of("tiny", 1))
    for words in WRONG:
        output = keyboard.type(*words, expect=1)
        assert output.startswith("Stopped: "), words
        assert len(output) > 40, words
    assert "No batch yet" in keyboard.type("payout", "list")
    assert "frozen" in keyboard.type("payout", "select", "house_bank")
    (batch,) = keyboard.ask("payout", "list")
    name, sha256 = batch["batch_id"], batch["sha256"]
    listed = keyboard.type("payout", "list")
    assert f"tallyback payout approve {name} --sha256 {sha256}" in listed
    assert "another person" in keyboard.type("payout", "approve", name, "--sha256", sha256, expect=1)
    assert "approv" in keyboard.type("payout", "transmit", name, expect=1)
    keyboard.type("payout", "approve", name, "--sha256", "0" * 64, expect=1, person="alex")
    approved = keyboard.type("payout", "approve", name, "--sha256", sha256, person="alex")
    assert f"tallyback payout transmit {name}" in approved
    keyboard.type("export", "batch", name)
    assert keyboard.ask("payout", "list")[0]["sha256"] == sha256
    assert "sent" in keyboard.type("payout", "transmit", name)
    assert keyboard.ask("payout", "list")[0]["approved_by"] == "alex"
    assert "neither sent nor not_sent" in keyboard.type("payout", "resolve", name, "maybe", "--evidence", "x", expect=1)
    assert "nothing to resolve" in keyboard.type("payout", "resolve", name, "sent", "--evidence", "x", expect=1)
    payout = keyboard.one("SELECT payout_id FROM payout.payout ORDER BY payout_id LIMIT 1")
    assert "1 payout is returned" in keyboard.type("payout", "return", payout, "--reason", "AC04 account closed")
    assert "known already" in keyboard.type("payout", "return", payout, "--reason", "AC04 account closed")
    assert "settled" in keyboard.type("payout", "settle", name)
    assert "nothing to book" in keyboard.type("payout", "settle", name)
    assert "the bank may have it" in keyboard.type("payout", "cancel", name, "--reason", "late", expect=1)
    traced = keyboard.type("trace", payout)
    assert keyboard.one(f"SELECT document_id FROM payout.payout_line WHERE payout_id = '{payout}' LIMIT 1") in traced
    assert "checks hold" in keyboard.type("verify")
