"""A bank's inbox on an SFTP server, for an open connection: files come as `.part` and are renamed when whole."""

from __future__ import annotations

from connectors.transport.sftp import Part, SftpConnection

READ_BACK_BYTES_MAX = 1024**3


class SftpInbox:
    """The directory where a bank takes files (`etl.core.rail.Inbox`)."""

    def __init__(self, connection: SftpConnection, directory: str) -> None:
        self._connection = connection
        self._directory = directory.rstrip("/")
        self._parts: dict[str, Part] = {}

    def _path(self, name: str) -> str:
        return f"{self._directory}/{name}" if self._directory else name

    def exists(self, name: str) -> bool:
        """Return whether the bank has a file of this final name."""
        return self._connection.exists(self._path(name))

    def put_part(self, content: bytes, name: str) -> None:
        """Bring the bytes there under a temporary name and check that all arrived."""
        self._parts[name] = self._connection.put_part(content, self._path(name))

    def finish(self, name: str) -> None:
        """Give the complete file its final name."""
        self._connection.finish(self._parts.pop(name))

    def read_back(self, name: str) -> bytes | None:
        """Return the bytes under the final name; None if the bank took the file away already."""
        path = self._path(name)
        if not self._connection.exists(path):
            return None
        return self._connection.read_bytes(path, READ_BACK_BYTES_MAX)
