"""An SFTP server over a tree of files: password login of one user, an Ed25519 host key, nothing but SFTP."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Callable
from hmac import compare_digest
from pathlib import Path
from typing import Any

import paramiko

from sandbox.credentials import Login
from sandbox.servers import process

_BACKLOG = 32


class Door(paramiko.ServerInterface):
    """Lets in one user by password."""

    def __init__(self, login: Login) -> None:
        self._login = login

    def get_allowed_auths(self, _username: str) -> str:
        """Return the one way in."""
        return "password"

    def check_auth_password(self, username: str, password: str) -> int:
        """Return whether name and password are right."""
        is_user = compare_digest(username.encode(), self._login.username.encode())
        is_password = compare_digest(password.encode(), self._login.password.encode())
        return paramiko.common.AUTH_SUCCESSFUL if is_user and is_password else paramiko.common.AUTH_FAILED

    def check_channel_request(self, kind: str, _chanid: int) -> int:
        """Return that a session may be opened, for the SFTP subsystem."""
        if kind == "session":
            return paramiko.common.OPEN_SUCCEEDED
        return paramiko.common.OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED


class SftpServer:
    """Accepts connections and serves each in its own thread."""

    def __init__(self, login: Login, key_path: Path, tree: Callable[..., paramiko.SFTPServerInterface]) -> None:
        self._login = login
        self._key = paramiko.Ed25519Key.from_private_key_file(str(key_path))
        self._tree = tree
        self._listener = socket.create_server((process.HOST, 0), backlog=_BACKLOG)
        # A client that leaves in the middle of the handshake is no news.
        logging.getLogger("paramiko").setLevel(logging.CRITICAL)

    @property
    def port(self) -> int:
        """Return the port it listens on."""
        return int(self._listener.getsockname()[1])

    def serve_forever(self) -> None:
        """Accept connections until the process ends."""
        while True:
            connection, _ = self._listener.accept()
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport = paramiko.Transport(connection)
        transport.add_server_key(self._key)
        arguments: dict[str, Any] = {"sftp_si": self._tree}
        transport.set_subsystem_handler("sftp", paramiko.SFTPServer, **arguments)
        # A client that gives up, or speaks something else, ends its own connection and nobody else's.
        with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
            transport.start_server(server=Door(self._login))
            transport.join()
