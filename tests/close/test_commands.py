"""A month closed by hand from the command line, as a person would, from begin to the auditor's file."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from typer.testing import CliRunner

from etl.cli import app
from tests.accrue.books import version, world
from tests.close.months import accrued
from tests.close.test_export_journal import MAP

FACTS = world([version("3.1005"), version("3.1005", "approved", version_no=2, effective_on=date(2026, 3, 9))])
LATE = version("3.1005", "declined", version_no=3, effective_on=date(2026, 3, 28))


class Desk:
    """The command line of an installation, on a day of the clock."""

    def __init__(self, url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        configuration = folder / "config"
        (configuration / "partners").mkdir(parents=True)
        (configuration / "entity.yaml").write_text("name: house\nbase_currency: EUR\nbooks_zone: Europe/Berlin\n")
        for name, payable_on in (("shop_a", "approval"), ("shop_b", "partner_paid")):
            (configuration / "partners" / f"{name}.yaml").write_text(
                f"name: {name}\npartner: awin\nconnection: awin\nzone: Europe/London\n"
                f"cashback_payable_on: {payable_on}\noptions:\n  start_on: '2026-03-01'\n"
            )
        for name, value in {
            "WAREHOUSE_URL": url, "CONFIGURATION": configuration, "LAKE": folder / "lake",
            "TEMPORARY": folder / "temporary", "CLOCK": folder / "clock.json", "PERSON": "Ann Auditor",
        }.items():  # fmt: skip
            monkeypatch.setenv(f"TALLYBACK_{name}", str(value))
        self.turn("2026-04-05")

    def turn(self, day: str) -> None:
        """Set the clock to the morning of a day."""
        (self.folder / "clock.json").write_text(json.dumps({"now": f"{day}T09:00:00+00:00"}))

    def run(self, *words: str, exit_code: int = 0) -> str:
        """Run a command and return what it prints."""
        result = CliRunner().invoke(app, words, env={"COLUMNS": "200"})
        assert result.exit_code == exit_code, result.output
        return result.output


@pytest.fixture
def office(warehouse_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """An installation whose March is accrued, on the fifth of April."""
    accrued(warehouse_url, tmp_path, FACTS, date(2026, 3, 20))
    return Desk(warehouse_url, tmp_path, monkeypatch)


def test_a_month_is_closed_restated_and_handed_over(warehouse_url: str, office: Desk) -> None:
    assert "begun by Ann Auditor" in office.run("close", "begin", "2026-03")
    assert "0 postings" in office.run("close", "revalue", "2026-03")
    checks = json.loads(office.run("close", "check", "2026-03", "--json"))
    assert all(each["is_ok"] for each in checks)
    finished = office.run("close", "finish", "2026-03")
    assert "2026-03 is closed by Ann Auditor" in finished
    (period,) = json.loads(office.run("close", "list", "--json"))
    assert (period["state"], period["record_hash"]) == ("closed", finished.split()[-1])
    shown = office.run("close", "show", "2026-03")
    assert "commission_receivable" in shown
    assert "3.1005" in shown

    accrued(warehouse_url, office.folder, replace(FACTS, versions=(*FACTS.versions, LATE)), date(2026, 4, 8))
    office.turn("2026-04-08")
    entries = office.folder / "late.csv"
    said = office.run("restatement", "--month", "2026-03", "--csv", str(entries), "--documents")
    assert "-3.1005" in said
    rows = list(csv.DictReader(entries.read_text().splitlines()))
    assert {(row["document_id"], row["cause"]) for row in rows} == {("shop_a:1", "late_reversal")}

    (office.folder / "gl.csv").write_text(MAP)
    office.run("reference", "gl", str(office.folder / "gl.csv"))
    exported = office.run("export", "journal", "--month", "2026-03", "--out", str(office.folder / "erp"))
    assert "journal-house-2026-03.csv" in exported
    assert "bean-check" in office.run("export", "beancount", "--out", str(office.folder / "books.beancount"))
    for known, amount in (("2026-04-05", "-1.55"), ("2026-04-09", "0.00")):
        words = ("balance", "--as-of", "2026-03-31", "--known", known, "--kind", "cashback_payable", "--json")
        assert [each["balance"] for each in json.loads(office.run(*words))["balances"]] == [amount]


def test_what_cannot_be_done_is_told_with_the_next_step(office: Desk) -> None:
    assert "close begin 2026-03" in office.run("close", "finish", "2026-03", exit_code=1)
    assert "is open" in office.run("restatement", "--month", "2026-03", exit_code=1)
    assert "no person" in office.run("close", "begin", "2026-03", "--by", "scheduler", exit_code=1)
    assert "not over" in office.run("close", "begin", "2026-04", exit_code=1)
    assert "blocks" in office.run("close", "check", "2026-04", exit_code=1)
    assert "--draft" in office.run("export", "journal", "--month", "2026-03", "--out", "x", exit_code=1)
    assert "close list" in office.run("close", "show", "2026-03", exit_code=1)
