"""Programs and rules from CSV: loaded once, never changed by the way, and every fault told with its place."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from etl.core.errors import Stop
from etl.reference import load_programs, load_rules
from tests.accrue.books import context

PROGRAMS = (
    "program_id,merchant_id,partner,partner_program_id,name,currency,commission_rate,lookback_days,validation_days,"
    "valid_from,valid_until\n"
)
PROGRAM = "p1,m1,awin,9000,Harbour & Vale,EUR,0.05,30,14,2024-09-01T00:00:00Z,\n"
RULES = "rule_id,program_id,basis,value,cap,currency,rounding,valid_from,valid_until\n"
RULE = "r1,p1,commission_share,0.5,25.00,EUR,half_up,2024-09-01T00:00:00Z,\n"


def _programs(url: str, folder: Path, *lines: str, header: str = PROGRAMS) -> tuple[int, int, int]:
    path = folder / "programs.csv"
    path.write_text(header + "".join(lines), encoding="utf-8")
    result = load_programs(context(url, folder), path)
    return result.count("new"), result.count("changed"), result.count("known")


def _rules(url: str, folder: Path, *lines: str) -> tuple[int, int, int]:
    path = folder / "cashback_rules.csv"
    path.write_text(RULES + "".join(lines), encoding="utf-8")
    result = load_rules(context(url, folder), path)
    return result.count("new"), result.count("changed"), result.count("known")


def _count(url: str, table: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    assert row is not None
    return int(row[0])


def test_a_second_load_writes_nothing(warehouse_url: str, tmp_path: Path) -> None:
    assert _programs(warehouse_url, tmp_path, PROGRAM) == (1, 0, 0)
    assert _programs(warehouse_url, tmp_path, PROGRAM) == (0, 0, 1)
    assert _rules(warehouse_url, tmp_path, RULE) == (1, 0, 0)
    assert _rules(warehouse_url, tmp_path, RULE) == (0, 0, 1)


def test_a_name_may_change_and_an_end_may_be_set_once(warehouse_url: str, tmp_path: Path) -> None:
    _programs(warehouse_url, tmp_path, PROGRAM)
    ended = PROGRAM.replace("Vale", "Hill").replace("Z,\n", "Z,2026-01-01T00:00:00+01:00\n")
    assert _programs(warehouse_url, tmp_path, ended) == (0, 1, 0)
    assert _programs(warehouse_url, tmp_path, ended) == (0, 0, 1)
    with pytest.raises(Stop, match=r"line 2, column valid_until: .* differs from 2025-12-31 23:00:00"):
        _programs(warehouse_url, tmp_path, ended.replace("2026-01-01", "2026-02-01"))


@pytest.mark.parametrize(("before", "after", "column"), [("0.05", "0.06", "commission_rate"), (",30,", ",45,", "look")])
def test_known_terms_that_change_stop_the_load(
    warehouse_url: str, tmp_path: Path, before: str, after: str, column: str
) -> None:
    _programs(warehouse_url, tmp_path, PROGRAM)
    other = PROGRAM.replace("p1,", "p2,").replace("9000", "9001")
    with pytest.raises(Stop, match=f"line 3, column {column}.*end that one by valid_until"):
        _programs(warehouse_url, tmp_path, other, PROGRAM.replace(before, after))
    assert _count(warehouse_url, "ref.program") == 1


def test_a_known_rule_keeps_its_value(warehouse_url: str, tmp_path: Path) -> None:
    _rules(warehouse_url, tmp_path, RULE)
    with pytest.raises(Stop, match=r"line 2, column value: 0\.6 differs from 0\.5"):
        _rules(warehouse_url, tmp_path, RULE.replace("0.5", "0.6"))


def test_new_terms_follow_the_old_ones_under_a_key_of_their_own(warehouse_url: str, tmp_path: Path) -> None:
    _rules(warehouse_url, tmp_path, RULE)
    # What is past when it is loaded is changed by a correction only.
    ended = RULE.replace("Z,\n", "Z,2026-05-01T00:00:00Z\n")
    later = "r2,p1,sale_rate,0.02,25.00,EUR,half_up,2026-05-01T00:00:00Z,\n"
    assert _rules(warehouse_url, tmp_path, later, ended) == (1, 1, 0)


def test_two_rules_in_force_at_once_are_refused(warehouse_url: str, tmp_path: Path) -> None:
    with pytest.raises(Stop, match="r1 and r2 are both in force"):
        _rules(warehouse_url, tmp_path, RULE, RULE.replace("r1", "r2").replace("2024", "2025"))
    assert _count(warehouse_url, "ref.cashback_rule") == 0


def test_two_programs_for_one_programme_of_a_partner_are_refused(warehouse_url: str, tmp_path: Path) -> None:
    with pytest.raises(Stop, match="p1 and p2 are both in force"):
        _programs(warehouse_url, tmp_path, PROGRAM, PROGRAM.replace("p1", "p2"))


@pytest.mark.parametrize(
    ("before", "after", "column"),
    [
        ("0.05", "5%", "commission_rate"),
        ("0.05", "1e999990", "commission_rate"),
        ("0.05", "NaN", "commission_rate"),
        ("0.05", "-0.05", "commission_rate"),
        ("0.05", "0.0500001", "commission_rate"),
        (",30,", ",1_0,", "lookback_days"),
        (",30,", ",0,", "lookback_days"),
        (",30,", ",,", "lookback_days"),
        ("EUR", "eur", "currency"),
        ("2024-09-01T00:00:00Z", "2024-09-01", "valid_from"),
        ("2024-09-01T00:00:00Z", "2024-09-31T00:00:00Z", "valid_from"),
        ("Z,\n", "Z,2024-09-01T00:00:00Z\n", "valid_until"),
        ("p1", " p1", "program_id"),
        ("p1", "", "program_id"),
    ],
)
def test_a_value_without_its_form_is_told_with_line_and_column(
    warehouse_url: str, tmp_path: Path, before: str, after: str, column: str
) -> None:
    with pytest.raises(Stop, match=f"line 2, column {column}"):
        _programs(warehouse_url, tmp_path, PROGRAM.replace(before, after, 1))
    assert _count(warehouse_url, "ref.program") == 0


def test_all_faults_of_a_file_are_told_at_once(warehouse_url: str, tmp_path: Path) -> None:
    with pytest.raises(Stop) as caught:
        _programs(warehouse_url, tmp_path, PROGRAM.replace("EUR", "E"), PROGRAM.replace("0.05", "x"), "a,b\n")
    assert str(caught.value).count("\n") == 3


@pytest.mark.parametrize(
    "header", ["", "program_id\n", PROGRAMS.replace("name", "title"), PROGRAMS.replace("name", "partner")]
)
def test_other_columns_than_the_known_ones_are_refused(warehouse_url: str, tmp_path: Path, header: str) -> None:
    with pytest.raises(Stop, match="line 1: the columns must be program_id"):
        _programs(warehouse_url, tmp_path, header=header)


def test_bytes_that_are_not_utf8_or_a_broken_quote_are_refused(warehouse_url: str, tmp_path: Path) -> None:
    (tmp_path / "latin.csv").write_bytes(PROGRAMS.encode() + PROGRAM.replace("Vale", "Valé").encode("latin-1"))
    with pytest.raises(Stop, match="is not UTF-8"):
        load_programs(context(warehouse_url, tmp_path), tmp_path / "latin.csv")
    with pytest.raises(Stop, match="check its quotes"):
        _programs(warehouse_url, tmp_path, PROGRAM.replace("Harbour", '"Harbour'))


def test_a_file_that_a_spreadsheet_saved_is_read(warehouse_url: str, tmp_path: Path) -> None:
    text = ("\ufeff" + PROGRAMS + PROGRAM.replace("Harbour & Vale", '"Harbour, ""Vale"""')).replace("\n", "\r\n")
    (tmp_path / "p.csv").write_bytes(text.encode())
    assert load_programs(context(warehouse_url, tmp_path), tmp_path / "p.csv").count("new") == 1
