"""The lake: immutable objects, raw ones under their sha256, derived ones under a path their inputs give.

In a folder, here; or in a bucket (`etl.core.s3_lake`).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
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
    def _written(self, place: Path) -> Iterator[Path]:
        place.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".part-", dir=place.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            with temporary.open("rb+") as done:
                os.fsync(done.fileno())
            temporary.rename(place)
        finally:
            temporary.unlink(missing_ok=True)
        folder = os.open(place.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def put_file(self, local: Path, prefix: str, suffix: str) -> StoredObject:
        sha256, byte_count = sha256_of(local)
        path = f"{prefix}/{sha256[:2]}/{sha256}{suffix}"
        place = self._place(path)
        try:
            stands = place.stat().st_size
        except FileNotFoundError:
            stands = None
        if stands is None:
            with self._written(place) as temporary:
                shutil.copyfile(local, temporary)
                if sha256_of(temporary)[0] != sha256:
                    raise Stop(f"{local.name} changed while it was landed: fetch it again")
        elif stands != byte_count:
            raise other_bytes(path)
        return StoredObject(path, sha256, byte_count)

    def put_table(self, table: pa.Table, path: str) -> None:
        place = self._place(path)
        if not place.exists():
            with self._written(place) as temporary:
                pq.write_table(table, temporary, compression="zstd")

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
