"""An SFTP server on loopback, in this process, that a test can make misbehave in ways no real server would."""

import errno
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import paramiko
from paramiko.common import AUTH_FAILED, AUTH_SUCCESSFUL, OPEN_SUCCEEDED
from paramiko.sftp import SFTP_FAILURE, SFTP_OK
from paramiko.sftp_attr import SFTPAttributes
from paramiko.sftp_handle import SFTPHandle
from paramiko.sftp_server import SFTPServer
from paramiko.sftp_si import SFTPServerInterface

USER = "finance"
PASSWORD = "pass-of-finance"


@dataclass(slots=True)
class SftpServer:
    """The server's state: what it serves, what it counted, and the tricks it plays."""

    root: Path
    host_key: paramiko.PKey
    accepted_key: paramiko.PKey
    port: int = 0
    bytes_read: int = 0
    logins: list[str] = field(default_factory=list)
    extra_names: list[str] = field(default_factory=list)
    drop_after_bytes: int | None = None
    after_read: Callable[[Path], object] | None = None
    rename_fails_with: int | None = None
    drop_on_rename: bool = False
    short_write: bool = False
    read_at_most: int | None = None


class _Login(paramiko.ServerInterface):
    def __init__(self, state: SftpServer) -> None:
        self.state = state

    def get_allowed_auths(self, username: str) -> str:
        return "password,publickey"

    def check_auth_password(self, username: str, password: str) -> int:
        self.state.logins.append(f"password {password}")
        return AUTH_SUCCESSFUL if (username, password) == (USER, PASSWORD) else AUTH_FAILED

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        self.state.logins.append("publickey")
        return AUTH_SUCCESSFUL if username == USER and key == self.state.accepted_key else AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return OPEN_SUCCEEDED


class _Handle(SFTPHandle):
    def __init__(self, files: "_Files", path: Path, flags: int) -> None:
        super().__init__(flags)
        self.files = files
        self.path = path
        self.descriptor = os.open(path, flags, 0o600)

    def close(self) -> None:
        os.close(self.descriptor)

    def read(self, offset: int, length: int) -> bytes | int:
        state = self.files.state
        limit = state.drop_after_bytes
        if self.files.is_dropped or (limit is not None and state.bytes_read >= limit):
            # Requests that came before the break are still in the queue: they get nothing either.
            self.files.is_dropped = True
            self.files.transport.close()
            return SFTP_FAILURE
        content = os.pread(self.descriptor, min(length, state.read_at_most or length), offset)
        state.bytes_read += len(content)
        if state.after_read is not None:
            state.after_read(self.path)
        return content or paramiko.sftp.SFTP_EOF

    def write(self, offset: int, content: bytes) -> int:
        os.pwrite(self.descriptor, content[:-1] if self.files.state.short_write else content, offset)
        return SFTP_OK

    def stat(self) -> SFTPAttributes:
        return SFTPAttributes.from_stat(os.fstat(self.descriptor))


class _Files(SFTPServerInterface):
    def __init__(self, server: _Login, state: SftpServer, transport: paramiko.Transport) -> None:
        super().__init__(server)
        self.state = state
        self.transport = transport
        self.is_dropped = False

    def _path(self, path: str) -> Path:
        return self.state.root / self.canonicalize(path).lstrip("/")

    def list_folder(self, path: str) -> list[SFTPAttributes] | int:
        try:
            found = [SFTPAttributes.from_stat(each.lstat(), each.name) for each in self._path(path).iterdir()]
        except OSError as error:
            return SFTPServer.convert_errno(error.errno or errno.EIO)
        for name in self.state.extra_names:
            invented = SFTPAttributes.from_stat(Path("/etc/passwd").stat(), name)
            found.append(invented)
        return found

    def stat(self, path: str) -> SFTPAttributes | int:
        return self._attributes(path, os.stat)

    def lstat(self, path: str) -> SFTPAttributes | int:
        return self._attributes(path, os.lstat)

    def _attributes(self, path: str, look: Callable[[Path], os.stat_result]) -> SFTPAttributes | int:
        try:
            return SFTPAttributes.from_stat(look(self._path(path)))
        except OSError as error:
            return SFTPServer.convert_errno(error.errno or errno.EIO)

    def open(self, path: str, flags: int, attr: SFTPAttributes) -> SFTPHandle | int:
        try:
            return _Handle(self, self._path(path), flags)
        except OSError as error:
            return SFTPServer.convert_errno(error.errno or errno.EIO)

    def rename(self, oldpath: str, newpath: str) -> int:
        if self.state.rename_fails_with is not None:
            return self.state.rename_fails_with
        old, new = self._path(oldpath), self._path(newpath)
        try:
            # As OpenSSH does it: a link fails where the new name is taken.
            os.link(old, new)
            old.unlink()
        except OSError:
            return SFTP_FAILURE
        if self.state.drop_on_rename:
            self.transport.close()
        return SFTP_OK


@contextmanager
def serving_files(root: Path, host_key: paramiko.PKey, accepted_key: paramiko.PKey) -> Iterator[SftpServer]:
    """Yield a running server of a folder; no thread or socket outlives the block."""
    state = SftpServer(root, host_key, accepted_key)
    listener = socket.create_server(("127.0.0.1", 0))
    state.port = int(listener.getsockname()[1])
    transports: list[paramiko.Transport] = []

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            transport = paramiko.Transport(client)
            transports.append(transport)
            transport.add_server_key(state.host_key)
            transport.set_subsystem_handler("sftp", SFTPServer, _Files, state, transport)
            with suppress(paramiko.SSHException, EOFError, OSError):
                transport.start_server(server=_Login(state), event=threading.Event())

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield state
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        for transport in transports:
            transport.close()
            transport.join(5)
