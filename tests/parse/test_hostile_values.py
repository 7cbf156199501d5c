"""Values that could lose or invent a row or a cent: each is read exactly, or its row is a reject that says why."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from tests.parse.answers import (
    HEADER,
    RAKUTEN_ROW,
    awin_answer,
    awin_row,
    parsed,
    rakuten_answer,
    tradetracker_answer,
    tradetracker_row,
)

PARTNERS = ("awin", "tradetracker", "rakuten")
RAKUTEN_ID = "00AA11BB22CC33DD44EE55FF66007788"

NO_AMOUNTS = [
    "1e999990", "1E2", "6.20e1", "NaN", "Infinity", "-Infinity", "inf", "1_000", "1.234,56", "12,50", "(12.00)", "+5",
    " 5", "5 ", "\u00a05", "5.", ".5", "00.5", "012", "--5", "-", "0x10", "0b1", "1/2", "9" * 40, "9" * 15, "12.34567",
    "3.1000000000000001", "0.00001", "\uff11\uff12", "\u0663", "\u22125", "\u20ac5", "USD 5", "'5", "=5+5", "null",
    "None", "true", "5\u200b", "1 234.56", "1.2.3", "1,23,4.5", ",5", "1234,567.00",
]  # fmt: skip
AMOUNTS = {
    "0": "0", "-0": "0", "-0.00": "0", "62": "62", "-62.5": "-62.5", "12.34560000": "12.3456", "0.0001": "0.0001",
    "99999999999999.9999": "99999999999999.9999",
}  # fmt: skip
NO_IDS = ["null", "NULL", "", " ", "-1", "700 1", "../../etc/passwd", "=1", "a\u200bb", "x" * 101, "\u0663"]


def answer_of(partner: str, changes: Sequence[dict[str, str]]) -> bytes:
    """Return an answer of one row for each change: `id`, `sale`, `order`, `reference` or `occurred` as text."""
    if partner == "awin":
        rows = []
        for number, change in enumerate(changes, start=1):
            row = awin_row(
                id=change.get("id", str(number)),
                saleAmount={"amount": change.get("sale", "62"), "currency": "GBP"},
                orderRef=change.get("order", "W-5512"),
                clickRefs={"clickRef": change.get("reference", "c-7f3a")},
                transactionDate=change.get("occurred", "2026-03-01T09:31:00"),
            )
            rows.append(row)
        return awin_answer(*rows)
    if partner == "tradetracker":
        return tradetracker_answer(
            *[
                tradetracker_row(
                    ID=change.get("id", str(number)),
                    orderAmount=change.get("sale", "62"),
                    description=change.get("order", "W-5512"),
                    reference=change.get("reference", "c-7f3a"),
                    registrationDate=change.get("occurred", "2026-09-01T10:15:22+02:00"),
                )
                for number, change in enumerate(changes, start=1)
            ]
        )
    lines = []
    for number, change in enumerate(changes, start=1):
        line = RAKUTEN_ROW.replace(f'"{RAKUTEN_ID}"', f'"{change.get("id", f"{number:032d}")}"')
        line = line.replace(",40,1,", f',"{change.get("sale", "40")}",1,')
        line = line.replace("W-5512", f'"{change.get("order", "W-5512")}"')
        line = line.replace("c-7f3a", change.get("reference", "c-7f3a"))
        lines.append(line.replace("3/1/26,9:31:12", change.get("occurred", "3/1/26,9:31:12")))
    return rakuten_answer(*lines)


def judged(partner: str, folder: Path, changes: Sequence[dict[str, str]]) -> tuple[pa.Table, pa.Table]:
    good, bad = parsed(partner, folder, answer_of(partner, changes))
    assert good.num_rows + bad.num_rows == len(changes)
    return good, bad


@pytest.mark.parametrize("partner", PARTNERS)
def test_a_text_that_is_not_exactly_an_amount_is_a_reject_and_never_a_number(partner: str, tmp_path: Path) -> None:
    good, bad = judged(partner, tmp_path, [{"sale": each} for each in NO_AMOUNTS])
    assert good.num_rows == 0, good.select(["row_number", "sale_amount"]).to_pylist()
    assert set(bad["column_name"].to_pylist()) <= {"sale_amount", None}
    assert all(bad["reason"].to_pylist())


@pytest.mark.parametrize("partner", PARTNERS)
def test_an_amount_is_read_to_its_last_digit(partner: str, tmp_path: Path) -> None:
    good, _ = judged(partner, tmp_path, [{"sale": each} for each in AMOUNTS])
    assert good["sale_amount"].to_pylist() == [Decimal(each) for each in AMOUNTS.values()]


@pytest.mark.parametrize("partner", PARTNERS)
def test_rows_without_an_id_are_never_one_transaction(partner: str, tmp_path: Path) -> None:
    good, bad = judged(partner, tmp_path, [{"id": each} for each in NO_IDS])
    assert good.num_rows == 0, good["transaction_id"].to_pylist()
    assert set(bad["column_name"].to_pylist()) == {"transaction_id"}


@pytest.mark.parametrize("partner", PARTNERS)
def test_blanks_are_no_reference(partner: str, tmp_path: Path) -> None:
    good, _ = judged(partner, tmp_path, [{"order": each, "reference": each} for each in ("", " ", "   ")])
    assert good["order_ref"].to_pylist() == good["click_ref"].to_pylist() == [None] * 3


@pytest.mark.parametrize(
    ("partner", "told"),
    [
        ("awin", [
            "2026-03-29T02:30:00", "2026-02-31T00:00:00", "2026-03-01T09:31:00Z", "2026-03-01T09:31:00+00:00",
            "2026-03-01 09:31:00", "2026-03-01T09:31", "2026-03-01", "1772000000", "0001-01-01T00:00:00",
            "9999-12-31T23:59:59", "2026-03-01T24:00:00", "2026-03-01T09:31:60", "2026-03-01T09:31:00\n", "null", "",
        ]),
        ("tradetracker", [
            "2026-03-29T02:30:00", "2026-02-31T00:00:00+01:00", "2026-09-01", "2026-09-01T10:15:22.123456789+02:00",
            "2026-09-01T10:15:22+15:00", "2026-09-01 10:15:22", "-2026-09-01T10:15:22Z", "2026-09-01T24:00:00",
            "0000-00-00T00:00:00", " 2026-09-01T10:15:22Z", "",
        ]),
        ("rakuten", [
            "2/31/26,9:31:12", "31/2/26,9:31:12", "13/1/26,9:31:12", "0/1/26,9:31:12", "3/1/2026,9:31:12",
            "3/1/26,24:00:00", "3/1/26,9:31", "3/1/26,9:31:60", "3/1/26,9:31:12 PM", "2026-03-01,9:31:12",
            "2/29/26,0:00:00", "3/1/26,", ",9:31:12", "null,null", "null,9:31:12",
        ]),
    ],
)  # fmt: skip
def test_a_time_that_never_was_or_is_in_another_form_is_a_reject(partner: str, told: list[str], tmp_path: Path) -> None:
    good, bad = judged(partner, tmp_path, [{"occurred": each} for each in told])
    assert good.num_rows == 0, good["row_number"].to_pylist()
    assert set(bad["column_name"].to_pylist()) == {"occurred_at"}


def test_what_json_calls_another_kind_of_value_is_no_text(tmp_path: Path) -> None:
    rows = [
        awin_row(id=True), awin_row(id={"$oid": "1"}), awin_row(clickRefs=[]), awin_row(clickRefs="c-7f3a"),
        awin_row(clickRefs={"clickRef": ["c-7f3a"]}), awin_row(clickRefs={"clickRef": True}), awin_row(orderRef=False),
        awin_row(commissionAmount=3.1), awin_row(saleAmount={"amount": True, "currency": "GBP"}),
    ]  # fmt: skip
    good, bad = parsed("awin", tmp_path, awin_answer(*rows))
    assert (good.num_rows, set(bad["rule"].to_pylist())) == (0, {"broken_row"})


def test_numbers_of_json_are_never_floats(tmp_path: Path) -> None:
    bare = [
        "1e999990", "NaN", "-Infinity", "1E2", "9" * 40, "0.30000000000000004", "62", "0.1", "12345678901234.5678",
    ]  # fmt: skip
    rows = [json.dumps(awin_row(id=n, saleAmount={"amount": "@", "currency": "GBP"})) for n in range(len(bare))]
    content = "[" + ",".join(row.replace('"@"', text) for row, text in zip(rows, bare, strict=True)) + "]"
    good, bad = parsed("awin", tmp_path, content.encode())
    assert [str(each) for each in good["sale_amount"].to_pylist()] == ["62.0000", "0.1000", "12345678901234.5678"]
    assert bad["value"].to_pylist() == bare[:6]


def test_half_a_character_and_a_nul_are_rejects_and_a_whole_one_is_text(tmp_path: Path) -> None:
    told = ["\\ud800", "\\udc00x", "a\\u0000b", "\\ud83d\\ude00"]
    rows = [json.dumps(awin_row(id=n, clickRefs={"clickRef": "@"})) for n in range(len(told))]
    content = "[" + ",".join(row.replace("@", text) for row, text in zip(rows, told, strict=True)) + "]"
    good, bad = parsed("awin", tmp_path, content.encode())
    assert good["click_ref"].to_pylist() == ["\U0001f600"]
    assert bad["row_number"].to_pylist() == [1, 2, 3]


ELSEWHERE = [
    ("<reference>c-7f3a</reference>", '<reference href="#r"/>'),
    ("<reference>c-7f3a</reference>", "<reference><b>c-7f3a</b></reference>"),
    ("<reference>c-7f3a</reference>", '<reference><x:include xmlns:x="urn:x" href="file:///etc/passwd"/></reference>'),
    ("<reference>", "<reference>other</reference><reference>"),
    ("<campaignProduct>", "<campaign><ID>9</ID></campaign><campaignProduct>"),
    ("<campaign>", "<kampaign/><campaign href='#never-told'/><x>"),
]


def test_what_xml_tells_elsewhere_twice_or_nested_is_never_taken_for_absent(tmp_path: Path) -> None:
    rows = ['<item href="#id1"/>', '<item xsi:nil="true"/>']
    for number, (old, new) in enumerate(ELSEWHERE):
        row = tradetracker_row(ID=str(number))
        assert old in row
        changed = row.replace(old, new, 1)
        rows.append(changed.replace("</campaign>", "</x>", 1) if "<x>" in new else changed)
    good, bad = parsed("tradetracker", tmp_path, tradetracker_answer(*rows))
    assert (good.num_rows, bad.num_rows) == (0, len(rows))


def test_one_value_has_many_spellings_in_xml(tmp_path: Path) -> None:
    rows = [
        tradetracker_row(ID="1").replace("c-7f3a", "<![CDATA[c-7f3a]]>"),
        tradetracker_row(ID="2").replace("c-7f3a", "c-<!-- no -->7f<?no no?>3a"),
        tradetracker_row(ID="3").replace("c-7f3a", "&#99;-7f3a"),
        tradetracker_row(ID="4").replace("reference>", "z:reference>").replace("<z:", "<z:", 1),
    ]
    content = tradetracker_answer(*rows).replace(b"<SOAP-ENV:Envelope ", b'<SOAP-ENV:Envelope xmlns:z="urn:z" ')
    for encoding in ("utf-8", "utf-16", "iso-8859-1"):
        text = content.decode().replace('"UTF-8"', f'"{encoding}"')
        good, bad = parsed("tradetracker", tmp_path, text.encode(encoding))
        assert (good["click_ref"].to_pylist(), bad.num_rows) == (["c-7f3a"] * 4, 0)


BROKEN_LINES = [
    RAKUTEN_ROW.replace('"Shop"', '"Sh"op"'),
    RAKUTEN_ROW.replace("W-5512", "W-\r5512"),
    RAKUTEN_ROW.replace("W-5512", "W-\x005512"),
    RAKUTEN_ROW + ",more",
    RAKUTEN_ROW.rpartition(",")[0],
    RAKUTEN_ROW.replace("c-7f3a", "x" * 9_000),
    RAKUTEN_ROW.replace(",40,1,", ",1.234,56,1,"),
    "," * 13,
    "Total,,,,,,,40,1,2.025,,,,",
    "no results found",
    "\x00" * 100,
]


def test_a_line_of_another_form_is_a_reject_and_those_beside_it_stand(tmp_path: Path) -> None:
    before, after = RAKUTEN_ROW, RAKUTEN_ROW.replace(RAKUTEN_ID, RAKUTEN_ID[::-1])
    good, bad = parsed("rakuten", tmp_path, rakuten_answer(before, *BROKEN_LINES, HEADER, "", "  ", after))
    assert good["row_number"].to_pylist() == [1, len(BROKEN_LINES) + 3]
    assert bad["row_number"].to_pylist() == list(range(2, len(BROKEN_LINES) + 3))
    two_lines = parsed("rakuten", tmp_path, rakuten_answer(RAKUTEN_ROW.replace('"Shop"', '"Sh\nop"'), after))
    assert (two_lines[0].num_rows, two_lines[1].num_rows) == (1, 2)


def test_columns_are_found_by_name_in_any_order_and_beside_any_others(tmp_path: Path) -> None:
    names = HEADER.split(",")
    values = ["c-7f3a", "41000", "Shop", "W-5512", "3/1/26", "9:31:12", "S", "40", "1", "2.025", "3/1/26", "9:31:16"]
    values += [RAKUTEN_ID, "null"]
    usual, _ = parsed("rakuten", tmp_path, rakuten_answer(RAKUTEN_ROW))
    for content in (
        "\n".join([",".join(reversed(names)), ",".join(reversed(values)), ""]),
        "\r\n".join([",".join([*names, "New", "Referrer URL"]), ",".join([*values, "x", "y"]), ""]),
    ):
        good, bad = parsed("rakuten", tmp_path, content.encode())
        assert bad.num_rows == 0
        assert good.equals(usual)
