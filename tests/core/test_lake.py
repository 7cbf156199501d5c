"""Promises of the lake: an object is whole or not there, is never changed, and its path stays inside."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from etl.core.errors import Stop
from etl.core.lake import FolderLake, sha256_of

ROOT = Path(__file__).resolve().parents[2]
# Kills itself with SIGKILL once the lake has written so many bytes of its temporary file, or at a named moment.
KILLED = """
import os, pathlib, shutil, signal, sys
from etl.core import lake

root, local, moment = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def copy_half(source, target):
    target.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    die()

def copy_then_die(source, target, copy=shutil.copyfile):
    copy(source, target)
    die()

if moment == "half written":
    shutil.copyfile = copy_half
elif moment == "written":
    shutil.copyfile = copy_then_die
elif moment == "before rename":
    pathlib.Path.rename = die
elif moment == "after rename":
    rename = pathlib.Path.rename
    pathlib.Path.rename = lambda source, target: (rename(source, target), die())
lake.FolderLake(root).put_file(local, "raw", ".csv")
"""


@pytest.fixture
def lake(tmp_path: Path) -> FolderLake:
    return FolderLake(tmp_path / "lake")


@pytest.fixture
def local(tmp_path: Path) -> Path:
    path = tmp_path / "report.csv"
    path.write_bytes(b"a,b\n" * 400_000)
    return path


def objects(lake: FolderLake) -> list[Path]:
    """Return what a reader of the lake can see: temporary names begin with a dot."""
    return [path for path in sorted(lake.root.rglob("*")) if path.is_file() and not path.name.startswith(".")]


def test_an_object_stands_under_the_sha256_of_its_bytes(lake: FolderLake, local: Path) -> None:
    stored = lake.put_file(local, "raw", ".csv")
    digest = hashlib.sha256(local.read_bytes()).hexdigest()
    assert stored.sha256 == digest
    assert stored.byte_count == local.stat().st_size
    assert stored.path == f"raw/{digest[:2]}/{digest}.csv"
    assert sha256_of(lake.local(stored.path)) == (digest, stored.byte_count)
    with lake.open(stored.path) as source:
        assert source.read() == local.read_bytes()


def test_the_same_bytes_twice_are_one_object_that_is_not_touched(lake: FolderLake, local: Path) -> None:
    first = lake.put_file(local, "raw", ".csv")
    written_at = lake.local(first.path).stat().st_mtime_ns
    assert lake.put_file(local, "raw", ".csv") == first
    assert lake.local(first.path).stat().st_mtime_ns == written_at
    assert len(objects(lake)) == 1


def test_an_empty_file_is_an_object_too(lake: FolderLake, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    stored = lake.put_file(tmp_path / "empty", "raw", "")
    assert stored.byte_count == 0
    assert lake.exists(stored.path)


@pytest.mark.parametrize("moment", ["half written", "written", "before rename", "after rename"])
def test_a_process_killed_while_it_writes_leaves_no_half_object(lake: FolderLake, local: Path, moment: str) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(lake.root), str(local), moment],
        cwd=ROOT,
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    left = objects(lake)
    assert len(left) == (1 if moment == "after rename" else 0)
    # And the next run is not hindered by what the dead one left.
    stored = lake.put_file(local, "raw", ".csv")
    assert sha256_of(lake.local(stored.path))[0] == stored.sha256 == sha256_of(local)[0]
    assert len(objects(lake)) == 1


def test_a_table_is_read_back_exactly_and_written_once(lake: FolderLake) -> None:
    table = pa.table(
        {
            "text": pa.array(["", None, "é"], pa.string()),
            "amount": pa.array([Decimal("0.0001"), None, Decimal("-99999999999999.9999")], pa.decimal128(18, 4)),
            "instant": pa.array([datetime.fromisoformat("2026-09-01T12:00:00.000001"), None, None], pa.timestamp("us")),
        }
    )
    lake.put_table(table, "parsed/day=2026-09-01/x.parquet")
    lake.put_table(table.slice(0, 1), "parsed/day=2026-09-01/x.parquet")
    # Equal in its columns too: the folder `day=…` adds none.
    assert lake.read_table("parsed/day=2026-09-01/x.parquet").equals(table)


@pytest.mark.parametrize(
    "path", ["../outside", "/etc/passwd", "raw/../../x", "raw//x", "", "raw/.hidden", "a\nb", "a b"]
)
def test_a_path_that_could_leave_the_lake_is_refused(lake: FolderLake, local: Path, path: str) -> None:
    with pytest.raises(Stop, match="no path of the lake"):
        lake.exists(path)
    with pytest.raises(Stop, match="no path of the lake"):
        lake.put_table(pa.table({"a": [1]}), path)


def test_a_remote_name_cannot_come_in_as_prefix_or_suffix(lake: FolderLake, local: Path) -> None:
    for prefix, suffix in (("../raw", ".csv"), ("raw", "/../../x"), ("raw", ".csv\n")):
        with pytest.raises(Stop, match="no path of the lake"):
            lake.put_file(local, prefix, suffix)
    assert objects(lake) == []


def test_a_missing_object_says_what_to_do(lake: FolderLake) -> None:
    with pytest.raises(Stop, match="restore it from the backup"):
        lake.open("raw/aa/missing")
