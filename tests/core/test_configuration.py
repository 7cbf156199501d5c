"""Promises of the configuration: the example is good, and every problem is named with its file, all at once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from etl.cli import app
from etl.core.configuration import load, problems
from etl.core.errors import Stop

EXAMPLE = Path(__file__).resolve().parents[2] / "config"
AWIN = "partners/awin_main.yaml"
RAKUTEN = "partners/rakuten_main.yaml"
BANK = "banks/house_bank.yaml"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(EXAMPLE, tmp_path / "config"))


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_the_example_passes_the_command() -> None:
    result = CliRunner().invoke(app, ["config", "check", str(EXAMPLE)])
    assert result.exit_code == 0, result.output
    assert "5 partner accounts" in result.output
    assert "no problem found" in result.output


def test_the_example_has_an_account_of_every_partner() -> None:
    found = load(EXAMPLE)
    assert {account.partner for account in found.accounts} == {"awin", "cj", "kelkoo", "rakuten", "tradetracker"}
    assert all(account.entity == found.entity.name for account in found.accounts)
    assert found.account("rakuten_main").options["networks"] == ("3", "9")
    source = found.click_source("tracker")
    assert source.conversions is not None
    assert source.payees is not None


def test_the_hash_follows_what_is_said_and_not_how(folder: Path) -> None:
    before = load(folder).hash
    assert before == load(EXAMPLE).hash
    change(folder / AWIN, "calls_per_minute: 20", "calls_per_minute: 20  # a comment")
    assert load(folder).hash == before
    change(folder / AWIN, "calls_per_minute: 20", "calls_per_minute: 10")
    assert load(folder).hash != before


@pytest.mark.parametrize(
    ("file", "old", "new", "told"),
    [
        (AWIN, "zone: Europe/London", "zone: Europe/London\nzones: 1", "'zones' was unexpected"),
        (AWIN, "zone: Europe/London", "zone: Europe/Londres", "'Europe/Londres' is no time zone"),
        ("entity.yaml", "Europe/Berlin", "../../etc/passwd", "is no time zone"),
        (AWIN, "name: awin_main", "name: awin", "must be 'awin_main', as the file is called"),
        (AWIN, "partner: awin", "partner: awwin", "partner: 'awwin' is not one of"),
        (AWIN, "connection: awin\n", "", "'connection' is a required property"),
        (AWIN, "payable_on: approval", "payable_on: someday", "cashback_payable_on: 'someday' is not one of"),
        (AWIN, "calls_per_minute: 20", "calls_per_minute: 0", "options.calls_per_minute: 0 is less than"),
        (
            AWIN,
            "calls_per_minute: 20",
            "call_per_minute: 20",
            "options: Unevaluated properties are not allowed ('call_",
        ),
        (AWIN, 'start_on: "2026-09-01"', "start_on: 2026-09-01", "options.start_on: "),
        (RAKUTEN, '["3", "9"]', '["3", "3"]', "options.networks: ['3', '3'] has non-unique elements"),
        (RAKUTEN, "_{date}.csv", ".csv", "options.file_name: "),
        (RAKUTEN, "directory:", "host_key: ssh-rsa AAAA,ssh-rsa BBBB\n  directory:", "options.host_key: "),
        (BANK, "payments_max: 100000", "batch_booking: yes", "options.batch_booking: True is not one of"),
        (BANK, "payments_max: 100000", "debtor_town: Berlin", "'debtor_country' is a dependency of 'debtor_town'"),
        ("entity.yaml", "base_currency: EUR", "base_currency: euro", "base_currency: 'euro' does not match"),
        ("clicks/tracker.yaml", "overlap_minutes: 360", "overlap_minutes: -1", "overlap_minutes: -1 is less than"),
        ("clicks/tracker.yaml", "table: users", "table: users; drop table x", "payees.table: "),
        (BANK, "threshold_minor: 500", "threshold_minor: 0", "threshold_minor: 0 is less than"),
        (BANK, "rail: sepa", "rail: [", "cannot be read as YAML"),
        ("entity.yaml", '"2026-01-01"', '"2026-02-30"', "clawback: valid_from must be a day that exists"),
        (
            "entity.yaml",
            "review_above_minor: {EUR: 5000}",
            "review_above_minor: {EUR: 400}",
            "must not be above what is",
        ),
        ("entity.yaml", "    write_off_after_days: 365\n", "", "say write_off_after_days, or leave"),
        ("entity.yaml", "{EUR: 500}", '{EUR: 500}\n  - valid_from: "2026-01-01"', "must begin after the one before it"),
    ],
)
def test_what_is_wrong_is_named_with_its_file(folder: Path, file: str, old: str, new: str, told: str) -> None:
    change(folder / file, old, new)
    (problem,) = problems(folder)
    assert problem.startswith(f"{folder / file}: ")
    assert told in problem


def test_a_file_that_is_no_mapping_is_named(folder: Path) -> None:
    (folder / AWIN).write_text("- awin\n", encoding="utf-8")
    (problem,) = problems(folder)
    assert "must hold a mapping" in problem


def test_a_file_that_is_not_text_is_named(folder: Path) -> None:
    (folder / AWIN).write_bytes(b"name: \xff\xfe")
    (problem,) = problems(folder)
    assert str(folder / AWIN) in problem


def test_yaml_cannot_make_objects(folder: Path, tmp_path: Path) -> None:
    made = tmp_path / "made"
    (folder / AWIN).write_text(f"name: !!python/object/apply:os.mkdir ['{made}']\n", encoding="utf-8")
    assert problems(folder)
    assert not made.exists()


def test_a_missing_entity_says_what_to_write(folder: Path) -> None:
    (folder / "entity.yaml").unlink()
    assert any("entity.yaml is missing" in problem for problem in problems(folder))


def test_all_problems_are_told_at_once(folder: Path) -> None:
    change(folder / "entity.yaml", "books_zone: Europe/Berlin", "books_zone: Berlin")
    change(folder / AWIN, "name: awin_main", "name: other")
    change(folder / AWIN, "zone: Europe/London", "colour: blue\nzone: Europe/London")
    change(folder / "banks/house_bank.yaml", "currency: EUR", "currency: Euro")
    assert len(problems(folder)) == 4
    with pytest.raises(Stop) as caught:
        load(folder)
    assert all(problem in str(caught.value) for problem in problems(folder))


def test_the_command_ends_with_1_and_names_the_problem(folder: Path) -> None:
    change(folder / AWIN, "partner: awin", "partner: nobody")
    result = CliRunner().invoke(app, ["config", "check", str(folder)])
    assert result.exit_code == 1
    assert "nobody" in result.output


@pytest.mark.parametrize(
    ("named", "what", "told"),
    [
        (
            lambda found: found.account("x"),
            "partner account",
            "awin_main, cj_main, kelkoo_main, rakuten_main, tradetracker_main",
        ),
        (lambda found: found.click_source("x"), "click source", "tracker"),
        (lambda found: found.bank("x"), "bank", "house_bank"),
    ],
)
def test_a_name_that_is_not_there_tells_those_that_are(named: Callable[..., object], what: str, told: str) -> None:
    with pytest.raises(Stop, match=f"no {what} 'x' .known: {told}"):
        named(load(EXAMPLE))


def test_no_credential_and_no_whole_iban_is_shown() -> None:
    assert "DE89370400440532013000" not in repr(load(EXAMPLE))
