"""What every SFTP server must let us promise: run against our loopback server, and against OpenSSH in tests/external.

Fixture `served` (a `Served`) is given by the folder whose test class inherits this one.
"""

import hashlib
import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from connectors.transport.sftp import SftpConnection
from etl.core.errors import Retry, Stop
from tests.connectors.transport.served import Served

MARCH = datetime(2026, 3, 1, 9, 14, 7, tzinfo=UTC)


def put(served: Served, name: str, content: bytes, at: datetime = MARCH) -> str:
    """Place a file on the server with a date of ours; return its remote path."""
    path = served.local / name
    path.write_bytes(content)
    os.utime(path, (at.timestamp(), at.timestamp()))
    return f"{served.directory.rstrip('/')}/{name}"


def remote(served: Served, name: str) -> str:
    """Return the remote path of a name."""
    return f"{served.directory.rstrip('/')}/{name}"


class SftpContract:
    """The promises."""

    def test_a_listing_holds_files_with_size_and_date_and_says_what_it_ignores(self, served: Served) -> None:
        put(served, "b.csv", b"12345")
        put(served, "a Größe.csv", b"1")
        for name in (
            ".hidden",
            "c.csv.part",
            "d.csv.PART",
            "e.filepart",
            "bad\nname.csv",
            "bad\x1b[31m.csv",
            "a\\b.csv",
        ):
            put(served, name, b"x")
        put(served, "rtl\u202evsc.exe", b"x")
        (served.local / "folder").mkdir()
        (served.local / "link.csv").symlink_to("/etc/passwd")
        with SftpConnection(served.settings) as sftp:
            listing = sftp.list(served.directory)
        assert [(each.path, each.size, each.modified_at) for each in listing.files] == [
            (remote(served, "a Größe.csv"), 1, MARCH),
            (remote(served, "b.csv"), 5, MARCH),
        ]
        assert len(listing.ignored) == 10
        reasons = {each.name_shown: each.reason for each in listing.ignored}
        assert reasons["'.hidden'"] == "it is hidden (begins with a dot)"
        assert reasons["'link.csv'"] == "it is no regular file"
        assert all(name.isascii() and name.isprintable() for name in reasons)

    def test_a_directory_with_too_many_entries_stops(self, served: Served) -> None:
        for each in range(5):
            put(served, f"{each}.csv", b"")
        with (
            SftpConnection(replace(served.settings, directory_entries_max=4)) as sftp,
            pytest.raises(Stop, match="more than 4 entries"),
        ):
            sftp.list(served.directory)

    @pytest.mark.parametrize("size", [0, 1, 32 * 1024, 32 * 1024 + 1, 9_000_001])
    def test_a_file_arrives_whole_with_its_hash_and_date(self, served: Served, tmp_path: Path, size: int) -> None:
        content = os.urandom(size)
        path = put(served, "report.csv", content)
        with SftpConnection(served.settings) as sftp:
            got = sftp.read(path, tmp_path / "in" / "x.csv")
            assert sftp.read_bytes(path, 10_000_000) == content
        assert (tmp_path / "in" / "x.csv").read_bytes() == content
        assert got.sha256 == hashlib.sha256(content).hexdigest()
        assert (got.remote.size, got.remote.modified_at, got.resumed_from) == (size, MARCH, 0)
        assert [each.name for each in (tmp_path / "in").iterdir()] == ["x.csv"]

    def test_a_transfer_goes_on_where_an_earlier_one_of_the_same_file_broke_off(
        self, served: Served, tmp_path: Path
    ) -> None:
        content = os.urandom(3_000_000)
        path = put(served, "report.csv", content)
        part = tmp_path / f"x.csv.{len(content)}-{int(MARCH.timestamp())}.part"
        part.write_bytes(content[:1_000_001])
        (tmp_path / "x.csv.99-1.part").write_bytes(b"of an older file")
        with SftpConnection(served.settings) as sftp:
            got = sftp.read(path, tmp_path / "x.csv")
        assert got.resumed_from == 1_000_001
        assert got.sha256 == hashlib.sha256(content).hexdigest()
        assert (tmp_path / "x.csv").read_bytes() == content
        assert [each.name for each in tmp_path.iterdir()] == ["x.csv"]

    def test_a_beginning_that_is_not_the_files_is_thrown_away(self, served: Served, tmp_path: Path) -> None:
        content = os.urandom(300_000)
        path = put(served, "report.csv", content)
        for wrong in (b"z" * 1000, content[:1000] + b"z", content + b"z"):
            (tmp_path / f"x.csv.{len(content)}-{int(MARCH.timestamp())}.part").write_bytes(wrong)
            with SftpConnection(served.settings) as sftp:
                assert sftp.read(path, tmp_path / "x.csv").resumed_from == 0
            assert (tmp_path / "x.csv").read_bytes() == content

    def test_a_file_over_the_limit_is_not_begun(self, served: Served, tmp_path: Path) -> None:
        path = put(served, "report.csv", b"x" * 1001)
        with SftpConnection(served.settings) as sftp:
            for read in (lambda: sftp.read(path, tmp_path / "x", 1000), lambda: sftp.read_bytes(path, 1000)):
                with pytest.raises(Stop, match="limit of 1,000"):
                    read()
        assert not list(tmp_path.iterdir())

    def test_what_is_missing_or_forbidden_stops(self, served: Served, tmp_path: Path) -> None:
        with SftpConnection(served.settings) as sftp:
            assert sftp.stat(remote(served, "no.csv")) is None
            assert not sftp.exists(remote(served, "no.csv"))
            with pytest.raises(Stop, match="there is no file"):
                sftp.read(remote(served, "no.csv"), tmp_path / "x")
            with pytest.raises(Stop, match="no such file"):
                sftp.list(remote(served, "nowhere"))
            with pytest.raises(Stop, match="no regular file"):
                sftp.stat(served.directory)

    @pytest.mark.parametrize(
        "name",
        ["../../etc/passwd", "../x.csv", ".", "..", "", "a/", ".ssh", "x.part", "a\x00b", "a\nb", "x" * 256, "a\\b"],
    )
    def test_a_name_that_could_do_harm_is_never_used(self, served: Served, tmp_path: Path, name: str) -> None:
        path = remote(served, name)
        with SftpConnection(served.settings) as sftp:
            for use in (
                lambda: sftp.read(path, tmp_path / "x"),
                lambda: sftp.read_bytes(path, 10),
                lambda: sftp.write(b"x", path),
            ):
                with pytest.raises(Stop, match="is not touched"):
                    use()
        assert not list(tmp_path.iterdir())
        assert not list(served.local.iterdir())

    def test_a_written_file_appears_under_its_name_only_when_finished(self, served: Served, tmp_path: Path) -> None:
        content = os.urandom(2_000_003)
        local = tmp_path / "pain.xml"
        local.write_bytes(content)
        path = remote(served, "pain.xml")
        with SftpConnection(served.settings) as sftp:
            part = sftp.put_part(local, path)
            assert [each.name for each in served.local.iterdir()] == ["pain.xml.part"]
            assert not sftp.exists(path)
            sftp.finish(part)
            assert sftp.exists(path)
        assert [each.name for each in served.local.iterdir()] == ["pain.xml"]
        assert (served.local / "pain.xml").read_bytes() == content
        assert (part.size, part.sha256) == (len(content), hashlib.sha256(content).hexdigest())

    def test_writing_the_same_again_changes_nothing_and_other_content_is_refused(self, served: Served) -> None:
        path = remote(served, "pain.xml")
        with SftpConnection(served.settings) as sftp:
            assert not sftp.write(b"<a/>", path).is_finished
            before = (served.local / "pain.xml").stat()
            assert sftp.write(b"<a/>", path).is_finished
            for other in (b"<b/>", b"<longer/>"):
                with pytest.raises(Stop, match="never overwritten"):
                    sftp.write(other, path)
        after = (served.local / "pain.xml").stat()
        assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
        assert (served.local / "pain.xml").read_bytes() == b"<a/>"

    def test_a_name_taken_between_the_steps_is_not_overwritten(self, served: Served) -> None:
        with SftpConnection(served.settings) as sftp:
            part = sftp.put_part(b"<a/>", remote(served, "pain.xml"))
            put(served, "pain.xml", b"of somebody else")
            with pytest.raises(Stop, match="never overwritten"):
                sftp.finish(part)
        assert (served.local / "pain.xml").read_bytes() == b"of somebody else"

    def test_a_part_left_by_a_run_that_died_is_written_anew(self, served: Served) -> None:
        put(served, "pain.xml.part", b"x" * 5000)
        with SftpConnection(served.settings) as sftp:
            sftp.write(b"<a/>", remote(served, "pain.xml"))
        assert (served.local / "pain.xml").read_bytes() == b"<a/>"

    def test_a_part_that_is_gone_or_changed_is_not_finished(self, served: Served) -> None:
        with SftpConnection(served.settings) as sftp:
            part = sftp.put_part(b"<a/>", remote(served, "pain.xml"))
            put(served, "pain.xml.part", b"<a")
            with pytest.raises(Retry, match="should have 4 bytes but has 2"):
                sftp.finish(part)
            (served.local / "pain.xml.part").unlink()
            with pytest.raises(Retry, match="has nothing"):
                sftp.finish(part)
        assert not list(served.local.iterdir())

    def test_another_host_key_stops_before_anything_is_sent_and_both_are_named(self, served: Served) -> None:
        wrong = "SHA256:" + "A" * 43
        with (
            pytest.raises(Stop, match=f"expected {wrong}, seen SHA256:.*Nothing was sent") as caught,
            SftpConnection(replace(served.settings, host_keys=(wrong,))),
        ):
            pass
        seen = str(caught.value).split("seen ")[1].split(" ")[0]
        with SftpConnection(replace(served.settings, host_keys=(wrong, seen))) as sftp:
            sftp.list(served.directory)

    def test_no_key_pinned_means_no_connection(self, served: Served) -> None:
        for keys in ((), ("",), ("ssh-ed25519",), ("ssh-ed25519 no-base64!",), ("SHA256:short",), ("ssh-rsa SHA256:",)):
            with pytest.raises(Stop, match="pinned"):
                SftpConnection(replace(served.settings, host_keys=keys))
