"""Promises of a bucket's local copies: believed only if unchanged, never too many, and never taken from a reader."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from etl.core.errors import Stop
from etl.core.s3_lake import S3Lake
from tests.lake.store import keys_of, lake_in, new_bucket

ROOT = Path(__file__).resolve().parents[2]
SIZE = 10_000


@pytest.fixture
def lake(endpoint: str, tmp_path: Path) -> S3Lake:
    """A lake that keeps copies of three objects of SIZE bytes."""
    return lake_in(endpoint, new_bucket(endpoint), tmp_path / "cache", cache_bytes=3 * SIZE + 100)


def filled(lake: S3Lake, count: int, size: int = SIZE) -> list[str]:
    """Return the paths of so many new objects."""
    local = lake.cache.root.parent / "local"
    paths = []
    for number in range(count):
        local.write_bytes(f"{number:>{size}}".encode())
        paths.append(lake.put_file(local, "raw", ".csv").path)
    return paths


def copies(lake: S3Lake) -> list[Path]:
    return sorted((lake.cache.root / "files").glob("*/*"))


def copied_bytes(lake: S3Lake) -> int:
    return sum(each.stat().st_size for each in copies(lake))


def emptied(lake: S3Lake) -> S3Lake:
    """Return a lake with the same copies and nothing in the bucket behind it."""
    for key in keys_of(lake):
        lake.bucket_client().delete_object(Bucket=lake.access.bucket, Key=key)
    return lake_in(str(lake.access.endpoint_url), lake.access.bucket, lake.cache.root, cache_bytes=lake.cache.bytes_max)


def test_what_was_read_once_is_read_again_without_the_store(lake: S3Lake) -> None:
    (path,) = filled(lake, 1)
    content = lake.local(path).read_bytes()
    other = emptied(lake)
    assert other.local(path).read_bytes() == content
    with pytest.raises(Stop, match="restore it"):
        other.local(path.replace("raw", "raw2"))


@pytest.mark.parametrize("damage", [lambda whole: whole[:-1], lambda whole: b"x" + whole[1:], lambda _: b""])
def test_a_copy_that_is_not_what_it_was_is_never_believed(lake: S3Lake, damage: Callable[[bytes], bytes]) -> None:
    (path,) = filled(lake, 1)
    whole = lake.local(path).read_bytes()
    lake.release()
    (copy,) = copies(lake)
    copy.chmod(0o600)
    copy.write_bytes(damage(whole))
    assert lake.local(path).read_bytes() == whole
    (copy,) = copies(lake)
    assert copy.read_bytes() == whole


def test_a_copy_under_the_name_of_another_object_is_not_believed(lake: S3Lake) -> None:
    first, second = filled(lake, 2)
    for path in (first, second):
        lake.local(path)
    one, other = copies(lake)
    one.unlink()
    # It is what its name says, but not what the object's name promises.
    other.rename(one.with_name(f"{one.name.split('.')[0]}.{'.'.join(other.name.split('.')[1:])}"))
    lake.release()
    assert {lake.local(first).read_bytes(), lake.local(second).read_bytes()} == {
        f"{number:>{SIZE}}".encode() for number in range(2)
    }


def test_copies_stay_below_their_limit_and_the_one_used_longest_ago_goes_first(lake: S3Lake) -> None:
    paths = filled(lake, 6)
    for path in paths:
        lake.local(path)
        assert copied_bytes(lake) <= lake.cache.bytes_max
    lake.release()
    # The last one read is still here, though there is nothing behind it.
    assert emptied(lake).local(paths[-1]).stat().st_size == SIZE


def test_what_a_reader_holds_stays_whatever_is_removed(lake: S3Lake) -> None:
    paths = filled(lake, 6)
    held = [lake.local(path) for path in paths]
    assert len(copies(lake)) < 4
    assert [path.read_bytes() for path in held] == [f"{number:>{SIZE}}".encode() for number in range(6)]
    lake.release()
    assert not any(path.exists() for path in held)


def test_an_object_larger_than_the_cache_is_read_and_not_kept(lake: S3Lake) -> None:
    (path,) = filled(lake, 1, size=5 * SIZE)
    assert lake.local(path).stat().st_size == 5 * SIZE
    assert copies(lake) == []


def test_copies_that_somebody_removed_are_counted_anew(lake: S3Lake) -> None:
    paths = filled(lake, 6)
    for path in paths:
        with lake.borrowed(path):
            pass
    for copy in copies(lake):
        copy.unlink()
    (lake.cache.root / "lock").write_text("nonsense")
    for path in paths:
        with lake.borrowed(path) as local:
            assert local.stat().st_size == SIZE
        assert 0 < copied_bytes(lake) <= lake.cache.bytes_max


def test_a_strange_file_among_the_copies_is_told_and_not_removed(lake: S3Lake) -> None:
    paths = filled(lake, 4)
    lake.local(paths[0])
    strange = lake.cache.root / "files" / "00" / "notes.txt"
    strange.parent.mkdir(exist_ok=True)
    strange.touch()
    with pytest.raises(Stop, match="somebody else writes there"):
        for path in paths:
            lake.local(path)
    assert strange.exists()


def test_a_place_that_cannot_hold_copies_says_what_it_must_be(lake: S3Lake) -> None:
    (path,) = filled(lake, 1)
    lake.release()
    lake.cache.root = Path("/proc/cache")
    with pytest.raises(Stop, match="TALLYBACK_TEMPORARY must be a local disk"):
        lake.local(path)


# Reads objects again and again in another order than its sisters, and checks each; or dies holding one.
READER = """
import os, pathlib, random, signal, sys
from tests.lake.store import lake_in

endpoint, bucket, cache, cache_bytes, seed, *paths = sys.argv[1:]
lake = lake_in(endpoint, bucket, pathlib.Path(cache), cache_bytes=int(cache_bytes))
chosen = random.Random(seed)
if seed == "die":
    lake.local(paths[0])
    lake.cache.working().write_bytes(b"half a download")
    os.kill(os.getpid(), signal.SIGKILL)
for _ in range(6):
    held = {path: lake.local(path) for path in chosen.sample(paths, 4)}
    for path, local in held.items():
        content = local.read_bytes()
        assert int(content) == paths.index(path) and len(content) == 10_000, path
    lake.release()
"""


def reader(lake: S3Lake, seed: str, paths: list[str]) -> subprocess.Popen[str]:
    facts = [str(lake.access.endpoint_url), lake.access.bucket, str(lake.cache.root), str(lake.cache.bytes_max)]
    command = [sys.executable, "-c", READER, *facts, seed, *paths]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)


def test_processes_share_a_cache_that_is_too_small_for_them(lake: S3Lake) -> None:
    paths = filled(lake, 8)
    sisters = [reader(lake, str(seed), paths) for seed in range(2)]
    for each in sisters:
        _, said = each.communicate(timeout=120)
        assert each.returncode == 0, said
    assert 0 < copied_bytes(lake) <= lake.cache.bytes_max
    # Each ended well and took what it held with it.
    assert [path for path in (lake.cache.root / "holders").iterdir() if not list(path.glob("alive"))] == []


def test_what_a_killed_process_held_is_swept_by_the_next(lake: S3Lake) -> None:
    paths = filled(lake, 1)
    lake.release()
    killed = reader(lake, "die", paths)
    killed.communicate(timeout=120)
    (left,) = (lake.cache.root / "holders").iterdir()
    assert len(list(left.iterdir())) == 3
    assert lake.local(paths[0]).stat().st_size == SIZE
    assert not left.exists()


def test_a_forked_child_leaves_its_parent_s_files_alone(lake: S3Lake) -> None:
    first, second = filled(lake, 2)
    held = lake.local(first)
    child = os.fork()
    if child == 0:
        try:
            is_right = lake.local(second).stat().st_size == SIZE and lake.local(first) != held
            lake.release()
            os._exit(0 if is_right else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert held.stat().st_size == SIZE
