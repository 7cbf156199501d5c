"""A bank's inbox over SFTP: a file arrives whole under a temporary name and is then given its final one."""

from __future__ import annotations

from dataclasses import dataclass, field

from pydantic import SecretStr

from connectors.transport.host_key import host_key_lines
from connectors.transport.sftp import Part, SftpConnection, SftpSettings
from etl.core.configuration import Bank
from etl.core.connector import Credentials
from etl.core.errors import Stop

FILE_BYTES_MAX = 1 << 30
"""No bank takes a payment file of a gibibyte; more is refused before it fills the memory."""


@dataclass(slots=True)
class SftpInbox:
    """The folder of a bank's SFTP server that takes payment files; speaks to it over an open connection."""

    connection: SftpConnection
    directory: str
    _parts: dict[str, Part] = field(default_factory=dict, init=False)

    def _path(self, name: str) -> str:
        return f"{self.directory.rstrip('/')}/{name}"

    def exists(self, name: str) -> bool:
        """Return whether the bank has a file of this final name."""
        return self.connection.exists(self._path(name))

    def put_part(self, content: bytes, name: str) -> None:
        """Bring the bytes there under a temporary name and check that all arrived; nothing is delivered yet."""
        self._parts[name] = self.connection.put_part(content, self._path(name))

    def finish(self, name: str) -> None:
        """Give the complete file its final name. Whatever this raises, the file may have been delivered."""
        part = self._parts.get(name)
        if part is None:
            raise Stop(f"{name} was not brought to the bank before it was to be finished")
        self.connection.finish(part)

    def read_back(self, name: str) -> bytes | None:
        """Return the bytes under the final name; None if the bank took the file away already."""
        path = self._path(name)
        return self.connection.read_bytes(path, FILE_BYTES_MAX) if self.connection.exists(path) else None


def sftp_settings(bank: Bank, credentials: Credentials) -> SftpSettings:
    """Return how to reach the bank's server; Stop naming the value its connection lacks."""
    for name in ("host", "username", "host_key"):
        if not credentials.get(name):
            raise Stop(f"bank {bank.name}: the connection {bank.connection} has no {name}; enter it there")
    password, key = credentials.get("password"), credentials.get("private_key")
    return SftpSettings(
        connection=bank.connection,
        host=credentials["host"],
        port=int(credentials.get("port") or 22),
        username=credentials["username"],
        host_keys=host_key_lines(credentials["host_key"]),
        password=SecretStr(password) if password else None,
        private_key=SecretStr(key) if key else None,
    )
