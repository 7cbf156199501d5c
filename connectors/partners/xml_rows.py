"""Rows of an XML report: elements one by one, and those written as one before them was, many at a time.

To make a tree of a row takes several times as long as all else that is done with it, and a partner writes nearly every
row of a report in one of a few ways: the same tags in the same order, other texts between them. So the first row of
each way is read with a parser; of those after it that repeat its tags byte for byte only the texts are taken, and the
parser is never shown them. What is read is the same, for tags that were well-formed once are so again, and texts are
taken only where no parser would change or refuse one. Once a document holds anything in which a tag is no tag (a
comment, CDATA), all the rest of it goes to the parser.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from lxml import etree

from connectors.partners.rows import CELL_CHARACTERS_MAX, Broken, Values
from connectors.transport.xml import XmlReader, iterate_elements
from etl.core.errors import Retry, Stop

BLOCK_BYTES = 1024 * 1024
SHAPES_MAX = 16
_ROW_BYTES_MAX = 256 * 1024
_DECLARATION = re.compile(
    rb"""\A(?:\xef\xbb\xbf)?(?:<\?xml\s+version=(?:"1\.0"|'1\.0')(?:\s+encoding=(?:"utf-8"|'utf-8'))?\s*\?>)?""", re.I
)
# No text holds these, and no parser takes them as a text.
_NO_TEXT = (b"]]>", b"\xef\xbf\xbe", b"\xef\xbf\xbf")
_NAMED_CHARACTERS = (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&apos;", "'"), ("&amp;", "&"))
_TEXT = rb"[^<]*+"
# The same where a text names characters: those five alone, which are put in their place later.
_NAMING_TEXT = rb"[^<&]*+(?:&(?:amp|lt|gt|quot|apos);[^<&]*+)*+"
_BETWEEN_TAGS = re.compile(rb">([^<]*)<")
# What is told elsewhere, or may be referred to from there, is not told by the row alone.
_REFERENCE = re.compile(rb"\s(?:id|href)\s*=", re.I)
_MARK = re.compile(r"~([0-9]+)~")

Row = Callable[[etree._Element], "Values | Broken"]
_Texts = tuple[bytes | None, ...]


def xml_rows(
    path: Path,
    name: str,
    row: Row,
    is_row: Callable[[etree._Element], bool],
    *,
    tag: str | None = None,
    what: str,
    block_bytes: int = BLOCK_BYTES,
) -> Iterator[etree._Element | pa.RecordBatch]:
    """Yield the elements of `tag` ({*}name), and of many plain ones called `name` what `row` says of them as a batch.

    `is_row` tells by where an element stands whether it is a row. `row` must take texts as they are and decide nothing
    by them. Errors as `iterate_elements`, and elements are freed as there.
    """
    shown = tag or f"{{*}}{name}"
    try:
        yield from _read(path, _Rows(XmlReader(shown, what=what), name, row, is_row), block_bytes)
    except (Stop, Retry):
        # The parser was not shown all: what is wrong, and where, is told by one that is.
        for _ in iterate_elements(path, shown, what=what):
            pass
        raise


def _read(path: Path, rows: _Rows, block_bytes: int) -> Iterator[etree._Element | pa.RecordBatch]:
    with path.open("rb") as file:
        while block := file.read(block_bytes):
            yield from rows.read(block)
        if rows.waiting:
            yield from rows.reader.feed(rows.waiting)
    rows.reader.close()


class _Rows:
    """Where the reading of a document stands; `waiting` are the bytes after the last row that ended."""

    def __init__(self, reader: XmlReader, name: str, row: Row, is_row: Callable[[etree._Element], bool]) -> None:
        self.waiting = b""
        self.reader = reader
        self._name = name
        self._begins = (f"<{name}>".encode(), f"<{name} ".encode())
        self._end = f"</{name}>".encode()
        self._row = row
        self._is_row = is_row
        self._is_plain = True
        self._parent: etree._Element | None = None
        self._shapes: list[_Shape] = []
        self._known: set[bytes] = set()
        self._is_naming = False
        # So many rows ended in what the parser was shown, and so many it told of: if they differ, it reads other ends.
        self._shown = self._told = 0

    def read(self, block: bytes) -> Iterator[etree._Element | pa.RecordBatch]:
        """Yield what ends in the next block."""
        text, at, self.waiting = self.waiting + block, 0, b""
        while self._is_plain and (end := text.find(self._end, at) + len(self._end)) >= len(self._end):
            yield from self._shown_row(text[at:end])
            begin, at = at, end
            if self._is_plain and self._parent is not None:
                self._learn(self._parent, text, begin, end)
                batch, at = self._taken(text, end)
                if batch is not None:
                    self.reader.count(at - end)
                    yield batch
        if self._is_plain and len(text) - at <= _ROW_BYTES_MAX:
            self.waiting = text[at:]
        else:
            self._is_plain = False
            yield from self.reader.feed(text[at:])

    def _shown_row(self, piece: bytes) -> Iterator[etree._Element]:
        """Show the parser what ends with the end of a row, and yield the elements that end in it."""
        parent = self._parent
        self._shown += 1
        yield from self._seen(self.reader.feed(piece))
        others = piece if self._shown > 1 else _DECLARATION.sub(b"", piece)
        self._is_plain = self._shown == self._told and b"<!" not in others and b"<?" not in others
        if self._parent is not parent:
            self._shapes, self._known = [], set()

    def _seen(self, elements: Iterable[etree._Element]) -> Iterator[etree._Element]:
        """Yield elements; remembers how many were called as rows are, and where the last one stands if it is one."""
        for element in elements:
            if etree.QName(element).localname == self._name:
                self._told += 1
                self._parent = element.getparent() if self._is_row(element) else None
            yield element

    def _learn(self, parent: etree._Element, text: bytes, begin: int, end: int) -> None:
        """Remember how the row is written that ends at `end`, unless it is known."""
        begin = max(text.rfind(each, begin, end) for each in self._begins)
        raw = text[begin:end]
        tags = _BETWEEN_TAGS.sub(b"><", raw)
        if begin >= 0 and tags not in self._known and len(self._known) < SHAPES_MAX:
            self._known.add(tags)
            shape = None if _REFERENCE.search(tags) else _shape(raw, parent, self._row)
            if shape is not None:
                self._shapes.append(shape)

    def _taken(self, text: bytes, begin: int) -> tuple[pa.RecordBatch | None, int]:
        """Return the rows from `begin` on that are written in a known way, and where they end."""
        rows, at = self._matched(text, begin)
        if not self._is_naming and text.find(b"&", begin, at) >= 0:
            # For good, or a document with many would be looked at again for each.
            self._is_naming = True
            rows, at = self._matched(text, begin)
        if not rows:
            return None, begin
        batch = _batch(text[begin:at], rows)
        self._is_plain = batch is not None
        return batch, at if batch is not None else begin

    def _matched(self, text: bytes, begin: int) -> tuple[list[_Texts], int]:
        rows: list[_Texts] = []
        at, is_found = begin, True
        while is_found:
            is_found = False
            for place, shape in enumerate(self._shapes):
                if (end := shape.take(text, at, rows, is_naming=self._is_naming)) > at:
                    # Most likely the next ones are written so, too.
                    self._shapes.insert(0, self._shapes.pop(place))
                    at, is_found = end, True
                    break
        return rows, at


@dataclass(frozen=True, slots=True)
class _Shape:
    """A way to write a row: its tags, and which of the texts between them are its values."""

    pattern: re.Pattern[bytes]
    naming_pattern: re.Pattern[bytes]
    pick: Callable[[tuple[Any, ...]], _Texts]

    def take(self, text: bytes, begin: int, rows: list[_Texts], *, is_naming: bool) -> int:
        """Append the values of the rows of this way that follow each other from `begin` on; return where they end."""
        pick, match = self.pick, (self.naming_pattern if is_naming else self.pattern).match
        at = begin
        while (found := match(text, at)) is not None:
            rows.append(pick((*found.groups(), None, b"")))
            at = found.end()
        return at


def _shape(raw: bytes, parent: etree._Element, row: Row) -> _Shape | None:
    """Return how a row is written; None if `row` takes anything else of it than texts.

    Each text is replaced by a mark, to see where in what `row` says it comes out.
    """
    pieces = _BETWEEN_TAGS.split(raw)
    tags = pieces[::2]
    marked = b"".join(b"%b>~%d~<" % (tag, place) for place, tag in enumerate(tags[:-1])) + tags[-1]
    try:
        (element,) = etree.fromstring(_around(parent, marked), etree.XMLParser(resolve_entities=False, no_network=True))
    except (etree.XMLSyntaxError, ValueError):
        return None
    values = row(element)
    if isinstance(values, Broken):
        return None
    marks = [_MARK.fullmatch(value) if value else None for value in values]
    if any(value and mark is None for value, mark in zip(values, marks, strict=True)):
        return None
    used = sorted({int(mark[1]) for mark in marks if mark is not None})
    places = [
        len(used) + (value is not None) if mark is None else used.index(int(mark[1]))
        for value, mark in zip(values, marks, strict=True)
    ]
    return _Shape(_pattern(tags, used, _TEXT), _pattern(tags, used, _NAMING_TEXT), itemgetter(*places))


def _pattern(tags: Sequence[bytes], used: Sequence[int], text: bytes) -> re.Pattern[bytes]:
    """Return what finds a row of these tags, whatever blanks are before it, with its used texts as groups."""
    texts = [b">(%b)<" % text if place in used else b">%b<" % text for place in range(len(tags) - 1)]
    written = b"".join(re.escape(tag) + told for tag, told in zip(tags, [*texts, b""], strict=True))
    return re.compile(rb"[ \t\n]*+" + written)


def _around(parent: etree._Element, marked: bytes) -> bytes:
    """Return a row as a document of its own, in which its prefixes mean what they mean under `parent`."""
    spaces = " ".join(
        f"xmlns{':' + prefix if prefix else ''}={quoteattr(space)}" for prefix, space in parent.nsmap.items()
    )
    return b"<row %b>%b</row>" % (spaces.encode(), marked)


def _is_text(told: bytes) -> bool:
    """Return whether the texts in what was told are such that any parser takes them as they are."""
    below = int(np.count_nonzero(np.frombuffer(told, np.uint8) < ord(" ")))
    if below != told.count(b"\n") + told.count(b"\t"):
        return False
    # To look for one byte that is not there takes next to nothing.
    return (told.isascii() and b"]" not in told) or not any(each in told for each in _NO_TEXT)


def _batch(text: bytes, rows: Sequence[_Texts]) -> pa.RecordBatch | None:
    """Return rows that stand in `text` as columns of text; None if a parser or a column would not take them."""
    try:
        text.decode("utf-8", "strict")
    except UnicodeDecodeError:
        return None
    if not _is_text(text):
        return None
    columns = []
    for values in zip(*rows, strict=True):
        column = pa.array(values, pa.binary()).cast(pa.string())
        if (pc.max(pc.binary_length(column)).as_py() or 0) > CELL_CHARACTERS_MAX:
            return None
        if b"&" in text and pc.any(pc.match_substring(column, "&")).as_py():
            for told, meant in _NAMED_CHARACTERS:
                column = pc.replace_substring(column, told, meant)
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, names=[str(place) for place in range(len(columns))])
