"""What is short, what would be, and rules corrected: as people type it and read it."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from etl.cli import app
from tests.accrue.books import ACCOUNTS, balances, book, read, term, version, world

DAY = ("--day", "2026-03-20")
CORRECTED = """rule_id,program_id,basis,value,cap,currency,rounding,valid_from,valid_until,commission_group,component
r1,p1,commission_share,0.6,,EUR,half_even,2025-01-01T00:00:00Z,,,
"""


@pytest.fixture
def house(warehouse_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation whose books hold one approved sale, of which its contract says 12 and the partner 10."""
    (tmp_path / "config" / "partners").mkdir(parents=True)
    (tmp_path / "config" / "entity.yaml").write_text("name: house\nbase_currency: EUR\nbooks_zone: Europe/Berlin\n")
    for name, payable_on in ACCOUNTS.items():
        (tmp_path / "config" / "partners" / f"{name}.yaml").write_text(
            f"name: {name}\npartner: awin\nconnection: awin\nzone: Europe/London\ncashback_payable_on: {payable_on}\n"
            "options:\n  start_on: '2026-03-01'\n"
        )
    book(warehouse_url, tmp_path, world([version("10", "approved")], terms=(term("0.12"),)), date(2026, 3, 20))
    (tmp_path / "corrected.csv").write_text(CORRECTED)
    for name, value in (
        ("WAREHOUSE_URL", warehouse_url), ("CONFIGURATION", tmp_path / "config"), ("LAKE", tmp_path / "lake"),
        ("TEMPORARY", tmp_path / "temporary"),
    ):  # fmt: skip
        monkeypatch.setenv(f"TALLYBACK_{name}", str(value))
    return tmp_path


def _run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words), terminal_width=200)


def _said(*words: str) -> str:
    run = _run(*words)
    assert run.exit_code == 0, run.output
    return run.output


def test_a_rule_is_corrected_from_the_command_line(house: Path, warehouse_url: str) -> None:
    assert "1 sale compared with the contract, 1 sale short" in _said(
        "shortfall", "--csv", str(house / "claim.csv"), *DAY
    )
    claimed = (house / "claim.csv").read_text(encoding="utf-8")
    assert "shortfall" in claimed and "12.00" in claimed and "member-1" not in claimed

    refused = _run("what-if", *DAY)
    assert refused.exit_code == 1 and "say one of --rules, --contracts, --correction" in refused.output
    shown = _said("what-if", "--rules", str(house / "corrected.csv"), "--from", "2026-01-01", *DAY)
    assert "1 member would be owed something else" in shown and "+1.00" in shown

    correction = (
        _said("rules", "correct", str(house / "corrected.csv"), "--by", "Clara").split("correction ")[1].split(".")[0]
    )
    proposed = ("--from", "2026-01-01", *DAY)
    effect = json.loads(_said("what-if", "--correction", correction, *proposed, "--json"))["effect"]
    apply = ("rules", "apply", correction, *proposed, "--reason", "the shop says so", "--by", "Clara", "--effect")
    stale = _run(*apply, "0" * len(effect))
    assert stale.exit_code == 1 and effect not in stale.output
    decision = _said(*apply, effect).split("decision ")[1].split(".")[0]
    assert f"decision {decision}" in _said("rules", "list")

    _said("accrue", "main", *DAY)
    assert balances(read(warehouse_url))["cashback_payable", "EUR/2"] == -600
    undo = json.loads(_said("what-if", "--undo", decision, *DAY, "--json"))["effect"]
    _said("rules", "undo", decision, "--reason", "they meant April", "--by", "Clara", "--effect", undo, *DAY)
    _said("accrue", "main", *DAY)
    assert balances(read(warehouse_url))["cashback_payable", "EUR/2"] == -500
