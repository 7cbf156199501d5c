"""Promises of the lake, the same in a folder and in a bucket: whole or not there, never changed, inside its place."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from etl.core import lake as folder_module
from etl.core import s3_lake as bucket_module
from etl.core.errors import Stop
from etl.core.lake import FolderLake, Lake, copied, sha256_of
from etl.core.s3_lake import S3Lake
from tests.lake.store import PART_BYTES, keys_of, lake_in, new_bucket, uploads_of

ROOT = Path(__file__).resolve().parents[2]
SMALL, LARGE = 1_600_000, 2 * PART_BYTES + 1


@dataclass(slots=True)
class Shop:
    """A lake of one kind, and what a test must see and do behind its back."""

    lake: FolderLake | S3Lake
    folder: Path

    def objects(self) -> list[str]:
        """Return the paths that a reader of the lake can see: temporary names begin with a dot."""
        if isinstance(self.lake, S3Lake):
            return [key.removeprefix("books/") for key in keys_of(self.lake)]
        found = [path for path in sorted(self.lake.root.rglob("*")) if path.is_file()]
        return [path.relative_to(self.lake.root).as_posix() for path in found if not path.name.startswith(".")]

    def writes(self) -> int:
        """Return how often anything was written: a bucket keeps every version, a folder's file its time."""
        if isinstance(self.lake, S3Lake):
            found = self.lake.bucket_client().list_object_versions(Bucket=self.lake.access.bucket)
            return len(found.get("Versions", []))
        return sum((self.lake.root / path).stat().st_mtime_ns for path in self.objects())

    def put_behind_its_back(self, path: str, content: bytes) -> None:
        if isinstance(self.lake, S3Lake):
            bucket, key = self.lake.access.bucket, self.lake.key_of(path)
            self.lake.bucket_client().put_object(Bucket=bucket, Key=key, Body=content)
        else:
            (self.lake.root / path).parent.mkdir(parents=True, exist_ok=True)
            (self.lake.root / path).write_bytes(content)

    def told(self) -> str:
        """Return what another process needs to open the same lake."""
        if isinstance(self.lake, FolderLake):
            return json.dumps({"root": str(self.lake.root)})
        access = self.lake.access
        return json.dumps(
            {"endpoint": access.endpoint_url, "bucket": access.bucket, "cache": str(self.folder / "other cache")}
        )


@pytest.fixture(params=["folder", "bucket"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    if request.param == "folder":
        yield Shop(FolderLake(tmp_path / "lake"), tmp_path)
        return
    endpoint = request.getfixturevalue("endpoint")
    lake = lake_in(endpoint, new_bucket(endpoint), tmp_path / "cache")
    lake.bucket_client().put_bucket_versioning(Bucket=lake.access.bucket, VersioningConfiguration={"Status": "Enabled"})
    yield Shop(lake, tmp_path)
    lake.release()


@pytest.fixture
def lake(shop: Shop) -> Lake:
    return shop.lake


@pytest.fixture(params=[SMALL, LARGE], ids=["small", "large"])
def local(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "report.csv"
    path.write_bytes((b"a,b\n" * (request.param // 4 + 1))[: request.param])
    return path


def test_an_object_stands_under_the_sha256_of_its_bytes(lake: Lake, local: Path) -> None:
    stored = lake.put_file(local, "raw", ".csv")
    digest = hashlib.sha256(local.read_bytes()).hexdigest()
    assert stored.sha256 == digest
    assert stored.byte_count == local.stat().st_size
    assert stored.path == f"raw/{digest[:2]}/{digest}.csv"
    assert sha256_of(lake.local(stored.path)) == (digest, stored.byte_count)
    assert lake.local(stored.path).name.endswith(".csv")
    with lake.open(stored.path) as source:
        assert source.read() == local.read_bytes()
    with lake.borrowed(stored.path) as path:
        assert path.read_bytes() == local.read_bytes()


def test_the_same_bytes_twice_are_one_object_that_is_not_touched(shop: Shop, local: Path) -> None:
    first = shop.lake.put_file(local, "raw", ".csv")
    writes = shop.writes()
    assert shop.lake.put_file(local, "raw", ".csv") == first
    assert shop.writes() == writes
    assert shop.objects() == [first.path]


def test_an_empty_file_is_an_object_too(lake: Lake, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    stored = lake.put_file(tmp_path / "empty", "raw", "")
    assert stored.byte_count == 0
    assert lake.exists(stored.path)
    assert lake.local(stored.path).read_bytes() == b""


def test_a_path_is_good_until_it_is_given_back_and_an_open_object_longer(lake: Lake, local: Path) -> None:
    stored = lake.put_file(local, "raw", ".csv")
    path = lake.local(stored.path)
    with lake.borrowed(stored.path) as borrowed:
        assert borrowed.stat().st_size == stored.byte_count
    assert path.stat().st_size == stored.byte_count
    with lake.open(stored.path) as source:
        lake.release()
        assert source.read() == local.read_bytes()
    assert lake.local(stored.path).read_bytes() == local.read_bytes()


def test_other_bytes_where_an_object_belongs_are_a_stop(shop: Shop, local: Path, tmp_path: Path) -> None:
    stored = shop.lake.put_file(local, "raw", ".csv")
    shop.put_behind_its_back(stored.path, b"something else")
    with pytest.raises(Stop, match="damaged: it holds other bytes"):
        shop.lake.put_file(local, "raw", ".csv")
    with shop.lake.open(stored.path) if isinstance(shop.lake, FolderLake) else pytest.raises(Stop, match="damaged"):
        # A folder's bytes are believed, as ever; verify compares them with the rows.
        shop.lake.local(stored.path)


def test_a_file_that_changes_while_it_is_landed_is_no_object(
    shop: Shop, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changed() -> None:
        local.write_bytes(b"c" + local.read_bytes()[1:])

    def hashed_and_changed(path: Path) -> tuple[str, int]:
        found = sha256_of(path)
        if path == local:
            changed()
        return found

    def copied_and_changed(path: Path, copy: Path) -> tuple[str, int]:
        found = copied(path, copy)
        changed()
        return found

    monkeypatch.setattr(bucket_module, "sha256_of", hashed_and_changed)
    monkeypatch.setattr(folder_module, "copied", copied_and_changed)
    with pytest.raises(Stop, match=r"report\.csv changed while it was landed"):
        shop.lake.put_file(local, "raw", ".csv")
    assert shop.objects() == []
    assert isinstance(shop.lake, FolderLake) or uploads_of(shop.lake) == []


def test_a_table_is_read_back_exactly_and_written_once(shop: Shop) -> None:
    table = pa.table(
        {
            "text": pa.array(["", None, "é"], pa.string()),
            "amount": pa.array([Decimal("0.0001"), None, Decimal("-99999999999999.9999")], pa.decimal128(18, 4)),
            "instant": pa.array([datetime.fromisoformat("2026-09-01T12:00:00.000001"), None, None], pa.timestamp("us")),
        }
    )
    path = "parsed/day=2026-09-01/x.parquet"
    shop.lake.put_table(table, path)
    writes = shop.writes()
    shop.lake.put_table(table.slice(0, 1), path)
    assert shop.writes() == writes
    # Equal in its columns too: the folder `day=…` adds none.
    assert shop.lake.read_table(path).equals(table)
    assert pq.ParquetFile(shop.lake.local(path)).read().equals(table)


@pytest.mark.parametrize(
    "path", ["../outside", "/etc/passwd", "raw/../../x", "raw//x", "", "raw/.hidden", "a\nb", "a b"]
)
def test_a_path_that_could_leave_the_lake_is_refused(lake: Lake, path: str) -> None:
    for use in (lake.exists, lake.local, lake.open, lake.read_table, lambda path: lake.put_table(pa.table({}), path)):
        with pytest.raises(Stop, match="no path of the lake"):
            use(path)


def test_a_remote_name_cannot_come_in_as_prefix_or_suffix(shop: Shop, local: Path) -> None:
    for prefix, suffix in (("../raw", ".csv"), ("raw", "/../../x"), ("raw", ".csv\n")):
        with pytest.raises(Stop, match="no path of the lake"):
            shop.lake.put_file(local, prefix, suffix)
    assert shop.objects() == []


def test_a_missing_object_says_what_to_do(lake: Lake) -> None:
    assert not lake.exists("raw/aa/missing")
    for use in (lake.open, lake.local, lake.read_table):
        with pytest.raises(Stop, match="restore it from the backup"):
            use("raw/aa/missing")


# Opens the lake it is told of, and kills itself with SIGKILL at a moment, or waits at one until another is there too.
OTHER_PROCESS = """
import json, os, pathlib, signal, sys, time
import etl.core.lake as folder
from etl.core.lake import FolderLake
from tests.lake.store import lake_in

told, local, moment = json.loads(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
lake = FolderLake(pathlib.Path(told["root"])) if "root" in told else (
    lake_in(told["endpoint"], told["bucket"], pathlib.Path(told["cache"])))

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def copy_half(source, target):
    target.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    die()

def then_die(done):
    return lambda *given, **named: (done(*given, **named), die())

def meet(*_, **__):
    pathlib.Path(f"{moment}.{os.getpid()}").touch()
    while len(list(pathlib.Path(moment).parent.glob("meeting.*"))) < 2:
        time.sleep(0.01)

if "root" in told:
    if moment == "half written":
        folder.copied = copy_half
    elif moment == "written":
        folder.copied = then_die(folder.copied)
    elif moment == "before the end":
        pathlib.Path.rename = die
    elif moment == "after the end":
        pathlib.Path.rename = then_die(pathlib.Path.rename)
    else:
        # Both have looked by now, and found nothing.
        rename = pathlib.Path.rename
        pathlib.Path.rename = lambda part, place: (meet(), rename(part, place))
else:
    events, before, after = lake.bucket_client().meta.events, "before-send.s3.", "after-call.s3."
    parts_left = iter([2, 1, 0])
    if moment == "half written":
        events.register(after + "UploadPart", die)
    elif moment == "written":
        events.register(after + "UploadPart", lambda **_: next(parts_left) or die())
    elif moment == "before the end":
        events.register(before + "CompleteMultipartUpload", die)
        events.register(before + "PutObject", die)
    elif moment == "after the end":
        events.register(after + "CompleteMultipartUpload", die)
        events.register(after + "PutObject", die)
    else:
        # The same.
        events.register(before + "CompleteMultipartUpload", meet)
        events.register(before + "PutObject", meet)
lake.put_file(local, "raw", ".csv")
"""


@pytest.mark.parametrize(("moment", "left"), [("before the end", 0), ("after the end", 1)])
def test_a_small_file_is_one_request_and_whole_or_not_there(shop: Shop, tmp_path: Path, moment: str, left: int) -> None:
    local = tmp_path / "report.csv"
    local.write_bytes(b"a" * SMALL)
    killed = other_process(shop, local, moment)
    _, said = killed.communicate(timeout=120)
    assert killed.returncode == -signal.SIGKILL, said
    assert len(shop.objects()) == left
    shop.lake.put_file(local, "raw", ".csv")
    assert len(shop.objects()) == 1


def other_process(shop: Shop, local: Path, moment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", OTHER_PROCESS, shop.told(), str(local), moment]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("moment", ["half written", "written", "before the end", "after the end"])
def test_a_process_killed_while_it_writes_leaves_no_half_object(shop: Shop, tmp_path: Path, moment: str) -> None:
    local = tmp_path / "report.csv"
    local.write_bytes(b"a" * (LARGE if isinstance(shop.lake, S3Lake) else SMALL))
    killed = other_process(shop, local, moment)
    _, said = killed.communicate(timeout=120)
    assert killed.returncode == -signal.SIGKILL, said
    assert len(shop.objects()) == (1 if moment == "after the end" else 0)
    # And the next run is not hindered by what the dead one left.
    stored = shop.lake.put_file(local, "raw", ".csv")
    assert sha256_of(shop.lake.local(stored.path))[0] == stored.sha256 == sha256_of(local)[0]
    assert shop.objects() == [stored.path]


def test_two_processes_that_write_the_same_at_once_both_succeed(shop: Shop, local: Path, tmp_path: Path) -> None:
    both = [other_process(shop, local, str(tmp_path / "meeting")) for _ in range(2)]
    for each in both:
        _, said = each.communicate(timeout=120)
        assert each.returncode == 0, said
    # They did meet: each had found nothing and went on to write.
    assert len(list(tmp_path.glob("meeting.*"))) == 2
    (path,) = shop.objects()
    assert shop.lake.local(path).read_bytes() == local.read_bytes()
    if isinstance(shop.lake, S3Lake):
        assert shop.writes() == 1
        assert uploads_of(shop.lake) == []
