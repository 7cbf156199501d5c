"""Files over SFTP: read whole or not at all, resumed where a connection broke; written beside, checked, then renamed.

Reading goes to a local `.part` file whose name holds the remote size and date, so only a transfer of the same file is
resumed. Writing goes to a remote `.part` file; `put_part` and `finish` are two steps so that a caller can commit what
it is about to do between them. A final name is never overwritten.
"""

import hashlib
import stat as modes
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import paramiko

from connectors.transport.remote_name import shown, usable_path, why_unusable
from connectors.transport.sftp_session import SftpSession, SftpSettings
from connectors.transport.sftp_transfer import FileFacts, fetch
from etl.core.errors import Retry, Stop

_PIECE_BYTES = 256 * 1024
PART = ".part"

__all__ = ["IgnoredName", "Listing", "Part", "Received", "RemoteFile", "SftpConnection", "SftpSettings"]


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file on the server: its whole path, size, and the date (UTC) the server gives it."""

    path: str
    size: int
    modified_at: datetime


@dataclass(frozen=True, slots=True)
class IgnoredName:
    """A directory entry that is not used, as it can be printed, and why."""

    name_shown: str
    reason: str


@dataclass(frozen=True, slots=True)
class Listing:
    """What a directory holds, each in name order: files to use, and names that must not be."""

    files: tuple[RemoteFile, ...]
    ignored: tuple[IgnoredName, ...]


@dataclass(frozen=True, slots=True)
class Received:
    """A remote file that is here now, whole."""

    remote: RemoteFile
    local_path: Path
    sha256: str
    resumed_from: int


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes that lie complete on the server under a temporary name, or (`is_finished`) already under the final one."""

    path: str
    size: int
    sha256: str
    is_finished: bool

    @property
    def part_path(self) -> str:
        """Return the temporary name."""
        return self.path + PART


class SftpConnection(SftpSession):
    """The files of one server, for as long as the session is open; use it as a context manager."""

    def list(self, directory: str) -> Listing:
        """Return the directory's plain files and, apart, every name that must not be used; nothing of the names is
        trusted.
        """
        files: list[RemoteFile] = []
        ignored: list[IgnoredName] = []
        with self._typed(f"listing {shown(directory)}"):
            for count, entry in enumerate(self._sftp.listdir_iter(directory)):
                if count >= self.settings.directory_entries_max:
                    raise Stop(
                        f"{self.settings.connection}: {shown(directory)} holds more than "
                        f"{self.settings.directory_entries_max:,} "
                        f"entries; have it cleared, or raise the limit."
                    )
                reason = why_unusable(entry.filename)
                if reason is None and entry.st_mode is not None and not modes.S_ISREG(entry.st_mode):
                    reason = "it is no regular file"
                if reason is None:
                    files.append(self._remote(f"{directory.rstrip('/')}/{entry.filename}", entry))
                else:
                    ignored.append(IgnoredName(shown(entry.filename), reason))
        return Listing(
            tuple(sorted(files, key=lambda each: each.path)), tuple(sorted(ignored, key=lambda each: each.name_shown))
        )

    def stat(self, path: str) -> RemoteFile | None:
        """Return what is known of a file, None where there is none of that name; raises Stop for anything but a plain
        file.
        """
        with self._typed(f"looking at {shown(path)}"):
            try:
                attributes = self._sftp.stat(path)
            except FileNotFoundError:
                return None
        if attributes.st_mode is not None and not modes.S_ISREG(attributes.st_mode):
            raise Stop(f"{self.settings.connection}: {shown(path)} is no regular file; correct the path.")
        return self._remote(path, attributes)

    def exists(self, path: str) -> bool:
        """Return whether there is anything of that name."""
        with self._typed(f"looking at {shown(path)}"):
            try:
                self._sftp.lstat(path)
            except FileNotFoundError:
                return False
        return True

    def read(self, path: str, local_path: Path, bytes_max: int | None = None) -> Received:
        """Bring a whole remote file to `local_path`, resuming an earlier transfer of the same file that broke off.

        Raises Retry where the connection breaks or the file is still being written, and Stop where the file is larger
        than the limit, is missing, or has a name that must not be used. `local_path` comes into being whole, or not.
        """
        name = usable_path(path, self.settings.connection)
        before = self._needed(name)
        limit = self.settings.bytes_max if bytes_max is None else bytes_max
        if before.size > limit:
            raise Stop(
                f"{self.settings.connection}: {shown(path)} has {before.size:,} bytes, over the limit of {limit:,}. "
                f"Look at it, and raise the limit if it is right."
            )
        facts = FileFacts(before.size, round(before.modified_at.timestamp()))
        with self._typed(f"reading {shown(path)}"), self._sftp.open(name, "rb") as source, ExitStack() as kept:
            transfer = fetch(source, facts, local_path, f"{self.settings.connection}: {shown(path)}", kept)
            if self._needed(name) != before:
                transfer.forget()
                raise Retry(
                    f"{self.settings.connection}: {shown(path)} changed while it was read, so it is still being "
                    "written; "
                    f"it is read again later."
                )
            transfer.keep()
        return Received(before, local_path, transfer.sha256, transfer.resumed_from)

    def read_bytes(self, path: str, bytes_max: int) -> bytes:
        """Return a small file's bytes; limits and errors as for `read`."""
        name = usable_path(path, self.settings.connection)
        with self._typed(f"reading {shown(path)}"), self._sftp.open(name, "rb") as source:
            content = bytearray()
            while piece := source.read(_PIECE_BYTES):
                content += piece
                if len(content) > bytes_max:
                    raise Stop(
                        f"{self.settings.connection}: {shown(path)} is larger than the limit of {bytes_max:,} bytes."
                    )
        return bytes(content)

    def write(self, content: bytes | Path, path: str) -> Part:
        """Write a file under its final name, in the steps `put_part` and `finish`."""
        part = self.put_part(content, path)
        self.finish(part)
        return part

    def put_part(self, content: bytes | Path, path: str) -> Part:
        """Write the bytes under the temporary name and check that all arrived; repeating it is harmless.

        Where the final name is taken: if it holds the same bytes, the Part says it is finished; else raises Stop.
        """
        name = usable_path(path, self.settings.connection)
        size, sha256 = _measure(content)
        part = Part(name, size, sha256, is_finished=False)
        if self.exists(name):
            self._must_be_same(part)
            return Part(name, size, sha256, is_finished=True)
        with self._typed(f"writing {shown(part.part_path)}"), ExitStack() as stack:
            source = BytesIO(content) if isinstance(content, bytes) else stack.enter_context(content.open("rb"))
            target = stack.enter_context(self._sftp.open(part.part_path, "wb"))
            target.set_pipelined(True)
            while piece := source.read(_PIECE_BYTES):
                target.write(piece)
        self._must_be_whole(part.part_path, part)
        return part

    def finish(self, part: Part) -> None:
        """Give a complete part its final name; from then on the other side may use it.

        Uses SFTP's own rename and not OpenSSH's posix-rename: the former fails where the name is taken, the latter
        overwrites what came there since we looked. Raises Stop if the connection breaks on the way, as it is unknown
        then whether the other side has the file.
        """
        if part.is_finished:
            return
        self._must_be_whole(part.part_path, part)
        if self.exists(part.path):
            raise self._taken(part)
        try:
            with self._typed(f"renaming {shown(part.part_path)}"):
                self._sftp.rename(part.part_path, part.path)
        except Retry as error:
            if self._transport is not None and self._transport.is_active() and self.exists(part.part_path):
                if self.exists(part.path):
                    raise self._taken(part) from error
                raise
            raise Stop(
                f"{self.settings.connection}: it is unknown whether {shown(part.path)} was delivered: the "
                "connection broke while it "
                f"got its final name. It is not sent again; ask the receiver for a file of {part.size:,} bytes, sha256 "
                f"{part.sha256}."
            ) from error
        # A receiver may pick the file up at once, so that it is gone already is no error; another size is.
        after = self.stat(part.path)
        if after is not None and after.size != part.size:
            raise Stop(
                f"{self.settings.connection}: {shown(part.path)} has {after.size:,} bytes after it was written, not "
                f"{part.size:,}. "
                f"Tell the receiver not to use it."
            )

    def _must_be_whole(self, path: str, part: Part) -> None:
        there = self.stat(path)
        if there is None or there.size != part.size:
            seen = "nothing" if there is None else f"{there.size:,} bytes"
            raise Retry(
                f"{self.settings.connection}: {shown(path)} should have {part.size:,} bytes but has {seen}; it is "
                "written again."
            )

    def _must_be_same(self, part: Part) -> None:
        there = self.stat(part.path)
        if there is None or there.size != part.size:
            raise self._taken(part)
        if hashlib.sha256(self.read_bytes(part.path, part.size)).hexdigest() != part.sha256:
            raise self._taken(part)

    def _taken(self, part: Part) -> Stop:
        return Stop(
            f"{self.settings.connection}: {shown(part.path)} is there already, with other content than the "
            f"{part.size:,} bytes to be "
            f"written (sha256 {part.sha256}). It is never overwritten: find out what the existing one is."
        )

    def _needed(self, path: str) -> RemoteFile:
        found = self.stat(path)
        if found is None:
            raise Stop(
                f"{self.settings.connection}: there is no file {shown(path)}; check the path, or ask the partner."
            )
        return found

    def _remote(self, path: str, attributes: paramiko.SFTPAttributes) -> RemoteFile:
        if attributes.st_size is None or attributes.st_mtime is None:
            raise Stop(
                f"{self.settings.connection}: the server does not tell size and date of {shown(path)}; both are needed."
            )
        return RemoteFile(path, attributes.st_size, datetime.fromtimestamp(attributes.st_mtime, UTC))


def _measure(content: bytes | Path) -> tuple[int, str]:
    if isinstance(content, bytes):
        return len(content), hashlib.sha256(content).hexdigest()
    with content.open("rb") as file:
        return content.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()
