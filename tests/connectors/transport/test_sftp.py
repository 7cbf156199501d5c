"""The SFTP promises against a server of our own, which can also cheat, stall and break."""

import io
import logging
import os
import socket
import threading
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import paramiko
import pytest
from paramiko.sftp import SFTP_FAILURE, SFTP_PERMISSION_DENIED
from pydantic import SecretStr

from connectors.transport.remote_name import why_unusable
from connectors.transport.sftp import SftpConnection, SftpSettings
from connectors.transport.sftp_transfer import OVERLAP_BYTES, REQUEST_BYTES, REQUESTS_IN_FLIGHT
from etl.core.errors import Retry, Stop
from tests.connectors.transport.served import Served
from tests.connectors.transport.sftp_contract import MARCH, SftpContract, put, remote
from tests.connectors.transport.sftp_server import PASSWORD, USER, SftpServer, serving_files


@pytest.fixture(scope="session")
def keys() -> tuple[paramiko.PKey, paramiko.PKey]:
    """Return a host key and a key that may log in."""
    return paramiko.ECDSAKey.generate(), paramiko.RSAKey.generate(2048)


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory, keys: tuple[paramiko.PKey, paramiko.PKey]) -> Iterator[SftpServer]:
    """Yield a running server of an empty folder."""
    with serving_files(tmp_path_factory.mktemp("remote"), *keys) as state:
        yield state


@pytest.fixture
def served(server: SftpServer) -> Served:
    """Return what the contract needs to know of the server."""
    pinned = f"{server.host_key.get_name()} {server.host_key.get_base64()}"
    settings = SftpSettings(
        connection="bank_test",
        host="127.0.0.1",
        port=server.port,
        username=USER,
        host_keys=(pinned,),
        password=SecretStr(PASSWORD),
        idle_seconds=10.0,
    )
    return Served(settings=settings, local=server.root, directory="/")


class TestLoopback(SftpContract):
    """Every promise of the contract."""


def test_a_private_key_opens_the_door_with_or_without_a_passphrase(server: SftpServer, served: Served) -> None:
    for passphrase in (None, "of the key"):
        text = io.StringIO()
        server.accepted_key.write_private_key(text, password=passphrase)
        settings = replace(
            served.settings,
            password=None,
            private_key=SecretStr(text.getvalue()),
            private_key_passphrase=None if passphrase is None else SecretStr(passphrase),
        )
        with SftpConnection(settings) as sftp:
            assert sftp.list("/").files == ()
    assert set(server.logins) == {"publickey"}


def test_a_small_request_does_not_wait_for_the_one_before(served: Served) -> None:
    with SftpConnection(served.settings) as sftp:
        assert sftp._socket is not None
        assert sftp._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_refused_credentials_stop_after_one_attempt(server: SftpServer, served: Served) -> None:
    wrong = SecretStr("wrong-password")
    with pytest.raises(Stop, match=r"refused the password or key.*renew it in the connection bank_test") as caught:
        SftpConnection(replace(served.settings, password=wrong)).__enter__()
    assert server.logins == ["password wrong-password"]
    assert "wrong-password" not in "".join(traceback.format_exception(caught.value))
    with pytest.raises(Stop, match="neither a password nor a private key"):
        SftpConnection(replace(served.settings, password=None)).__enter__()
    with pytest.raises(Stop, match="private key cannot be read"):
        SftpConnection(replace(served.settings, private_key=SecretStr("-----BEGIN"))).__enter__()


def test_no_password_is_sent_to_a_server_with_another_key(server: SftpServer, served: Served) -> None:
    server.host_key = paramiko.ECDSAKey.generate()
    with pytest.raises(Stop, match="is not the pinned one"):
        SftpConnection(served.settings).__enter__()
    assert server.logins == []


def test_a_server_with_another_kind_of_key_is_another_server(server: SftpServer, served: Served) -> None:
    server.host_key = paramiko.RSAKey.generate(2048)
    with pytest.raises(Stop, match=r"expected SHA256:\S+, seen SHA256:\S+ \(ssh-rsa\)"):
        SftpConnection(served.settings).__enter__()


def test_secrets_are_in_no_repr_and_no_log(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with SftpConnection(served.settings) as sftp:
        sftp.write(b"x", "/x.csv")
        shown = repr(sftp) + repr(sftp.settings) + str(sftp.settings)
    assert PASSWORD not in shown
    assert PASSWORD not in caplog.text


def test_names_a_server_invents_are_harmless(server: SftpServer, served: Served, tmp_path: Path) -> None:
    server.extra_names = ["../../etc/passwd", "/etc/passwd", "..", "a/../b", "nul\x00.csv", "x" * 300, "", "ok.csv"]
    with SftpConnection(served.settings) as sftp:
        listing = sftp.list("/")
        assert [each.path for each in listing.files] == ["/ok.csv"]
        # paramiko leaves out "." and ".." by itself.
        assert len(listing.ignored) == 6
        with pytest.raises(Stop, match="is not touched"):
            sftp.read("/../../etc/passwd", tmp_path / "x")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name", ["report 2026-03.csv", "Größe.csv", "a..b.csv", "x" * 251 + ".csv", "-rf", "レポート.csv"]
)
def test_ordinary_names_may_be_used(name: str) -> None:
    assert why_unusable(name) is None


def test_a_connection_that_breaks_in_the_middle_is_resumed(server: SftpServer, served: Served, tmp_path: Path) -> None:
    content = os.urandom(20_000_000)
    path = put(served, "report.csv", content)
    server.drop_after_bytes = 12_000_000
    with SftpConnection(served.settings) as sftp, pytest.raises(Retry, match=r"reading '/report\.csv' failed"):
        sftp.read(path, tmp_path / "x.csv")
    assert not (tmp_path / "x.csv").exists()
    server.drop_after_bytes = None
    first, server.bytes_read = server.bytes_read, 0
    with SftpConnection(served.settings) as sftp:
        got = sftp.read(path, tmp_path / "x.csv")
    assert (tmp_path / "x.csv").read_bytes() == content
    assert got.resumed_from >= 12_000_000 - REQUESTS_IN_FLIGHT * REQUEST_BYTES, "what came before the break is used"
    assert server.bytes_read == len(content) - got.resumed_from + OVERLAP_BYTES, "nothing is fetched twice"
    assert first < len(content)


def test_a_server_that_gives_less_than_was_asked_for_loses_nothing(
    server: SftpServer, served: Served, tmp_path: Path
) -> None:
    content = os.urandom(1_000_000)
    server.read_at_most = 10_000
    with SftpConnection(served.settings) as sftp:
        sftp.read(put(served, "report.csv", content), tmp_path / "x.csv")
    assert (tmp_path / "x.csv").read_bytes() == content


@pytest.mark.parametrize("change", [b"more", b""])
def test_a_file_that_is_still_being_written_is_left_for_later(
    server: SftpServer, served: Served, tmp_path: Path, change: bytes
) -> None:
    path = put(served, "report.csv", b"x" * 100_000)

    def write_on(local: Path) -> None:
        with local.open("ab") as file:
            file.write(change)
        os.utime(local)

    server.after_read = write_on
    with SftpConnection(served.settings) as sftp:
        with pytest.raises(Retry, match="still being written"):
            sftp.read(path, tmp_path / "x.csv")
        assert not list(tmp_path.iterdir())
        server.after_read = None
        sftp.read(path, tmp_path / "x.csv")
    assert (tmp_path / "x.csv").read_bytes() == (served.local / "report.csv").read_bytes()


def test_a_file_that_shrinks_is_never_taken_for_whole(server: SftpServer, served: Served, tmp_path: Path) -> None:
    path = put(served, "report.csv", b"x" * 200_000)
    server.after_read = lambda local: os.truncate(local, 1000)
    with SftpConnection(served.settings) as sftp, pytest.raises(Retry):
        sftp.read(path, tmp_path / "x.csv")
    assert not (tmp_path / "x.csv").exists()


def test_two_runs_do_not_write_into_one_another(server: SftpServer, served: Served, tmp_path: Path) -> None:
    path = put(served, "report.csv", b"x" * 100_000)
    inside, go_on = threading.Event(), threading.Event()

    def stall(_local: Path) -> None:
        inside.set()
        assert go_on.wait(10)

    server.after_read = stall

    def first() -> None:
        with SftpConnection(served.settings) as sftp:
            sftp.read(path, tmp_path / "x.csv")

    thread = threading.Thread(target=first)
    thread.start()
    assert inside.wait(10)
    server.after_read = None
    with SftpConnection(served.settings) as sftp, pytest.raises(Retry, match="read by another run"):
        sftp.read(path, tmp_path / "x.csv")
    go_on.set()
    thread.join()
    assert (tmp_path / "x.csv").stat().st_size == 100_000


def test_a_server_that_falls_silent_is_given_up(server: SftpServer, served: Served, tmp_path: Path) -> None:
    path = put(served, "report.csv", b"x" * 100)
    go_on = threading.Event()
    server.after_read = lambda _local: go_on.wait(20)
    with (
        SftpConnection(replace(served.settings, idle_seconds=0.3)) as sftp,
        pytest.raises(Retry, match="TimeoutError"),
    ):
        sftp.read(path, tmp_path / "x.csv")
    go_on.set()


def test_bytes_lost_on_the_way_are_noticed_before_the_final_name(server: SftpServer, served: Served) -> None:
    server.short_write = True
    with SftpConnection(served.settings) as sftp, pytest.raises(Retry, match="should have 4 bytes but has 3"):
        sftp.write(b"<a/>", remote(served, "pain.xml"))
    assert [each.name for each in served.local.iterdir()] == ["pain.xml.part"]


def test_a_connection_that_breaks_at_the_rename_leaves_the_outcome_unknown(server: SftpServer, served: Served) -> None:
    server.drop_on_rename = True
    with SftpConnection(served.settings) as sftp:
        part = sftp.put_part(b"<a/>", remote(served, "pain.xml"))
        with pytest.raises(Stop, match=r"unknown whether .*pain.xml.* was delivered.*not sent again"):
            sftp.finish(part)


def test_a_rename_that_is_refused_is_no_unknown_outcome(server: SftpServer, served: Served) -> None:
    with SftpConnection(served.settings) as sftp:
        part = sftp.put_part(b"<a/>", remote(served, "pain.xml"))
        server.rename_fails_with = SFTP_FAILURE
        with pytest.raises(Retry, match="renaming"):
            sftp.finish(part)
        server.rename_fails_with = SFTP_PERMISSION_DENIED
        with pytest.raises(Stop, match="not permitted"):
            sftp.finish(part)
        server.rename_fails_with = None
        sftp.finish(part)
    assert (served.local / "pain.xml").read_bytes() == b"<a/>"


def test_a_server_that_is_not_there_or_is_no_ssh_server_is_tried_later(served: Served) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        settings = replace(served.settings, port=int(mute.getsockname()[1]), connect_seconds=0.3)
        with pytest.raises(Retry, match="connecting to finance@127"):
            SftpConnection(settings).__enter__()
    with pytest.raises(Retry, match="connecting to finance@127"):
        SftpConnection(settings).__enter__()


def test_a_connection_that_is_not_open_says_so(served: Served) -> None:
    with pytest.raises(Stop, match="not open"):
        SftpConnection(served.settings).list("/")


def test_dates_are_utc_whatever_the_zone_of_this_machine(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    put(served, "a.csv", b"1")
    with SftpConnection(served.settings) as sftp:
        found = sftp.stat("/a.csv")
    assert found is not None
    assert found.modified_at == MARCH
    assert found.modified_at.utcoffset() is not None
