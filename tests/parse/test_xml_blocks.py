"""Rows of XML that are taken many at a time are what a parser says of each, and so are the errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from lxml import etree

from connectors.partners.rows import Broken, Values, batches
from connectors.partners.xml_rows import xml_rows
from connectors.transport.xml import iterate_elements
from etl.core.errors import Retry, Stop

NAMES = ("a", "b", "c")
NIL = "{http://www.w3.org/2001/XMLSchema-instance}nil"
TEXTS = st.sampled_from(
    [
        b"", b"1", b"12.50", b" x\n y\t", b"\xc3\xa9", b"&amp;lt;", b"a&lt;b&gt;", b"&quot;&apos;", b"&#233;", b"&x;",
        b"&", b"]]>", b"]>", b">", b"~1~", b"\x01", b"\xff", b"\xef\xbf\xbe", b"\xef\xbb\xbf", b"\r", b"<?p </item>?>",
        b"<!--<item></item>-->", b"<![CDATA[</item><item>]]>", b"<item><a>9</a></item>", b"<a>9</a>", b"x" * 9_000,
    ]
)  # fmt: skip
PLAIN_TEXTS = st.sampled_from([b"", b"1", b"12.50", b"2026-09-01", b"\xc3\xa9", b"R&amp;D"])
START = st.sampled_from([b"%b", b"%b", b"%b", b'%b xsi:nil="true"', b'%b x:y="1>2"', b'%b id="7"', b'%b y="&lt;"'])
PLAIN_ROW = st.tuples(PLAIN_TEXTS, PLAIN_TEXTS).map(lambda told: b"<item><a>%b</a><b>%b</b><c/></item>" % told)
STRANGE_ROW = st.tuples(st.lists(st.tuples(st.sampled_from(NAMES), START, TEXTS), max_size=4), START).map(
    lambda told: b"<%b>%b</item>" % (
        told[1] % b"item",
        b"".join(b"<%b>%b</%b>" % (start % name.encode(), text, name.encode()) for name, start, text in told[0]),
    )
)  # fmt: skip
OTHERS = st.sampled_from(
    [
        b"\n", b" \n\n", b"<!-- <item><a>1</a><b></b><c/></item> -->", b"<item/>", b"text", b"</rows><rows>",
        b"<n><item><a>1</a><b>2</b><c/></item></n>", b"<s:item xmlns:s='u'><a>1</a></s:item>", b"<items></items>",
        b"<item><a>1</a></item >",
    ]
)  # fmt: skip
SAME = b"<item><a>1</a><b>2</b><c/></item>"
ROWS = st.lists(st.one_of(PLAIN_ROW, PLAIN_ROW, PLAIN_ROW, STRANGE_ROW, OTHERS), max_size=14)
HEADS = st.sampled_from(
    [
        b"", b'<?xml version="1.0" encoding="UTF-8"?>', b"\xef\xbb\xbf<?xml version='1.0'?>\n",
        b'<?xml version="1.0" encoding="ISO-8859-1"?>', b"<!DOCTYPE r>",
    ]
)  # fmt: skip
ENDS = st.sampled_from(
    [b"</rows></r>", b"</rows></r>", b"</rows></r>\n<!-- -->", b"</rows>", b"</rows></r><item>", b""]
)
ROOT = b'<r xmlns:x="x" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><rows>'


def is_row(element: etree._Element) -> bool:
    parent = element.getparent()
    return parent is not None and parent.tag == "rows"


def row(element: etree._Element) -> Values | Broken:
    """Return the texts of three elements, None where there is none; Broken where one is told twice or holds more."""
    values: dict[str, str | None] = {}
    for child in element:
        name = etree.QName(child).localname
        if name in values or len(child):
            return Broken("not plain", "")
        values[name] = None if child.get(NIL) == "true" else child.text or ""
    return tuple([values.get(name) for name in NAMES])


def flat(path: Path, items: Any) -> Any:
    """Return the rows among items as `batches` has them, or what kind of error there is and what it says."""
    told = (
        item if isinstance(item, pa.RecordBatch) else row(item)
        for item in items
        if isinstance(item, pa.RecordBatch) or is_row(item)
    )
    try:
        return [row for batch in batches(NAMES, told) for row in batch.to_pylist()]
    except (Stop, Retry) as error:
        return type(error), str(error)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(HEADS, ROWS, ENDS, st.sampled_from([7, 100, 1 << 20]), st.sampled_from([0, 0, 0, 3, 40]))
@example(b"", [SAME, SAME, b"<a b='", SAME, b"'/>"], b"</rows></r>", 1 << 20, 0)
@example(b"", [SAME, b"<n>", SAME, SAME, b"</n>", SAME], b"</rows></r>", 1 << 20, 0)
@example(b"", [SAME, SAME, b"<item>\n<a>\x01</a></item>"], b"</rows></r>", 1 << 20, 0)
@example(b"", [SAME, b"<n><![CDATA[", SAME, SAME, b"]]></n>", SAME], b"</rows></r>", 1 << 20, 0)
@example(b"", [SAME, SAME.replace(b"1", b"&#49;"), SAME, SAME.replace(b"1", b"&#1;")], b"</rows></r>", 1 << 20, 0)
def test_rows_taken_many_at_a_time_are_what_a_parser_says(
    tmp_path: Path, head: bytes, rows: list[bytes], end: bytes, block_bytes: int, cut: int
) -> None:
    path = tmp_path / "answer.xml"
    document = head + ROOT + b"".join(rows) + end
    path.write_bytes(document[: len(document) - cut])
    expected = flat(path, iterate_elements(path, "{*}item", what="the answer"))
    assert flat(path, xml_rows(path, "item", row, is_row, what="the answer", block_bytes=block_bytes)) == expected


def test_rows_written_alike_never_reach_the_parser(tmp_path: Path) -> None:
    path = tmp_path / "answer.xml"
    one, other = b"<item><a>%d</a><b>R&amp;D</b></item>\n", b'<item id2="x"><a>%d</a><b xsi:nil="true"/></item>'
    path.write_bytes(
        ROOT + b"".join((one if number % 3 else other) % number for number in range(3_000)) + b"</rows></r>"
    )
    told = list(xml_rows(path, "item", row, is_row, what="the answer", block_bytes=8_000))
    alone = [each for each in told if not isinstance(each, pa.RecordBatch)]
    assert len(alone) < 30
    assert sum(each.num_rows for each in told if isinstance(each, pa.RecordBatch)) == 3_000 - len(alone)
