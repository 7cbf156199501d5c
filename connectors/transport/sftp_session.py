"""Opening a session on an SFTP server: its key is checked first, then we say who we are; every wait has an end."""

import logging
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import StringIO
from types import TracebackType
from typing import Self

import paramiko
from pydantic import SecretStr

from connectors.transport.host_key import ask_for_types, check_server_key, read_pinned_key
from etl.core.errors import Retry, Stop

_LOG_CHANNEL = "tallyback.paramiko"


@dataclass(frozen=True, slots=True)
class SftpSettings:
    """One SFTP server: where, who we are there, and by which key we know it.

    `host_keys` are the keys trusted now, in OpenSSH's writing (more than one while a partner changes its key).
    `private_key` is the text of the key. Give a password or a private key.
    """

    connection: str
    host: str
    username: str
    host_keys: tuple[str, ...]
    port: int = 22
    password: SecretStr | None = None
    private_key: SecretStr | None = None
    private_key_passphrase: SecretStr | None = None
    connect_seconds: float = 15.0
    idle_seconds: float = 60.0
    keepalive_seconds: int = 30
    directory_entries_max: int = 100_000
    bytes_max: int = 32 * 1024 * 1024 * 1024


class SftpSession:
    """One session on an SFTP server; opens on entering the `with` block, closes on leaving it."""

    def __init__(self, settings: SftpSettings) -> None:
        self.settings = settings
        self._pinned = [read_pinned_key(text, settings.connection) for text in settings.host_keys]
        if not self._pinned:
            raise Stop(f"{settings.connection}: no host key is pinned; ask the partner for its key and enter it.")
        self._transport: paramiko.Transport | None = None
        self._client: paramiko.SFTPClient | None = None
        self._socket: socket.socket | None = None
        # paramiko's own log repeats names a server invented and errors we raise ourselves. The channel is ours alone:
        # other users of paramiko in this process keep theirs.
        logging.getLogger(_LOG_CHANNEL).setLevel(logging.CRITICAL)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.settings.connection}, {self._where})"

    def __enter__(self) -> Self:
        with self._typed(f"connecting to {self._where}"), ExitStack() as undo:
            undo.callback(self.close)
            self._open()
            undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the session; closing twice does no harm."""
        if self._transport is not None:
            self._transport.close()
        if self._socket is not None:
            self._socket.close()
        self._transport = self._client = self._socket = None

    @property
    def _where(self) -> str:
        return f"{self.settings.username}@{self.settings.host}:{self.settings.port}"

    @property
    def _sftp(self) -> paramiko.SFTPClient:
        if self._client is None:
            raise Stop(f"{self.settings.connection}: the connection is not open; use it in a `with` block.")
        return self._client

    def _open(self) -> None:
        settings = self.settings
        self._socket = own = socket.create_connection((settings.host, settings.port), timeout=settings.connect_seconds)
        # Without it each small request waits for the acknowledgement of the one before: 5 MB/s instead of 160 on
        # loopback.
        own.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._transport = transport = paramiko.Transport(own)
        transport.set_log_channel(_LOG_CHANNEL)
        transport.banner_timeout = transport.handshake_timeout = settings.connect_seconds
        transport.auth_timeout = transport.channel_timeout = settings.connect_seconds
        ask_for_types(transport, self._pinned)
        transport.start_client(timeout=settings.connect_seconds)
        check_server_key(transport, self._pinned, f"{settings.host}:{settings.port}", settings.connection)
        if settings.private_key is not None:
            transport.auth_publickey(settings.username, self._private_key(settings.private_key))
        elif settings.password is not None:
            transport.auth_password(settings.username, settings.password.get_secret_value())
        else:
            raise Stop(f"{settings.connection}: neither a password nor a private key is given; enter one.")
        transport.set_keepalive(settings.keepalive_seconds)
        client = paramiko.SFTPClient.from_transport(transport)
        channel = None if client is None else client.get_channel()
        if client is None or channel is None:
            raise Retry(f"{settings.connection}: {self._where} opened no SFTP session.")
        channel.settimeout(settings.idle_seconds)
        self._client = client

    def _private_key(self, text: SecretStr) -> paramiko.PKey:
        given = self.settings.private_key_passphrase
        passphrase = None if given is None else given.get_secret_value()
        kinds: tuple[type[paramiko.PKey], ...] = (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey)
        for kind in kinds:
            try:
                return kind.from_private_key(StringIO(text.get_secret_value()), password=passphrase)
            except (paramiko.SSHException, ValueError):
                continue
        raise Stop(
            f"{self.settings.connection}: the private key cannot be read. Give an Ed25519, ECDSA or RSA key as "
            "OpenSSH or PEM text, "
            f"and its passphrase if it has one."
        )

    @contextmanager
    def _typed(self, doing: str) -> Iterator[None]:
        """Turn what sockets and paramiko raise into Retry (the world) or Stop (a person), named after the
        connection.
        """
        name = self.settings.connection
        try:
            yield
        except paramiko.AuthenticationException as error:
            # Never Retry, even if the connection broke meanwhile: repeated attempts are what locks an account.
            raise Stop(
                f"{name}: {self._where} refused the password or key ({error}): renew it in the connection {name}."
            ) from None
        except paramiko.ssh_exception.IncompatiblePeer as error:
            raise Stop(
                f"{name}: no key or cipher in common with {self._where} ({error}); was its host key changed?"
            ) from error
        except FileNotFoundError as error:
            raise Stop(f"{name}: {doing}: no such file or directory; check the path, or ask the partner.") from error
        except PermissionError as error:
            raise Stop(f"{name}: {doing}: not permitted; have {self.settings.username} allowed to.") from error
        except UnicodeDecodeError as error:
            raise Stop(f"{name}: {doing}: a name there is not UTF-8 ({error.reason}); have it renamed.") from error
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise Retry(f"{name}: {doing} failed ({type(error).__name__}: {error}); it is tried again.") from error
