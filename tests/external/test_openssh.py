"""The SFTP promises against OpenSSH's own server."""

import hashlib
import os
import resource
import time
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from connectors.transport.sftp import SftpConnection
from etl.core.errors import Retry, Stop
from tests.connectors.transport.served import Served
from tests.connectors.transport.sftp_contract import SftpContract, put, remote


class TestOpenSsh(SftpContract):
    """Every promise of the contract."""


def test_the_key_that_is_pinned_is_the_one_asked_for(served: Served) -> None:
    for pinned in served.other_host_keys:
        with SftpConnection(replace(served.settings, host_keys=(pinned,))) as sftp:
            assert sftp.list(served.directory).files == ()


def test_a_password_where_only_keys_are_taken_stops(served: Served) -> None:
    settings = replace(served.settings, private_key=None, password=SecretStr("no-such-password"))
    with pytest.raises(Stop, match="refused the password or key") as caught, SftpConnection(settings):
        pass
    assert "no-such-password" not in str(caught.value)


def test_a_folder_that_is_not_ours_stops(served: Served) -> None:
    with SftpConnection(served.settings) as sftp, pytest.raises(Stop, match="no such file"):
        sftp.write(b"x", remote(served, "missing/pain.xml"))


def test_a_rename_onto_a_taken_name_fails_on_the_server_too(served: Served) -> None:
    with SftpConnection(served.settings) as sftp:
        part = sftp.put_part(b"<a/>", remote(served, "pain.xml"))
        put(served, "pain.xml", b"of somebody else")
        # Past our own look, as if the name had been taken a moment later.
        with pytest.raises(OSError, match="Failure"):
            sftp._sftp.rename(part.part_path, part.path)
    assert (served.local / "pain.xml").read_bytes() == b"of somebody else"


def test_a_large_file_is_fast_and_takes_little_memory(served: Served, tmp_path: Path) -> None:
    block = os.urandom(1024 * 1024)
    with (served.local / "large.bin").open("wb") as file:
        for _ in range(200):
            file.write(block)
    before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with SftpConnection(served.settings) as sftp:
        got = sftp.read(remote(served, "large.bin"), tmp_path / "large.bin")
    seconds, after = time.monotonic() - begun, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (served.local / "large.bin").unlink()
    with (tmp_path / "large.bin").open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == got.sha256
    assert after - before < 100 * 1024
    assert seconds < 40, "200 MB took as long as one request at a time would"


def test_a_lost_connection_is_tried_again_later(served: Served) -> None:
    with SftpConnection(served.settings) as sftp:
        assert sftp._transport is not None
        sftp._transport.close()
        with pytest.raises(Retry, match="listing"):
            sftp.list(served.directory)
