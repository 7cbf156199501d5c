"""A remittance file becomes whole remittances that tie, and rejects that say why; again, it writes nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest

from etl.core.configuration import RemittanceLayout
from etl.core.errors import Stop
from etl.remittances import layout_of, load_folder, load_remittances
from tests.accrue.books import context
from tests.remit.statements import LUMP, line, load, statement, stored, write_csv

NOW = datetime.fromisoformat("2026-05-01T12:00")
PAID = line("commission", "10.00", transaction_id="1")


def _reasons(url: str) -> list[str]:
    return [str(row[0]) for row in stored(url, "SELECT reason FROM ops.remittance_reject ORDER BY reject_no")]


def test_a_statement_is_stored_as_it_is_told_and_known_the_second_time(warehouse_url: str, tmp_path: Path) -> None:
    here = context(warehouse_url, tmp_path, known_at=NOW)
    rows = statement(
        line("commission", "8.0005", transaction_id="1", line_id="a"),
        line("commission", "1.9995", payment_ref="P-7"),
        line("vat", "1.90"),
        line("withholding", "-0.50"),
        line("fee", "-0.30"),
        vat="1.90",
        withholding="0.5",
        gross="11.90",
        bank_amount="11.10",
    )
    assert load(here, rows).counts == (("new", 1), ("known", 0), ("lines", 5), ("rejects", 0))
    assert stored(warehouse_url, "SELECT received_on, net, bank_amount, coverage FROM ops.remittance") == [
        (date(2026, 4, 15), Decimal("10.0000"), Decimal("11.1000"), "lines")
    ]
    before = stored(warehouse_url, "SELECT xmin::text, f.* FROM ops.remittance_file AS f")
    again = load(context(warehouse_url, tmp_path, "run-2", NOW), rows)
    assert again.counts == (("new", 0), ("known", 1), ("lines", 0), ("rejects", 0))
    assert stored(warehouse_url, "SELECT xmin::text, f.* FROM ops.remittance_file AS f") == before


def test_a_lump_sum_has_a_period_and_its_lines_are_its_head(warehouse_url: str, tmp_path: Path) -> None:
    here = context(warehouse_url, tmp_path, known_at=NOW)
    load(here, statement(**LUMP, vat="1.90", withholding="1", gross="11.90", bank_amount="10.90"))
    assert stored(warehouse_url, "SELECT kind, amount FROM ops.remittance_line ORDER BY line_no") == [
        ("commission", Decimal("10.0000")),
        ("vat", Decimal("1.9000")),
        ("withholding", Decimal("-1.0000")),
    ]


@pytest.mark.parametrize(
    ("lines", "head", "reason"),
    [
        ([line("commission", "9.99", transaction_id="1")], {}, "9.9900 of net, its head says 10.0000: 0.0100 differ"),
        ([PAID], {"gross": "10.01"}, "gross 10.0100 is not net 10.0000 and vat 0.0000: 0.0100 differ"),
        ([PAID, line("vat", "2")], {}, "2.0000 of vat, its head says 0.0000: -2.0000 differ"),
        ([PAID, line("withholding", "-1")], {}, "of withholding"),
        ([PAID], {"received_on": "2026-05-02"}, "has not come yet"),
        ([PAID], {"received_on": ""}, "no received_on"),
        ([PAID], {"bank": ""}, "has no bank"),
        ([PAID], {"bank_amount": "10.001"}, "more than 2 digits"),
        ([PAID], {"bank_amount": "-10"}, "below zero"),
        ([PAID], {"period_from": "2026-03-01"}, "both period_from and period_until"),
        ([PAID], LUMP, "it is one or the other"),
        ([{}], {}, "says neither lines nor a period"),
        ([PAID, {}], {}, "stands alone"),
        ([{**PAID, "payment_ref": "P"}], {}, "which of them"),
        ([{**PAID, "transaction_id": "", "line_id": "a"}], {}, "without its transaction_id"),
        ([PAID, line("fee", "-1", transaction_id="1")], {}, "pays no transaction"),
        ([{**PAID, "line_amount": ""}], {}, "no line_amount"),
        ([{**PAID, "line_kind": ""}], {}, "no line_kind"),
        ([PAID, {**PAID, "due_on": "2026-04-29"}], {}, "due_on is 2026-04-30 in row 1 and 2026-04-29 in row 2"),
    ],
)
def test_what_does_not_hold_together_is_refused_with_the_reason(
    warehouse_url: str, tmp_path: Path, lines: list[dict[str, str]], head: dict[str, str], reason: str
) -> None:
    here = context(warehouse_url, tmp_path, known_at=NOW)
    other = statement(PAID, remittance_id="R-2")
    result = load(here, [*statement(*lines, **head), *other])
    assert (result.count("new"), result.count("rejects")) == (1, 1)
    (told,) = _reasons(warehouse_url)
    assert reason in told
    assert reason in result.note
    assert stored(warehouse_url, "SELECT remittance_id FROM ops.remittance") == [("R-2",)]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("net", "1e3"),
        ("net", "1_000"),
        ("net", "1,000.00"),
        ("net", "10.00001"),
        ("net", "9" * 15),
        ("net", "9" * 100_000),
        ("net", "NaN"),
        ("net", " 10.00"),
        ("net", "١٠"),
        ("net", ""),
        ("received_on", "2026-02-30"),
        ("received_on", "15.04.2026"),
        ("currency", "eur"),
        ("line_kind", "bonus"),
        ("remittance_id", ""),
        ("remittance_id", "R\u202e1"),
        ("revision", "0"),
        ("invoice_ref", "x" * 301),
    ],
)
def test_a_value_without_its_form_refuses_its_remittance_and_no_other(
    warehouse_url: str, tmp_path: Path, column: str, value: str
) -> None:
    here = context(warehouse_url, tmp_path, known_at=NOW)
    result = load(here, [*statement({**PAID, column: value}), *statement(PAID, remittance_id="R-2")])
    assert (result.count("new"), result.count("rejects")) == (1, 1)
    (row,) = stored(warehouse_url, "SELECT column_name, left(value, 200), row_number FROM ops.remittance_reject")
    assert row == (column, value[:200], 1)


def test_one_wrong_row_refuses_the_whole_remittance(warehouse_url: str, tmp_path: Path) -> None:
    here = context(warehouse_url, tmp_path, known_at=NOW)
    half = line("commission", "5.00", transaction_id="1")
    assert load(here, statement(half, {**half, "line_amount": "5,00"})).count("new") == 0
    assert any("the whole remittance is" in reason for reason in _reasons(warehouse_url))


def test_a_correction_has_a_higher_revision_and_the_order_of_loading_does_not_matter(
    warehouse_url: str, tmp_path: Path
) -> None:
    first = statement(PAID)
    second = statement(line("commission", "9.00", transaction_id="1"), net="9.00", gross="9.00", revision="2")
    for number, rows in enumerate((second, first, second)):
        load(context(warehouse_url, tmp_path, f"run-{number}", NOW), rows, name=f"{number}.csv")
    assert stored(warehouse_url, "SELECT revision, net, is_superseded FROM mart.remittance ORDER BY revision") == [
        (1, Decimal("10.0000"), True),
        (2, Decimal("9.0000"), False),
    ]


def test_another_content_under_a_known_revision_is_refused(warehouse_url: str, tmp_path: Path) -> None:
    load(context(warehouse_url, tmp_path, known_at=NOW), statement(PAID))
    changed = statement(line("commission", "9.00", transaction_id="1"), net="9.00", gross="9.00")
    result = load(context(warehouse_url, tmp_path, "run-2", NOW), changed, name="other.csv")
    assert (result.count("new"), result.count("rejects")) == (0, 1)
    assert "give a correction a higher revision" in result.note
    assert stored(warehouse_url, "SELECT net FROM ops.remittance") == [(Decimal("10.0000"),)]


def test_nobody_changes_a_remittance(warehouse_url: str, tmp_path: Path) -> None:
    load(context(warehouse_url, tmp_path, known_at=NOW), statement(PAID))
    with psycopg.connect(warehouse_url) as connection:
        for text in ("UPDATE {} SET revision = 9", "DELETE FROM {}"):
            for table in ("ops.remittance", "ops.remittance_line"):
                with pytest.raises(psycopg.errors.RaiseException), connection.transaction():
                    connection.execute(text.format(table).encode())


def test_a_layout_says_what_a_partner_calls_things_and_how_it_writes_them(warehouse_url: str, tmp_path: Path) -> None:
    here = context(warehouse_url, tmp_path, known_at=NOW)
    layout = RemittanceLayout(
        columns={
            "remittance_id": "Beleg", "received_on": "Valuta", "net": "Netto", "vat": "USt", "gross": "Brutto",
            "bank_amount": "Betrag", "line_kind": "Art", "transaction_id": "Nummer", "line_amount": "Summe",
        },
        fixed={"currency": "EUR", "withholding": "0,10", "bank": "house_bank", "bank_currency": "EUR"},
        line_kinds={"Provision": "commission", "Steuer": "vat", "Abzug": "withholding"},
        negated_kinds=("withholding",),
        delimiter=";",
        decimal=",",
        date_format="dd.mm.yyyy",
    )  # fmt: skip
    common = {"Beleg": "G-1", "Valuta": "15.04.2026", "Netto": "10,00", "USt": "1,90", "Brutto": "11,90"}
    rows = [
        {**common, "Betrag": "11,80", "Art": kind, "Nummer": number, "Summe": amount, "Sonst": "passed over"}
        for kind, number, amount in (("Provision", "1", "10,00"), ("Steuer", "", "1,90"), ("Abzug", "", "0,10"))
    ]
    assert load(here, rows, layout=layout).counts == (("new", 1), ("known", 0), ("lines", 3), ("rejects", 0))
    assert stored(warehouse_url, "SELECT kind, amount FROM ops.remittance_line ORDER BY line_no")[2] == (
        "withholding",
        Decimal("-0.1000"),
    )


def test_a_column_or_constant_can_be_named_for_one_load(tmp_path: Path) -> None:
    account = context("postgresql://nowhere", tmp_path).configuration.account("shop_a")
    layout = layout_of(account, ["net=Amount = due"], ["vat=0"])
    assert (layout.columns, layout.fixed) == ({"net": "Amount = due"}, {"vat": "0"})
    with pytest.raises(Stop, match="'nett' is no column"):
        layout_of(account, ["nett=Amount"], [])


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "there is no column 'remittance_id'"),
        (b"remittance_id,remittance_id\n", "stands there twice"),
        (b"\xff\xfe\x00", "is not UTF-8"),
        (b'remittance_id,currency,net,vat,withholding,gross\n"R-1,EUR,1,0,0,1\n', "check its quotes"),
        (b"remittance_id,currency,net,vat,withholding,gross\n" + b"x" * 140_000 + b",EUR,1,0,0,1\n", "check its"),
    ],
)
def test_a_file_that_is_no_statement_stops(warehouse_url: str, tmp_path: Path, content: bytes, told: str) -> None:
    here = context(warehouse_url, tmp_path, known_at=NOW)
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    with pytest.raises(Stop, match=told):
        load_remittances(here, path, here.configuration.account("shop_a"), RemittanceLayout())
    assert stored(warehouse_url, "SELECT sha256 FROM ops.remittance_file") == []


def test_a_row_with_too_few_values_is_a_reject(warehouse_url: str, tmp_path: Path) -> None:
    here = context(warehouse_url, tmp_path, known_at=NOW)
    path = write_csv(tmp_path / "s.csv", statement(PAID))
    path.write_text(path.read_text(encoding="utf-8") + "R-9,1\n", encoding="utf-8")
    result = load_remittances(here, path, here.configuration.account("shop_a"), RemittanceLayout())
    assert (result.count("new"), result.count("rejects")) == (1, 1)
    assert "has 2 values for 21 columns" in result.note


def test_the_folder_of_an_account_is_loaded_by_its_layout_and_an_unknown_one_stops(
    warehouse_url: str, tmp_path: Path
) -> None:
    here = context(warehouse_url, tmp_path, known_at=NOW)
    write_csv(tmp_path / "in" / "shop_a" / "one.csv", statement(PAID))
    write_csv(tmp_path / "in" / "shop_b" / "two.csv", statement(PAID))
    assert [result.count("new") for result in load_folder(here, tmp_path / "in")] == [1, 1]
    (tmp_path / "in" / "shop_z").mkdir()
    with pytest.raises(Stop, match="shop_z"):
        load_folder(here, tmp_path / "in")


def test_a_file_for_another_account_is_refused(warehouse_url: str, tmp_path: Path) -> None:
    here = context(warehouse_url, tmp_path, known_at=NOW)
    rows = [{**row, "partner_account": "shop_b"} for row in statement(PAID)]
    result = load(here, rows)
    assert (result.count("new"), result.count("rejects")) == (0, 1)
    assert "is not shop_a" in result.note


def test_two_loads_at_once_store_it_once(warehouse_url: str, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "s.csv", statement(PAID))

    def run(number: int) -> int:
        here = context(warehouse_url, tmp_path, f"run-{number}", NOW)
        return load_remittances(here, path, here.configuration.account("shop_a"), RemittanceLayout()).count("new")

    with ThreadPoolExecutor(3) as pool:
        assert sorted(pool.map(run, range(3))) == [0, 0, 1]
