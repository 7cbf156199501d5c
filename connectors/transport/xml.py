"""Reading XML that somebody else wrote: in pieces, without document types, entities or network, and never half."""

from collections.abc import Iterator
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import cast

from lxml import etree

from etl.core.errors import Retry, Stop

# Memory does not grow with a document: this ends one that never does.
BYTES_MAX = 32 * 1024 * 1024 * 1024
_PIECE_BYTES = 64 * 1024
_SHOWN_CHARACTERS = 200


def iterate_elements(
    source: bytes | Path, tag: str, *, bytes_max: int = BYTES_MAX, depth_max: int = 64, what: str = "the XML"
) -> Iterator[etree._Element]:
    """Yield every element of a tag ("item", "{namespace}item", "{*}item") and free it once the next one is asked for.

    What an element needs must be taken from it before going on; of nested elements of one tag the inner one comes
    first.

    Raises Stop for a document type (no partner needs one, and it is how entity attacks begin), for XML that is
    malformed and for one deeper or larger than the limits. Raises Retry where the document simply ends too early: all
    that came is well formed, so the transfer broke off, and fetching again may bring the rest. Elements already
    yielded are then not the whole and nothing may be kept of them.
    """
    reader = XmlReader(tag, bytes_max=bytes_max, depth_max=depth_max, what=what)
    with ExitStack() as stack:
        file = BytesIO(source) if isinstance(source, bytes) else stack.enter_context(source.open("rb"))
        while piece := file.read(_PIECE_BYTES):
            yield from reader.feed(piece)
    reader.close()


class XmlReader:
    """The same for whoever has the pieces: elements come as their pieces do, errors as `iterate_elements`."""

    def __init__(self, tag: str, *, bytes_max: int = BYTES_MAX, depth_max: int = 64, what: str = "the XML") -> None:
        self._parser = etree.XMLPullParser(
            events=("end",),
            tag=tag,
            resolve_entities=False,
            no_network=True,
            load_dtd=False,
            dtd_validation=False,
            huge_tree=False,
            remove_comments=True,
            remove_pis=True,
        )
        self._bytes_max = bytes_max
        self._depth_max = depth_max
        self._what = what
        self._byte_count = 0
        self._beginning = b""
        self._is_checked = False

    def count(self, byte_count: int) -> None:
        """Count bytes of the document; Stop if they are more than the limit."""
        self._byte_count += byte_count
        if self._byte_count > self._bytes_max:
            raise Stop(f"{self._what} is larger than the limit of {self._bytes_max:,} bytes; ask for less at once.")

    def feed(self, piece: bytes) -> Iterator[etree._Element]:
        """Yield the elements that end in the next piece, each freed once the next one is asked for."""
        self.count(len(piece))
        self._beginning = self._beginning or piece.lstrip()[:8]
        _feed(self._parser, piece, self._what)
        for _event, element in _elements(self._parser):
            if not self._is_checked:
                _refuse_document_type(element, self._what)
                self._is_checked = True
            _refuse_depth(element, self._depth_max, self._what)
            yield element
            _free(element)

    def close(self) -> None:
        """Say that there are no more pieces; Stop or Retry if they are no whole document."""
        if self._beginning and b"<" not in self._beginning:
            raise Stop(
                f"{self._what} is no XML at all ({self._byte_count:,} bytes); check the address, and the partner's "
                "documentation."
            )
        _refuse_document_type(_close(self._parser, self._byte_count, self._what), self._what)


def _elements(parser: "etree.XMLPullParser") -> Iterator[tuple[str, etree._Element]]:
    """Return the parser's events as what they are when only ends are asked for."""
    return cast(Iterator[tuple[str, etree._Element]], parser.read_events())


def _feed(parser: "etree.XMLPullParser", piece: bytes, what: str) -> None:
    wrong = ""
    try:
        parser.feed(piece)
    except etree.XMLSyntaxError as error:
        wrong = str(error.msg)
    # An entity that nobody declared only stops the parser, without an exception: the rest would be missing in silence.
    for entry in () if wrong else parser.feed_error_log.filter_from_fatals():
        wrong = f"{entry.message}, line {entry.line}"
        break
    if wrong:
        raise Stop(
            f"{what} is not well-formed: {_shown(wrong)}. Nothing of it is used; ask the partner, or look at the "
            "answer."
        )


def _close(parser: "etree.XMLPullParser", byte_count: int, what: str) -> etree._Element:
    try:
        return parser.close()
    except etree.XMLSyntaxError as error:
        raise Retry(
            f"{what} ends in the middle, after {byte_count:,} bytes ({_shown(str(error.msg))}); the transfer was "
            "cut off, "
            "fetch it again."
        ) from None


def _refuse_document_type(element: etree._Element, what: str) -> None:
    if element.getroottree().docinfo.internalDTD is not None:
        raise Stop(
            f"{what} declares a document type (DOCTYPE). Data needs none and attacks do, so it is refused; ask the "
            "partner."
        )


def _refuse_depth(element: etree._Element, depth_max: int, what: str) -> None:
    depth, outer = 1, element.getparent()
    while outer is not None:
        depth, outer = depth + 1, outer.getparent()
        if depth > depth_max:
            raise Stop(f"{what} is nested deeper than the limit of {depth_max} elements; ask the partner.")


def _free(element: etree._Element) -> None:
    """Let go of an element and of all that stands before it, or a large document would stay in memory whole."""
    element.clear()
    parent = element.getparent()
    while parent is not None and element.getprevious() is not None:
        del parent[0]


def _shown(message: str) -> str:
    return "".join(each if each.isprintable() else "?" for each in message)[:_SHOWN_CHARACTERS]
