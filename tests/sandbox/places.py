"""The month the tests live in, and a client for the SFTP servers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import paramiko

from sandbox import credentials
from sandbox.instants import parsed
from sandbox.up import Sandbox

FROM_ON, UNTIL_ON = date(2026, 9, 1), date(2026, 10, 1)
# Long after the last order: everything that will happen has happened.
LATER = parsed("2026-12-01T06:00:00Z")


@dataclass(frozen=True)
class Visitor:
    """A client of one of the SFTP servers."""

    client: paramiko.SFTPClient
    transport: paramiko.Transport


def visit(sandbox: Sandbox, name: str, password: str | None = None) -> Visitor:
    """Log in to an SFTP server, checking its host key against the one in addresses.json."""
    address = sandbox.addresses[name]
    login = getattr(credentials.load(sandbox.directory), name)
    transport = paramiko.Transport((str(address["host"]), int(str(address["port"]))))
    transport.start_client(timeout=10)
    key = transport.get_remote_server_key()
    assert f"{key.get_name()} {key.get_base64()}" == address["host_key"]
    try:
        transport.auth_password(login.username, login.password if password is None else password)
    except paramiko.AuthenticationException:
        transport.close()
        raise
    client = paramiko.SFTPClient.from_transport(transport)
    assert client is not None
    return Visitor(client, transport)
