"""The bank's SFTP inbox: files are written, renamed and listed there, and lie in the world folder for all to see."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC
from pathlib import Path
from typing import Any

import paramiko

from sandbox import clock, credentials
from sandbox.servers.sftp import SftpServer

DIRECTORY = "/inbox"


class InboxTree(paramiko.SFTPServerInterface):
    """A real folder; no path leads out of it."""

    def __init__(self, server: Any, *, root: Path, directory: Path) -> None:
        super().__init__(server)
        self._root = root
        self._directory = directory

    def _real(self, path: str) -> Path:
        # canonicalize resolves every `..` against `/`, so what is left cannot climb.
        return self._root / self.canonicalize(path).lstrip("/")

    def list_folder(self, path: str) -> list[paramiko.SFTPAttributes] | int:
        """Return the files of a folder, by name."""
        try:
            entries = sorted(self._real(path).iterdir())
            return [paramiko.SFTPAttributes.from_stat(entry.stat(), entry.name) for entry in entries]
        except OSError as error:
            return _code(error)

    def stat(self, path: str) -> paramiko.SFTPAttributes | int:
        """Return size and time of a file."""
        try:
            return paramiko.SFTPAttributes.from_stat(self._real(path).stat())
        except OSError as error:
            return _code(error)

    def lstat(self, path: str) -> paramiko.SFTPAttributes | int:
        """Return the same as `stat`; nobody can make a link here."""
        return self.stat(path)

    def open(self, path: str, flags: int, _attr: paramiko.SFTPAttributes) -> paramiko.SFTPHandle | int:
        """Return a handle to read or write a file of the inbox."""
        real = self._real(path)
        if real.parent != self._root / DIRECTORY.strip("/"):
            return paramiko.sftp.SFTP_PERMISSION_DENIED
        try:
            descriptor = os.open(real, flags | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            return _code(error)
        mode = {os.O_RDONLY: "rb", os.O_WRONLY: "ab" if flags & os.O_APPEND else "wb"}.get(flags & 3, "rb+")
        file = os.fdopen(descriptor, mode)
        handle = InboxHandle(flags, real, self._directory)
        # paramiko reads and writes through these two names.
        handle.readfile = handle.writefile = file
        return handle

    def rename(self, oldpath: str, newpath: str) -> int:
        """Rename a file; a name that is taken is refused, as the protocol says."""
        if self._real(newpath).exists():
            return paramiko.sftp.SFTP_FAILURE
        return self.posix_rename(oldpath, newpath)

    def posix_rename(self, oldpath: str, newpath: str) -> int:
        """Rename a file, over another if need be."""
        try:
            self._real(oldpath).replace(self._real(newpath))
        except OSError as error:
            return _code(error)
        return paramiko.sftp.SFTP_OK

    def remove(self, path: str) -> int:
        """Remove a file."""
        try:
            self._real(path).unlink()
        except OSError as error:
            return _code(error)
        return paramiko.sftp.SFTP_OK


class InboxHandle(paramiko.SFTPHandle):
    """An open file of the inbox, dated by simulated now when it is closed after writing."""

    readfile: Any
    writefile: Any

    def __init__(self, flags: int, real: Path, directory: Path) -> None:
        super().__init__(flags)
        self._is_written = bool(flags & 3)
        self._real = real
        self._directory = directory

    def stat(self) -> paramiko.SFTPAttributes | int:
        """Return size and time of the open file."""
        try:
            return paramiko.SFTPAttributes.from_stat(os.fstat(self.readfile.fileno()))
        except OSError as error:
            return _code(error)

    def close(self) -> None:
        """Close the file and date it."""
        super().close()
        if self._is_written and self._real.exists():
            at = clock.now(self._directory).replace(tzinfo=UTC).timestamp()
            os.utime(self._real, (at, at))


def server(directory: Path) -> SftpServer:
    """Return the bank's server for a world, listening but not yet serving."""
    login = credentials.load(directory).bank
    return SftpServer(login, credentials.host_key_path(directory, "bank"), _tree(directory))


def _tree(directory: Path) -> Callable[..., paramiko.SFTPServerInterface]:
    def tree(door: Any) -> paramiko.SFTPServerInterface:
        return InboxTree(door, root=directory / "bank", directory=directory)

    return tree


def _code(error: OSError) -> int:
    return paramiko.SFTPServer.convert_errno(error.errno or 0)
