"""The lake: immutable objects, raw ones under their sha256, derived ones under a path their inputs give.

In a folder, here; or in a bucket (`etl.core.s3_lake`).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from etl.core.errors import Stop

_PATH = re.compile(r"[a-z0-9_][A-Za-z0-9_.=-]*(/[A-Za-z0-9_][A-Za-z0-9_.=-]*)*")


BUCKET_SCHEME = "s3://"


def is_in_bucket(lake: str) -> bool:
    """Return whether the setting `lake` names a bucket, and not a folder."""
    return lake.startswith(BUCKET_SCHEME)


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object of the lake: its path there, the sha256 of its bytes and how many they are."""

    path: str
    sha256: str
    byte_count: int


class Lake(Protocol):
    """Immutable storage. What is written under a path never changes; writing it again is a no-op."""

    def put_file(self, local: Path, prefix: str, suffix: str) -> StoredObject:
        """Return the object that now holds the bytes of `local`, under `prefix` and their sha256."""
        ...

    def put_table(self, table: pa.Table, path: str) -> None:
        """Write `table` as Parquet under `path`, unless it is there already."""
        ...

    def exists(self, path: str) -> bool:
        """Return whether an object stands under `path`."""
        ...

    def local(self, path: str) -> Path:
        """Return a local path from which the object can be read until `release`; Stop if it is missing."""
        ...

    def borrowed(self, path: str) -> AbstractContextManager[Path]:
        """Return a context with a local path that is good inside of it alone: for what is read one after the other."""
        ...

    def release(self) -> None:
        """Say that no path from `local` is needed any more."""
        ...

    def open(self, path: str) -> BinaryIO:
        """Return the object opened for reading."""
        ...

    def read_table(self, path: str) -> pa.Table:
        """Return the Parquet object under `path` as an Arrow table."""
        ...


def checked_path(path: str) -> str:
    """Return `path` if it is one of the lake's; Stop if it could lead elsewhere."""
    if not _PATH.fullmatch(path):
        raise Stop(f"{path!r} is no path of the lake: use lower-case folders and plain names")
    return path


def sha256_of(local: Path) -> tuple[str, int]:
    """Return the sha256 and the byte count of a local file, read in pieces."""
    digest, count = hashlib.sha256(), 0
    with local.open("rb") as source:
        while piece := source.read(1 << 20):
            digest.update(piece)
            count += len(piece)
    return digest.hexdigest(), count


def copied(local: Path, copy: Path) -> tuple[str, int]:
    """Write the bytes of a local file to `copy`; return their sha256 and count, taken of what was written."""
    digest, count = hashlib.sha256(), 0
    with local.open("rb") as source, copy.open("wb") as out:
        while piece := source.read(1 << 20):
            digest.update(piece)
            out.write(piece)
            count += len(piece)
    return digest.hexdigest(), count


def missing(path: str) -> Stop:
    """Return what to say of an object that a row names and that is not there."""
    return Stop(f"the lake has no object {path}: restore it from the backup of the lake")


def other_bytes(path: str) -> Stop:
    """Return what to say where other bytes stand than those that belong there."""
    return Stop(
        f"the lake's object {path} is damaged: it holds other bytes than were written there. Restore it from the "
        "backup of the lake, or from an older version in the bucket."
    )


@dataclass(frozen=True, slots=True)
class FolderLake:
    """A lake in a local folder: temporary name, fsync, rename, fsync of the folder."""

    root: Path

    def _place(self, path: str) -> Path:
        return self.root / checked_path(path)

    @contextlib.contextmanager
    def _part(self, folder: Path) -> Iterator[Path]:
        """Yield a temporary file in a folder; what is to last of it is renamed until the end."""
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".part-", dir=folder)
        os.close(handle)
        try:
            yield Path(name)
        finally:
            Path(name).unlink(missing_ok=True)

    def put_file(self, local: Path, prefix: str, suffix: str) -> StoredObject:
        before = _last_change(local)
        with self._part(self._place(prefix)) as part:
            # Read once, and again only where somebody wrote to it meanwhile, who may have written the same.
            sha256, byte_count = copied(local, part)
            if _last_change(local) != before and sha256_of(local)[0] != sha256:
                raise Stop(f"{local.name} changed while it was landed: fetch it again")
            path = f"{prefix}/{sha256[:2]}/{sha256}{suffix}"
            place = self._place(path)
            try:
                stands = place.stat().st_size
            except FileNotFoundError:
                _keep(part, place)
            else:
                if stands != byte_count:
                    raise other_bytes(path)
        return StoredObject(path, sha256, byte_count)

    def put_table(self, table: pa.Table, path: str) -> None:
        place = self._place(path)
        if not place.exists():
            with self._part(place.parent) as part:
                pq.write_table(table, part, compression="zstd")
                _keep(part, place)

    def exists(self, path: str) -> bool:
        return self._place(path).exists()

    def local(self, path: str) -> Path:
        place = self._place(path)
        if not place.exists():
            raise missing(path)
        return place

    @contextlib.contextmanager
    def borrowed(self, path: str) -> Iterator[Path]:
        yield self.local(path)

    def release(self) -> None:
        """Nothing was held: the objects themselves are local."""

    def open(self, path: str) -> BinaryIO:
        return self.local(path).open("rb")

    def read_table(self, path: str) -> pa.Table:
        # The file itself, not a dataset: a folder named `day=…` must not add a column.
        return pq.ParquetFile(self.local(path)).read()


def _last_change(local: Path) -> tuple[int, int]:
    found = local.stat()
    return found.st_size, found.st_ctime_ns


def _keep(part: Path, place: Path) -> None:
    """Give a temporary file of the same disk its place for good, through a crash of the machine."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with part.open("rb+") as done:
        os.fsync(done.fileno())
    part.rename(place)
    folder = os.open(place.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
