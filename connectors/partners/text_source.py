"""Reading a partner's text in pieces: UTF-8 and nothing else, no web page, a limit on everything."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from connectors.transport.answer import is_html
from etl.core.errors import Stop

PIECE_BYTES = 64 * 1024
_BEGINNING_BYTES = 2_048


def check_beginning(source: BinaryIO, what: str) -> None:
    """Raise Stop if the file begins as a web page or as UTF-16, and set it to after a UTF-8 byte order mark."""
    beginning = source.read(_BEGINNING_BYTES)
    if is_html(beginning, ""):
        raise Stop(
            f"{what} is a web page, not data: most likely a login or maintenance page. Look at the landed bytes, check "
            "the credential, and fetch the window again."
        )
    if beginning.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise wrong_encoding(what, 0, "it begins with the byte order mark of UTF-16")
    source.seek(len(codecs.BOM_UTF8) if beginning.startswith(codecs.BOM_UTF8) else 0)


def wrong_encoding(what: str, offset: int, why: str) -> Stop:
    """Return the error for bytes that are not UTF-8, naming where they stand."""
    return Stop(
        f"{what} is not UTF-8 at byte {offset:,} ({why}). Nothing of it is used: it is another dialect of this report, "
        "so set it to UTF-8 at the partner, or ask for a parser of it."
    )


def read_text(path: Path, what: str) -> Iterator[str]:
    """Yield the text of a file in pieces of about 64 KB; Stop naming the byte offset where it is no UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")("strict")
    with path.open("rb") as source:
        check_beginning(source, what)
        offset = source.tell()
        while True:
            piece = source.read(PIECE_BYTES)
            waiting = len(decoder.getstate()[0])
            try:
                text = decoder.decode(piece, final=not piece)
            except UnicodeDecodeError as error:
                raise wrong_encoding(what, offset - waiting + error.start, error.reason) from None
            offset += len(piece)
            if text:
                yield text
            if not piece:
                return


def read_lines(source: BinaryIO, what: str, line_bytes_max: int, offset: int) -> Iterator[tuple[str, bool]]:
    """Yield each line without its end, and whether it had one; Stop at a line longer than the limit, in flat memory.

    `offset` is where in its file `source` stands, for what is said of it.
    """
    while line := source.readline(line_bytes_max + 1):
        if len(line) > line_bytes_max:
            raise Stop(
                f"{what} has a line of more than {line_bytes_max:,} bytes at byte {offset:,}: this is no report of "
                "this dialect. Look at the landed bytes and ask the partner for the report again."
            )
        try:
            text = line.decode("utf-8", "strict")
        except UnicodeDecodeError as error:
            raise wrong_encoding(what, offset + error.start, error.reason) from None
        offset += len(line)
        body = text.removesuffix("\n")
        yield body.removesuffix("\r"), body != text
