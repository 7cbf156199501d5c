"""Bytes that are no report, or want to be too much: a Stop that names what is wrong, in flat memory, never a guess."""

import json
import resource
import time
from pathlib import Path

import pytest

from connectors.partners import PARTNERS, connector_for
from etl.core.errors import Retry, Stop, TallybackError
from tests.parse.answers import (
    HEADER,
    RAKUTEN_ROW,
    awin_answer,
    awin_row,
    cj_answer,
    cj_row,
    kelkoo_answer,
    kelkoo_row,
    rakuten_answer,
    tradetracker_answer,
    tradetracker_row,
)

WHOLE = {
    "awin": awin_answer(*[awin_row(id=number) for number in range(50)]),
    "tradetracker": tradetracker_answer(*[tradetracker_row(ID=str(number)) for number in range(50)]),
    "rakuten": rakuten_answer(*[RAKUTEN_ROW] * 50),
    "cj": cj_answer(*[cj_row(commissionId=str(number)) for number in range(50)]),
    "kelkoo": kelkoo_answer(*[kelkoo_row(day=f"2026-03-{number:02}") for number in range(1, 31)] * 3),
}
PAGE = b"<!DOCTYPE html><html><head><title>Log in</title></head><body>Please log in</body></html>"
LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10 if n else "ha"}">' for n in range(10))


def rows_of(partner: str, path: Path) -> int:
    return sum(batch.num_rows for batch in connector_for(partner).flatten((path,)))


def stopped(partner: str, folder: Path, content: bytes, kind: type[TallybackError] = Stop) -> str:
    path = folder / "answer"
    path.write_bytes(content)
    with pytest.raises(kind) as caught:
        rows_of(partner, path)
    return str(caught.value)


@pytest.mark.parametrize("partner", PARTNERS)
def test_a_login_page_is_no_report(partner: str, tmp_path: Path) -> None:
    stopped(partner, tmp_path, PAGE)


@pytest.mark.parametrize("partner", PARTNERS)
def test_nothing_at_all_is_no_empty_answer(partner: str, tmp_path: Path) -> None:
    path = tmp_path / "answer"
    path.write_bytes(b"")
    with pytest.raises((Stop, Retry)):
        rows_of(partner, path)


@pytest.mark.parametrize("partner", ["awin", "rakuten"])
def test_another_encoding_is_named_with_its_place(partner: str, tmp_path: Path) -> None:
    whole = WHOLE[partner]
    at = whole.rindex(b"c-7f3a")
    assert f"byte {at:,}" in stopped(partner, tmp_path, whole[:at] + b"\xe9" + whole[at + 1 :])
    assert "UTF-16" in stopped(partner, tmp_path, whole.decode("utf-8-sig").encode("utf-16"))


def test_a_place_behind_the_first_piece_is_counted_right(tmp_path: Path) -> None:
    whole = awin_answer(*[awin_row(id=number, orderRef="ü") for number in range(500)])
    whole = whole.replace(b"\\u00fc", "ü".encode())
    at = len(whole) - 100
    assert at > 64 * 1024
    assert f"byte {at:,}" in stopped("awin", tmp_path, whole[:at] + b"\xff" + whole[at + 1 :])


@pytest.mark.parametrize("partner", ["awin", "cj"])
@pytest.mark.parametrize("cut", [1, 2, 60, 5_000])
def test_json_that_was_cut_is_not_taken_in_half(cut: int, partner: str, tmp_path: Path) -> None:
    stopped(partner, tmp_path, WHOLE[partner][:-cut])


@pytest.mark.parametrize("partner", ["tradetracker", "kelkoo"])
@pytest.mark.parametrize("cut", [1, 2, 60, 5_000])
def test_xml_that_was_cut_is_fetched_again(cut: int, partner: str, tmp_path: Path) -> None:
    stopped(partner, tmp_path, WHOLE[partner][:-cut], Retry)


@pytest.mark.parametrize(
    "content",
    [
        b"<error>wrong password</error>", b"<trackings>wrong password</trackings>", b"<error/>",
        b"<response><error>wrong password</error></response>", b"<trackings><message/></trackings>",
        kelkoo_answer(kelkoo_row(), "<error>stopped here</error>"),
    ],
)  # fmt: skip
def test_an_answer_that_says_something_else_is_no_empty_day_of_kelkoo(content: bytes, tmp_path: Path) -> None:
    assert "no list of sums" in stopped("kelkoo", tmp_path, content)


def test_an_error_inside_a_200_is_quoted(tmp_path: Path) -> None:
    body = json.dumps({"error": "too_many_requests", "description": "slow\u0007 down"}).encode()
    message = stopped("awin", tmp_path, body)
    assert "too_many_requests" in message
    assert "\u0007" not in message


@pytest.mark.parametrize(
    "content",
    [
        b'"text"', b"7", b"null", b"[1 2]", b'[{"id":1}]x',
        b'[{"id":1},]', b'[{"id":1', b"[" * 200_000, b"[" + b'{"a":' * 200_000,
    ],
)  # fmt: skip
def test_json_that_is_no_array_of_rows_stops(content: bytes, tmp_path: Path) -> None:
    stopped("awin", tmp_path, content)


def test_rows_that_are_no_objects_or_say_a_thing_twice_are_broken_rows(tmp_path: Path) -> None:
    path = tmp_path / "answer"
    path.write_bytes(b'[1, "x", null, [], {"id": 1, "id": 2}, {"saleAmount": {"amount": 1, "amount": 2}}, {"id": 7}]')
    (batch,) = connector_for("awin").flatten((path,))
    errors = batch.column("flatten_error").to_pylist()
    assert [error is not None for error in errors] == [True] * 6 + [False]
    assert batch.column("row_number").to_pylist() == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"errors": [{"message": "bad\\u0007 token"}]}', "bad"), (b'{"data": null}', "no list"),
        (b'{"data": {"publisherCommissions": null}, "errors": [{"message": "limit"}]}', "limit"),
        (cj_answer(cj_row(), count=2), "not whole"), (b"[]", "no JSON object"), (cj_answer() + b"x", "goes on"),
        (b'{"data": {"publisherCommissions": {"count": 0, "records": []}}}', "not whole"),
    ],
)  # fmt: skip
def test_an_answer_of_cj_that_is_no_whole_page_stops(content: bytes, said: str, tmp_path: Path) -> None:
    message = stopped("cj", tmp_path, content)
    assert said in message
    assert "\u0007" not in message


@pytest.mark.parametrize(
    "prolog",
    [
        f"<!DOCTYPE x [{LAUGHS}]>", '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x">',
    ],
)  # fmt: skip
def test_a_document_type_is_refused_whatever_it_declares(prolog: str, tmp_path: Path) -> None:
    row = tradetracker_row().replace("c-7f3a", "&e;" if "SYSTEM" in prolog and "ENTITY" in prolog else "c")
    started = time.monotonic()
    message = stopped("tradetracker", tmp_path, tradetracker_answer(row, prolog=prolog))
    assert time.monotonic() - started < 5
    assert "root:" not in message


def test_an_array_that_declares_more_rows_than_it_holds_is_not_whole(tmp_path: Path) -> None:
    assert "not whole" in stopped("tradetracker", tmp_path, tradetracker_answer(tradetracker_row(), declared=2))
    assert "not whole" in stopped("tradetracker", tmp_path, tradetracker_answer(declared=1))


def test_an_answer_to_another_question_is_no_empty_page(tmp_path: Path) -> None:
    other = tradetracker_answer().replace(b"conversionTransactions", b"clickTransactions")
    stopped("tradetracker", tmp_path, other)


@pytest.mark.parametrize(
    "content",
    [
        HEADER.encode() + b"\n",
        HEADER.encode(),
        HEADER.replace("Sales", "Umsatz").encode() + b"\n" + RAKUTEN_ROW.encode() + b"\n",
        HEADER.replace("MID", "Sales").encode() + b"\n" + RAKUTEN_ROW.encode() + b"\n",
        rakuten_answer(RAKUTEN_ROW, "No Results Found"),
        rakuten_answer(RAKUTEN_ROW).replace(b"\n", b"\r"),
    ],
)
def test_a_report_of_other_columns_or_without_a_word_about_its_emptiness_stops(content: bytes, tmp_path: Path) -> None:
    stopped("rakuten", tmp_path, content)


def test_a_backslash_is_a_character_and_crlf_an_end(tmp_path: Path) -> None:
    path = tmp_path / "answer"
    path.write_bytes(rakuten_answer(RAKUTEN_ROW).replace(b"\n", b"\r\n"))
    (batch,) = connector_for("rakuten").flatten((path,))
    assert batch.column("sku").to_pylist() == ["ABC\\10"]
    assert batch.column("flatten_error").to_pylist() == [None]


def endless(path: Path, beginning: bytes, piece: bytes, size: int = 2 * 1024**3) -> None:
    """Write a sparse file: a beginning and then NUL bytes, 2 GB of them."""
    with path.open("wb") as file:
        file.write(beginning + piece)
        file.truncate(size)


@pytest.mark.parametrize(
    ("partner", "beginning"),
    [
        ("rakuten", ("\ufeff" + HEADER + "\n").encode() + b'"'),
        ("rakuten", b""),
        ("awin", b'[{"id": "'),
        ("tradetracker", b'<?xml version="1.0"?><a><b>'),
    ],
)
def test_a_line_of_2_gb_stops_early_in_flat_memory(partner: str, beginning: bytes, tmp_path: Path) -> None:
    path = tmp_path / "answer"
    endless(path, beginning, b"x" * 2_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.monotonic()
    with pytest.raises(Stop):
        rows_of(partner, path)
    assert time.monotonic() - started < 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024


def test_a_large_answer_is_read_in_flat_memory(tmp_path: Path) -> None:
    path = tmp_path / "answer"
    row = json.dumps(awin_row(basketProducts=[{"productName": "x" * 500}] * 4)).encode()
    with path.open("wb") as file:
        file.write(b"[" + row)
        for _ in range(20_000):
            file.write(b"," + row)
        file.write(b"]")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert rows_of("awin", path) == 20_001
    assert path.stat().st_size > 50 * 1024**2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024


def test_an_unknown_partner_is_named_with_those_there_are() -> None:
    with pytest.raises(Stop, match="awin, cj, kelkoo, rakuten, tradetracker"):
        connector_for("impact")


@pytest.mark.parametrize("partner", PARTNERS)
def test_every_partner_has_a_connector_of_its_name(partner: str) -> None:
    assert connector_for(partner).facts.partner == partner
