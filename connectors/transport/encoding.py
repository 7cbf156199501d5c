"""Unpacking what came over HTTP: gzip and nothing else, in small pieces, to its end and its check sum."""

import zlib
from collections.abc import Iterable, Iterator

_PIECE_BYTES = 1024 * 1024
_GZIP_WINDOW = 16 + zlib.MAX_WBITS
UNPACKED = ("", "identity")
GZIP = "gzip"


class DamagedError(Exception):
    """What came is no gzip, or its check sum does not fit."""


class CutOffError(Exception):
    """The packed bytes end before their end."""


def unpacked(pieces: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """Yield the bytes of a body in pieces of at most a megabyte (or as they came, if they are not packed).

    Unlike httpx's own reading this one sees a body that was cut off, reads every member of it, and unpacks no more than
    a piece at once: a kilobyte may hold a gigabyte. Raises DamagedError and CutOffError.
    """
    if encoding != GZIP:
        yield from pieces
        return
    unpacker = zlib.decompressobj(_GZIP_WINDOW)
    has_begun = False
    for piece in pieces:
        packed = piece
        while packed:
            if unpacker.eof:
                # A body may be several packed ones, one after another.
                unpacker, has_begun = zlib.decompressobj(_GZIP_WINDOW), False
            try:
                yield unpacker.decompress(packed, _PIECE_BYTES)
            except zlib.error as error:
                raise DamagedError(str(error)) from None
            has_begun = True
            packed = unpacker.unconsumed_tail or unpacker.unused_data
    while has_begun and not unpacker.eof:
        # What is still inside comes out without anything more going in; nothing comes if the end is missing.
        rest = unpacker.decompress(b"", _PIECE_BYTES)
        if not rest:
            raise CutOffError("the packed bytes end before their end")
        yield rest
