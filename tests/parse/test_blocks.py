"""What is read many rows at a time is what is read row by row, wherever blocks end."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from connectors.partners.csv_rows import csv_rows
from connectors.partners.json_blocks import DoubledKey, Json
from connectors.partners.json_elements import array_rows
from connectors.partners.rows import Broken, Values, batches
from etl.core.errors import Stop

HEADER = "a,b,c"
VALUES = st.text(st.sampled_from('x1 ",\\\u00e9\u2028\x0b\x00\t.-'), max_size=5)
PLAIN = st.sampled_from(["1", '"1,234.5"', '""', "", "c-7f3a", '"a\\10"', "\u00e9"])
LINES = st.lists(
    st.one_of(
        st.lists(PLAIN, min_size=3, max_size=3).map(",".join),
        st.lists(st.one_of(PLAIN, VALUES), min_size=2, max_size=4).map(",".join),
    ),
    max_size=12,
)


def one_by_one(content: str) -> list[tuple[str | None, ...] | str]:
    """Return each line's values, or that it is broken: what Python's own reader says of that line alone."""
    read: list[tuple[str | None, ...] | str] = []
    for line in content.split("\n")[1:-1]:
        if not line.removesuffix("\r").strip():
            continue
        try:
            rows = list(csv.reader([line.removesuffix("\r")], strict=True))
        except csv.Error:
            rows = []
        is_good = len(rows) == 1 and len(rows[0]) == 3 and "\0" not in rows[0][0] + rows[0][2]
        read.append((rows[0][0], rows[0][2]) if is_good else "broken")
    return read


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(LINES, st.sampled_from([1, 20, 4096]), st.sampled_from(["\n", "\r\n"]))
@example(['"a,"b",c', "1,2,3", 'ab"c,2,3'], 4096, "\n")
@example(['1,","1,"', '"1""2",2,3', "1,2,3"], 1, "\n")
@example(["1,\0,3"], 4096, "\n")
def test_blocks_of_csv_say_what_its_lines_say(tmp_path: Path, lines: list[str], block_bytes: int, end: str) -> None:
    path = tmp_path / "report.csv"
    content = end.join([HEADER, *lines]) + end
    path.write_bytes(content.encode())
    expected = one_by_one(content)
    rows = csv_rows(path, "the report", ("a", "c"), nothing_found="nothing", block_bytes=block_bytes)
    if not expected:
        with pytest.raises(Stop, match="no row at all"):
            list(rows)
        return
    flat = pa.Table.from_batches(list(batches(("a", "c"), rows)))
    told = zip(flat["a"].to_pylist(), flat["c"].to_pylist(), flat["flatten_error"].to_pylist(), strict=True)
    assert [(a, c) if error is None else "broken" for a, c, error in told] == expected
    assert flat["row_number"].to_pylist() == list(range(1, len(expected) + 1))


def test_plain_lines_come_as_batches_and_a_block_with_another_line_row_by_row(tmp_path: Path) -> None:
    path = tmp_path / "report.csv"
    path.write_text(f"{HEADER}\n" + "1,2,3\n" * 50 + 'x"\n' + "1,2,3\n" * 50)
    rows = list(csv_rows(path, "the report", ("a", "c"), nothing_found="nothing", block_bytes=60))
    assert {type(row) for row in rows} == {pa.RecordBatch, tuple, Broken}
    assert sum(row.num_rows if isinstance(row, pa.RecordBatch) else 1 for row in rows) == 101


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a,b,c\n1,2,3\n1,\xff,3\n", "UTF-8 at byte 14"),
        (b"a,b,c\n1,2,3\n" + b"x" * 1_100_000 + b"\n", "more than 1,048,576 bytes at byte 12"),
    ],
)
def test_what_is_no_text_is_named_with_its_place_in_the_file(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "report.csv"
    path.write_bytes(content)
    with pytest.raises(Stop, match=said):
        list(csv_rows(path, "the report", ("a", "c"), nothing_found="nothing", block_bytes=6))


NUMBERS = st.sampled_from(
    ["0", "-0", "-0.0", "3.10", "1e5", "1E+2", "0.30000000000000004", "9" * 40, "-12", "12345678901234567890.5", "NaN"]
)
TEXTS = st.one_of(
    st.text(st.sampled_from('a":,{}[]\\\u00e9\x00\ud800 -0'), max_size=6).map(json.dumps),
    st.sampled_from(['"\\u0022: \\u003a"', '"-0"', '"},{\\"id\\":"', '"\\u00e9"']),
)
SCALARS = st.one_of(NUMBERS, TEXTS, st.sampled_from(["null", "true", "false"]))
KEYS = st.sampled_from(['"id"', '"a"', '"b\\\\"', '"c\\u0022"'])
COLONS = st.sampled_from([":", ": ", " :", "\n:"])


def objects(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    member = st.tuples(KEYS, COLONS, values).map("".join)
    return st.lists(member, max_size=4).map(lambda members: '{"id":1' + "".join(f",{each}" for each in members) + "}")


INNER = st.one_of(
    SCALARS, objects(SCALARS), st.lists(objects(SCALARS), max_size=2).map(lambda each: f"[{','.join(each)}]")
)
FILLED = st.tuples(SCALARS, SCALARS, SCALARS, st.one_of(INNER, SCALARS.map('{{"id":{}}}'.format))).map(
    lambda told: '{{"id":{},"a":{},"skipped":{}, "b":{}}}'.format(*told)
)
ELEMENTS = st.lists(st.one_of(FILLED, FILLED, objects(INNER), SCALARS), min_size=1, max_size=16)


def row_of(element: dict[str, Json]) -> Values | Broken:
    """Return what a connector may say of an element, one value of it decided by whether another is blank."""
    inner = element.get("b")
    if inner is not None and not isinstance(inner, dict):
        return Broken("b is no object", "")
    flag, told, deep = element.get("a"), element.get("id"), (inner or {}).get("id")
    if isinstance(flag, bool):
        flag = "true" if flag else "false"
    named = deep if isinstance(deep, str) and deep.strip() else told
    values: list[str | None] = []
    for value in (told, flag, deep, named):
        if isinstance(value, bool | dict | list):
            return Broken("a value is no text", "")
        values.append(value)
    return tuple(values)


def row_alone(text: str) -> Values | str:
    """Return what `row_of` says of one element, as Python's own reader reads it, numbers as their text."""

    def made(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return dict(pairs) if len(dict(pairs)) == len(pairs) else DoubledKey(pairs)

    value = json.loads(text, parse_float=str, parse_int=str, parse_constant=str, object_pairs_hook=made)
    if not isinstance(value, dict) or any(isinstance(each, DoubledKey) for each in (value, *value.values())):
        return "broken"
    values = row_of(value)
    return "broken" if isinstance(values, Broken) else values


def rows_told(path: Path) -> tuple[list[Values | str], int]:
    """Return what is read of a file, row by row, and how many rows came in batches."""
    told: list[Values | str] = []
    together = 0
    for each in array_rows(path, "the answer", row_of):
        if isinstance(each, pa.RecordBatch):
            told += zip(*(column.to_pylist() for column in each.columns), strict=True)
            together += each.num_rows
        else:
            told.append("broken" if isinstance(each, Broken) else each)
    return told, together


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(ELEMENTS, st.sampled_from([",", ", ", "\n,\n", "," + " " * 200]))
@example(['{"id":1,"a":3.10}', '{"id":2,"a":"x","a":"y"}', '{"id":3,"a":4}', '{"id":3}'], ",")
@example(['{"id":1,"id":2}', '{"id":-0}', '{"id":1e5}', '{"id":1.0000000000000001}', "7"], ", ")
@example(['{"id":1,"a":1e5,"b":{"id":1}}', '{"id":2,"b":null,"a":-1.50}', '{"id":2,"a":-0,"b":{"id":1}}'], ",")
@example(
    ['{"id":1,"b":{"id":"x"}}', '{"id":1,"b":{"id":" "}}', '{"id":1,"b":{"id":""}}', '{"id":1,"b":{"id":null}}'], ","
)
@example(['{"id":1,"a":2}', '{"id":1,"a":2,"a":3}', '{"id" :1,"a":2,"a":3}', '{"id" :1,"a":2}'], ",")
@example(['{"id":1,"b":null}', '{"id":1,"b":"no object"}', '{"id":"","b":null}', '{"id":null,"b":null}'], ",")
@example(['{"id":"x","a":true}', '{"id":false,"a":false}', '{"id":"x\\"","a":null}', '{"id":"\\u0000","a":null}'], ",")
@example(
    ['{"id":1,"a":[{"id":1},{"id":2}]}', '{"id":1,"a":{"id":1 ,"id":2}}', '{"id":"},{\\"id\\":"}', '{"id":1}'], ","
)
def test_many_objects_of_json_at_once_say_what_each_says_alone(
    tmp_path: Path, elements: list[str], separator: str
) -> None:
    path = tmp_path / "answer.json"
    # Twice, as what is written in a known way is read in another one.
    path.write_text("[" + separator.join([*elements, *elements]) + "]", encoding="utf-8")
    assert rows_told(path)[0] == [row_alone(each) for each in [*elements, *elements]]


@pytest.mark.parametrize(
    "bad", ['{"id":01,"a":null}', '{"id":1.,"a":null}', '{"id":"\t","a":null}', '{"id":1,"a":nul}', ""]
)
def test_what_is_no_json_stops_the_reading_in_whatever_company(tmp_path: Path, bad: str) -> None:
    path = tmp_path / "answer.json"
    good = '{"id":1,"a":null}'
    path.write_text("[" + ",".join([good, good, good, bad, good]) + "]")
    with pytest.raises(Stop, match="cut off or damaged"):
        rows_told(path)


def test_objects_written_alike_come_together_and_a_strange_one_does_not_end_that(tmp_path: Path) -> None:
    path = tmp_path / "answer.json"
    plain = [json.dumps({"id": number, "a": 3.1, "name": "x" * 100}) for number in range(4_000)]
    strange = ['{"id":7,"id":8}', json.dumps({"id": "x" * 8_193, "a": 3.1, "name": ""})]
    path.write_text("[" + ",".join([*plain, *strange, *plain]) + "]")
    told, together = rows_told(path)
    assert together > 7_990
    assert len(told) == 8_002
    assert [each for each in told if each == "broken"] == ["broken"]
    assert told[4_001] == ("x" * 8_193, "3.1", None, "x" * 8_193)
