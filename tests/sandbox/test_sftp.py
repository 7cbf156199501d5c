"""Rakuten's reports and the bank's inbox over SFTP."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from datetime import UTC, timedelta
from decimal import Decimal
from pathlib import Path

import paramiko
import pytest

from sandbox import clock, folder
from sandbox.instants import midnight, parsed
from sandbox.model import RAKUTEN, Defect, World
from sandbox.servers.rakuten import HEADER, shown_amount
from sandbox.truth import truth_owed
from sandbox.up import Sandbox, start
from tests.sandbox.places import FROM_ON, LATER, visit


def read(client: paramiko.SFTPClient, path: str) -> bytes:
    content = io.BytesIO()
    client.getfo(path, content)
    return content.getvalue()


@pytest.fixture(scope="module")
def reports(running: Sandbox) -> dict[str, bytes]:
    visitor = visit(running, "rakuten")
    files = {name: read(visitor.client, f"/reports/{name}") for name in visitor.client.listdir("/reports")}
    visitor.transport.close()
    return files


def lines(reports: dict[str, bytes]) -> list[dict[str, str]]:
    out = []
    for content in reports.values():
        out += list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    return [line for line in out if line["MID"]]


def test_a_wrong_password_is_refused(running: Sandbox) -> None:
    for name in ("rakuten", "bank"):
        with pytest.raises(paramiko.AuthenticationException):
            visit(running, name, "wrong")


def test_a_file_is_there_for_every_network_and_day_since_the_next_morning(running: Sandbox) -> None:
    visitor = visit(running, "rakuten")
    files = {entry.filename: entry for entry in visitor.client.listdir_attr("/reports")}
    visitor.transport.close()
    days = (LATER.date() - FROM_ON).days
    assert len(files) == 2 * days
    first = files["item-report_n3_20260901.csv"]
    assert first.st_mtime == parsed("2026-09-02T05:30:00Z").replace(tzinfo=UTC).timestamp()


def test_a_report_begins_with_a_bom_and_the_header_and_has_plain_line_ends(reports: dict[str, bytes]) -> None:
    assert len(reports) > 100
    for content in reports.values():
        assert content.startswith(b"\xef\xbb\xbf" + HEADER.encode() + b"\n")
        assert b"\r" not in content
        assert content.endswith(b"\n")


def test_a_day_without_rows_says_so(reports: dict[str, bytes]) -> None:
    empty = [content for content in reports.values() if b"No Results Found" in content]
    assert len(empty) > 10
    assert all(content.decode("utf-8-sig") == f"{HEADER}\nNo Results Found\n" for content in empty)


def test_every_row_is_in_exactly_one_report(reports: dict[str, bytes], small: World) -> None:
    told = [line["Transaction ID"] for line in lines(reports)]
    visible = [row.transaction_id for row in small.rows if row.partner == RAKUTEN and row.states[0].at <= LATER]
    assert len(told) > 150
    assert sorted(told) == sorted(visible)


def test_the_file_name_tells_the_network_and_so_the_currency(reports: dict[str, bytes], small: World) -> None:
    network = {program.partner_program_id: program.network for program in small.programs if program.partner == RAKUTEN}
    for name, content in reports.items():
        for line in lines({name: content}):
            assert f"_n{network[line['MID']]}_" in name


def test_sums_agree_with_the_truth(reports: dict[str, bytes], small: World) -> None:
    sums: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for line in lines(reports):
        sums[(line["MID"], line["Order ID"])] += Decimal(line["Total Commission"].replace(",", ""))
    mid = {program.program_id: program.partner_program_id for program in small.programs}
    sales = {sale.sale_key: sale for sale in small.sales}
    checked = 0
    for row in truth_owed(small, LATER).to_pylist():
        if row["partner"] == RAKUTEN:
            order_ref = sales[row["sale_key"]].order_ref
            assert order_ref is not None
            assert sums[(mid[row["program_id"]], order_ref)] == row["net_commission"]
            checked += 1
    assert checked > 80


def test_a_correction_repeats_order_and_time_of_its_original_and_has_an_id_of_its_own(
    reports: dict[str, bytes], small: World
) -> None:
    by_id = {line["Transaction ID"]: line for line in lines(reports)}
    orphan_keys = {sale.sale_key for sale in small.sales if Defect.REVERSAL_WITHOUT_ORIGINAL in sale.defects}
    originals = {row.sale_key: row for row in small.rows if row.row_kind == "original"}
    corrections = [
        row
        for row in small.rows
        if row.row_kind == "correction" and row.transaction_id in by_id and row.sale_key not in orphan_keys
    ]
    assert len(corrections) > 10
    for row in corrections:
        line, original = by_id[row.transaction_id], by_id[originals[row.sale_key].transaction_id]
        for name in ("Order ID", "MID", "Transaction Date", "Transaction Time", "Member ID (U1)"):
            assert line[name] == original[name]
        assert row.processed_at > originals[row.sale_key].processed_at


def test_dates_are_not_padded_and_absent_is_the_word_null(reports: dict[str, bytes]) -> None:
    text = b"".join(reports.values()).decode()
    assert ",9/1/26," in text
    assert ",09/01/26," not in text
    assert '"null"\n' in text
    assert '\n"null",' in text
    assert '"ABC\\10"' in text


def test_discounts_are_lines_without_items(reports: dict[str, bytes]) -> None:
    discounts = [line for line in lines(reports) if "DISCOUNT" in line["SKU"] and Decimal(line["Sales"]) < 0]
    assert discounts
    assert all(line["# of Items"] == "0" for line in discounts)


@pytest.mark.parametrize(
    ("amount", "told"),
    [
        ("40.00", "40"),
        ("44.50", "44.5"),
        ("2.025", "2.025"),
        ("999.99", "999.99"),
        ("1000.00", '"1,000"'),
        ("-1234.56", '"-1,234.56"'),
        ("0.000000", "0"),
        ("100", "100"),
    ],
)
def test_amounts_lose_trailing_zeros_and_are_quoted_from_a_thousand_up(amount: str, told: str) -> None:
    assert shown_amount(Decimal(amount)) == told


def test_reports_cannot_be_written_and_nothing_else_can_be_read(running: Sandbox) -> None:
    visitor = visit(running, "rakuten")
    with pytest.raises(OSError, match="denied"):
        visitor.client.open("/reports/item-report_n3_20260901.csv", "w")
    for path in ("/etc/passwd", "/reports/../../etc/passwd", "/reports/item-report_n3_20990101.csv"):
        with pytest.raises(FileNotFoundError):
            visitor.client.open(path)
    visitor.transport.close()


def test_tomorrows_report_is_not_there_today(small: World, tmp_path: Path) -> None:
    folder.save(small, tmp_path / "world")
    with start(tmp_path / "world") as sandbox:
        visitor = visit(sandbox, "rakuten")
        assert visitor.client.listdir("/reports") == []
        clock.move_to(tmp_path / "world", midnight(FROM_ON) + timedelta(days=1, hours=5, minutes=29))
        assert visitor.client.listdir("/reports") == []
        clock.move_to(tmp_path / "world", midnight(FROM_ON) + timedelta(days=1, hours=5, minutes=30))
        names = ["item-report_n3_20260901.csv", "item-report_n9_20260901.csv"]
        assert sorted(visitor.client.listdir("/reports")) == names
        visitor.transport.close()


def test_a_payment_file_is_delivered_as_a_part_and_renamed(running: Sandbox) -> None:
    visitor = visit(running, "bank")
    content = b"<Document/>" * 20_000
    visitor.client.putfo(io.BytesIO(content), "/inbox/batch.xml.part")
    visitor.client.posix_rename("/inbox/batch.xml.part", "/inbox/batch.xml")
    assert visitor.client.listdir("/inbox") == ["batch.xml"]
    assert read(visitor.client, "/inbox/batch.xml") == content
    delivered = running.directory / "bank" / "inbox" / "batch.xml"
    assert delivered.read_bytes() == content
    assert visitor.client.stat("/inbox/batch.xml").st_mtime == delivered.stat().st_mtime == 1_796_104_800
    # A plain rename does not overwrite: that is what the protocol says.
    visitor.client.putfo(io.BytesIO(b"other"), "/inbox/second.part")
    with pytest.raises(OSError, match="Failure"):
        visitor.client.rename("/inbox/second.part", "/inbox/batch.xml")
    visitor.client.remove("/inbox/second.part")
    visitor.client.remove("/inbox/batch.xml")
    assert visitor.client.listdir("/inbox") == []
    visitor.transport.close()


def test_no_path_leads_out_of_the_banks_folder(running: Sandbox) -> None:
    visitor = visit(running, "bank")
    for path in ("/credentials.json", "/inbox/../../credentials.json", "../credentials.json"):
        with pytest.raises(OSError, match=r"denied|No such file"):
            visitor.client.open(path)
    with pytest.raises(OSError, match="denied"):
        visitor.client.open("/outside.xml", "w")
    visitor.transport.close()
