"""Local copies of a bucket's objects: bounded in bytes, shared by a machine's processes, believed only if unchanged.

    root/lock                 one lock for all that counts or sweeps; it holds how many bytes stand under `files`
    root/files/ab/…           copies; the name tells the object, its sha256 and its size
    root/holders/<name>/      what one process works on: its downloads, and links to the copies it reads

A copy may be removed at any time to make room. Who reads one has a link to it of its own, so its bytes stay until that
process lets go or ends; what a process that was killed held is swept by the next one that begins.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import itertools
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from etl.core.errors import Stop

_ROOM = 0.9
"""How full the cache is left when room was made, so that not every copy makes room anew."""
_PIECE_BYTES = 1 << 20


class LakeCache:
    """The copies one machine keeps under `root`, together at most `bytes_max`; links of readers come on top."""

    def __init__(self, root: Path, bytes_max: int) -> None:
        self.root = root
        self.bytes_max = bytes_max
        self._numbers = itertools.count(1)
        self._holder: Path | None = None
        self._holder_process = 0
        self._end: Callable[[], object] | None = None

    def working(self) -> Path:
        """Return a new path in this process's own folder, for a file that is being made."""
        return self._own() / f"{next(self._numbers)}-part"

    def taken(self, path: str, sha256: str | None) -> Path | None:
        """Return a link of this process's own to the copy of `path`, None if there is none to be believed.

        The bytes are hashed: a copy that is not what its name says, or not `sha256` where that is known, is removed.
        """
        for copy in self._copies(path):
            named_sha256, byte_count = _facts_of(copy)
            link = self._link_path(path)
            try:
                link.hardlink_to(copy)
            except FileNotFoundError:
                continue  # Somebody made room.
            if sha256 in (None, named_sha256) and _is_whole(link, named_sha256, byte_count):
                # The oldest use goes first when room is made.
                os.utime(link)
                return link
            link.unlink()
            copy.unlink(missing_ok=True)
        return None

    def added(self, path: str, part: Path, sha256: str, byte_count: int) -> Path:
        """Keep the finished file `part` of this process as the copy of `path`; return this process's link to it.

        `part` is gone afterwards. A file larger than the whole cache is held, and not kept.
        """
        link = self._link_path(path)
        with part.open("rb") as done:
            os.fsync(done.fileno())
        part.chmod(0o400)
        part.rename(link)
        if byte_count > self.bytes_max:
            return link
        copy = self._copy_path(path, sha256, byte_count)
        copy.parent.mkdir(parents=True, exist_ok=True)
        self._make_room(byte_count)
        # From here it stands under its name, whole: the link comes into being at once or not at all.
        with contextlib.suppress(FileExistsError):
            copy.hardlink_to(link)
        return link

    def close(self) -> None:
        """Let go of all links of this process; their paths are gone afterwards."""
        if self._end is not None:
            self._end()
        self._holder = self._end = None

    def _own(self) -> Path:
        """Return this process's folder, made when first needed, and anew after a fork."""
        if self._holder is None or self._holder_process != os.getpid():
            holders = self.root / "holders"
            holders.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._locked():
                _sweep(holders)
                folder = Path(tempfile.mkdtemp(dir=holders))
                alive = os.open(folder / "alive", os.O_CREAT | os.O_RDWR, 0o600)
                # Held until the process ends, however it ends: so the living are told from the dead.
                fcntl.flock(alive, fcntl.LOCK_EX)
            self._holder, self._holder_process = folder, os.getpid()
            self._end = weakref.finalize(self, _end_holder, folder, alive, os.getpid())
        return self._holder

    def _link_path(self, path: str) -> Path:
        # The object's own name stays at the end: some readers go by it.
        return self._own() / f"{next(self._numbers)}-{PurePosixPath(path).name}"

    def _copy_path(self, path: str, sha256: str, byte_count: int) -> Path:
        key = _key_of(path)
        return self.root / "files" / key[:2] / f"{key}.{sha256}.{byte_count}"

    def _copies(self, path: str) -> list[Path]:
        key = _key_of(path)
        return sorted((self.root / "files" / key[:2]).glob(f"{key}.*"))

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        handle = os.open(self.root / "lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield handle
        finally:
            os.close(handle)

    def _make_room(self, byte_count: int) -> None:
        """Count `byte_count` in, after removing the copies used longest ago if it would be too many."""
        with self._locked() as handle:
            told = os.pread(handle, 32, 0)
            used = int(told) + byte_count if told.isdigit() else None
            # Counted before it stands: who dies in between leaves the count too high, and counting anew puts it right.
            if used is None or used > self.bytes_max:
                used = self._removed_down_to(int(self.bytes_max * _ROOM) - byte_count) + byte_count
            os.ftruncate(handle, 0)
            os.pwrite(handle, str(used).encode(), 0)

    def _removed_down_to(self, bytes_wanted: int) -> int:
        """Remove copies until at most `bytes_wanted` (or none) are left if there are more; return how many are."""
        found = []
        for entry in (self.root / "files").glob("??/*"):
            # One that is not to be believed may be removed meanwhile.
            with contextlib.suppress(FileNotFoundError):
                found.append((entry.stat().st_mtime_ns, entry))
        total = sum(_facts_of(entry)[1] for _, entry in found)
        for _, entry in sorted(found):
            if total <= max(0, bytes_wanted):
                break
            entry.unlink(missing_ok=True)
            total -= _facts_of(entry)[1]
        return total


def _end_holder(folder: Path, alive: int, process: int) -> None:
    # A forked child has the same finalizer, and must leave its parent's folder alone.
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)
    os.close(alive)


def _sweep(holders: Path) -> None:
    """Remove the folders of processes that ended without doing so; the cache is locked."""
    for folder in holders.iterdir():
        try:
            alive = os.open(folder / "alive", os.O_RDWR)
        except FileNotFoundError:
            shutil.rmtree(folder, ignore_errors=True)
            continue
        try:
            fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(alive)


def _key_of(path: str) -> str:
    return hashlib.sha256(path.encode()).hexdigest()[:40]


def _facts_of(copy: Path) -> tuple[str, int]:
    """Return the sha256 and size that a copy's name promises; Stop if the name is not one of ours."""
    match copy.name.split("."):
        case [_, sha256, size] if size.isdigit():
            return sha256, int(size)
    raise Stop(
        f"{copy} is no file of the lake's cache: somebody else writes there. Remove it, or give the cache a folder."
    )


def _is_whole(link: Path, sha256: str, byte_count: int) -> bool:
    if link.stat().st_size != byte_count:
        return False
    digest = hashlib.sha256()
    with link.open("rb") as source:
        while piece := source.read(_PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest() == sha256
