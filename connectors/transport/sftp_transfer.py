"""Bringing one remote file here in pieces, pipelined within bounded memory, so that a broken transfer can go on.

The pipeline is our own. paramiko's prefetch sends its requests from a second thread and takes a moment without open
requests for the end of the file: it then falls back to one request at a time, while the answers to all others still
come and are kept. Counted against OpenSSH, 64 requests ahead: 5,982 requests for 3,052 pieces, and 96 of 100 MB still
held at the end.
"""

import fcntl
import hashlib
import os
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import paramiko
from paramiko.sftp import CMD_DATA, CMD_READ, CMD_STATUS, SFTP_EOF, int64

from etl.core.errors import Retry

REQUEST_BYTES = 32 * 1024
REQUESTS_IN_FLIGHT = 128
_HASH_BYTES = 1024 * 1024
OVERLAP_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What must stay true of a remote file for a transfer of it to be one transfer."""

    size: int
    modified_seconds: int


@dataclass(frozen=True, slots=True)
class Transfer:
    """A file that has arrived under its temporary name, for the caller to keep or to forget."""

    part_path: Path
    local_path: Path
    file: BinaryIO
    sha256: str
    resumed_from: int

    def keep(self) -> None:
        """Make the file durable under its own name."""
        self.file.flush()
        os.fsync(self.file.fileno())
        self.part_path.replace(self.local_path)
        _sync_folder(self.local_path.parent)

    def forget(self) -> None:
        """Remove what arrived: it is not one state of the remote file."""
        self.part_path.unlink()


def fetch(source: paramiko.SFTPFile, facts: FileFacts, local_path: Path, what: str, kept: ExitStack) -> Transfer:
    """Return the transfer of a remote file, all bytes here and hashed; `kept` closes the file and lets go of its lock.

    Raises Retry where another run is bringing the same file, or where the remote file turns out to be shorter than it
    was.
    """
    part_path = local_path.with_name(f"{local_path.name}.{facts.size}-{facts.modified_seconds}.part")
    local_path.parent.mkdir(parents=True, exist_ok=True)
    file = kept.enter_context(os.fdopen(os.open(part_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b"))
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Retry(f"{what} is being read by another run into {part_path.name}; try again later.") from None
    for stale in local_path.parent.glob(f"{_escaped(local_path.name)}.*-*.part"):
        if stale != part_path:
            stale.unlink(missing_ok=True)
    digest, start = _resume(file, source, facts)
    position = start
    for piece in _pieces(source, start, facts.size):
        file.write(piece)
        digest.update(piece)
        position += len(piece)
    file.flush()
    if position != facts.size:
        raise Retry(f"{what}: {position:,} of {facts.size:,} bytes came; the rest is asked for next time.")
    return Transfer(part_path, local_path, file, digest.hexdigest(), start)


def _resume(file: BinaryIO, source: paramiko.SFTPFile, facts: FileFacts) -> "tuple[hashlib._Hash, int]":
    """Return the digest of what is here already and where to go on; zero if what is here does not fit the remote
    file.
    """
    digest = hashlib.sha256()
    size = os.fstat(file.fileno()).st_size
    overlap = min(size, OVERLAP_BYTES)
    file.seek(size - overlap)
    if 0 < size <= facts.size:
        there = b"".join(_pieces(source, size - overlap, size))
        if file.read(overlap) == there:
            file.seek(0)
            for piece in iter(lambda: file.read(_HASH_BYTES), b""):
                digest.update(piece)
            return digest, size
    file.seek(0)
    file.truncate()
    return digest, 0


def _pieces(source: paramiko.SFTPFile, start: int, end: int) -> Iterator[bytes]:
    """Yield the bytes from start to end in order, a bounded number of requests ahead; ends early where the file
    does.
    """
    # Neither name is public, but both are as old as paramiko's own prefetch, which is built on them.
    sftp: Any = source.sftp
    answers = _Answers()
    asked: deque[tuple[int, int, int]] = deque()
    at = start
    while at < end or asked:
        while at < end and len(asked) < REQUESTS_IN_FLIGHT:
            length = min(REQUEST_BYTES, end - at)
            asked.append((sftp._async_request(answers, CMD_READ, source.handle, int64(at), length), at, length))
            at += length
        number, position, length = asked.popleft()
        while number not in answers.pieces:
            sftp._read_response()
        piece = answers.pieces.pop(number)
        if 0 < len(piece) < length:
            # A server may give less than was asked for, and not only at the end.
            source.seek(position + len(piece))
            piece += source.read(length - len(piece))
        yield piece
        if len(piece) < length:
            return


class _Answers:
    """What came in answer to requests, by their number, until its turn comes."""

    def __init__(self) -> None:
        self.pieces: dict[int, bytes] = {}

    def _async_response(self, kind: int, message: paramiko.Message, number: int) -> None:
        """Take one answer: the name is the one paramiko calls."""
        if kind == CMD_DATA:
            self.pieces[number] = message.get_string()
            return
        if kind != CMD_STATUS:
            raise paramiko.SFTPError(f"an answer of kind {kind} came to a request for data")
        code, text = message.get_int(), message.get_text()
        if code != SFTP_EOF:
            raise OSError(f"the server answered a request for data with status {code}: {text[:200]!r}")
        self.pieces[number] = b""


def _escaped(name: str) -> str:
    return "".join(f"[{each}]" if each in "*?[" else each for each in name)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
