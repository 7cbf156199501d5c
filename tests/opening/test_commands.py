"""Going live from the command line: an opening, a present, a debt, as people type it and read it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from etl.cli import app
from etl.core.encryption import create_key_file

OPENING = """kind,owner,reference,currency,amount,as_of
cashback_payable,m1,,EUR,12.50,2026-02-28
cashback_payable,m2,,EUR,-3.00,2026-02-28
"""
ENTITY = """name: house
base_currency: EUR
books_zone: Europe/Berlin
clawback:
  - valid_from: "2026-01-01"
    review_above_minor: {EUR: 200}
"""


@pytest.fixture
def site(warehouse_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A site without partners in a folder of its own, with its opening beside it."""
    configuration = tmp_path / "config"
    configuration.mkdir()
    (configuration / "entity.yaml").write_text(ENTITY)
    (tmp_path / "opening.csv").write_text(OPENING)
    (tmp_path / "letter.txt").write_text("Dear house")
    create_key_file(tmp_path / "keys")
    for name, value in (
        ("WAREHOUSE_URL", warehouse_url), ("CONFIGURATION", configuration), ("LAKE", tmp_path / "lake"),
        ("TEMPORARY", tmp_path / "temporary"), ("KEY_FILE", tmp_path / "keys"),
    ):  # fmt: skip
        monkeypatch.setenv(f"TALLYBACK_{name}", str(value))
    return tmp_path


def _run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words), terminal_width=200)


def _said(*words: str) -> str:
    run = _run(*words)
    assert run.exit_code == 0, run.output
    return run.output


def test_a_site_goes_live_from_the_command_line(site: Path) -> None:
    load = ("opening", "load", str(site / "opening.csv"), "--by", "Olga", "--control")
    wrong = _run(*load, "cashback_payable:EUR=9.60")
    assert wrong.exit_code == 1 and "the rows sum to 9.50, the control total is 9.60: -0.10 too little" in wrong.output
    assert "is no control total: write KIND:CURRENCY=TOTAL" in _run(*load, "EUR=9.50").output
    assert "tallyback opening approve go-live --revision 1" in _said(*load, "cashback_payable:EUR=9.50")
    assert "waits for another person" in _said("opening", "list")
    assert "EUR -3.00  2026-02-28" in _said("opening", "show", "go-live")
    assert _run("opening", "approve", "go-live", "--revision", "1", "--by", "olga").exit_code == 1
    assert "2 opening postings" in _said("opening", "approve", "go-live", "--revision", "1", "--by", "Pavel")
    (row,) = json.loads(_said("opening", "list", "--json"))
    assert (row["control"], row["approved_by"]) == ({"cashback_payable:EUR": "9.50"}, "Pavel")

    (debt,) = json.loads(_said("debts", "--json"))
    assert (debt["member_id"], debt["owed"], debt["next_step"]) == ("m2", "3.00", "a person looks at it")
    assert "Owed back: EUR 3.00, of which 3.00 is left" in _said("statement", "m2")

    shown = ("--reason", "the letter", "--evidence", str(site / "letter.txt"), "--by", "Mia")
    _said("adjust", "propose", "goodwill", "m2", "5.00", "EUR", *shown)
    ((row),) = json.loads(_said("adjust", "list", "--state", "proposed", "--json"))
    name = row["adjustment_id"]
    assert _run("adjust", "approve", name, "--by", "Mia").exit_code == 1
    _said("adjust", "evidence", name, "--out", str(site / "look.txt"))
    assert (site / "look.txt").read_text() == "Dear house"
    assert "1 adjustment postings" in _said("adjust", "approve", name, "--by", "Noah")
    assert "Proposed as A-" in _said("adjust", "reverse", name, *shown)
    assert "takes back " + name in _said("adjust", "list")
    assert "No member owes anything." in _said("debts")
    assert "was taken off Goodwill of" in _said("statement", "m2")
    assert "payable EUR 2.00" in _said("statement", "m2")
