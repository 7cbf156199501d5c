"""The lake: immutable objects in a folder, raw ones under their sha256, derived ones under a path their inputs give."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from etl.core.errors import Stop

_PATH = re.compile(r"[a-z0-9_][A-Za-z0-9_.=-]*(/[A-Za-z0-9_][A-Za-z0-9_.=-]*)*")


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
        """Return a local path from which the object can be read; Stop if it is missing."""
        ...

    def open(self, path: str) -> BinaryIO:
        """Return the object opened for reading."""
        ...

    def read_table(self, path: str) -> pa.Table:
        """Return the Parquet object under `path` as an Arrow table."""
        ...


def sha256_of(local: Path) -> tuple[str, int]:
    """Return the sha256 and the byte count of a local file, read in pieces."""
    digest, count = hashlib.sha256(), 0
    with local.open("rb") as source:
        while piece := source.read(1 << 20):
            digest.update(piece)
            count += len(piece)
    return digest.hexdigest(), count


@dataclass(frozen=True, slots=True)
class FolderLake:
    """A lake in a local folder: temporary name, fsync, rename, fsync of the folder."""

    root: Path

    def _place(self, path: str) -> Path:
        if not _PATH.fullmatch(path):
            raise Stop(f"{path!r} is no path of the lake: use lower-case folders and plain names")
        return self.root / path

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
        if not place.exists():
            with self._written(place) as temporary:
                shutil.copyfile(local, temporary)
                if sha256_of(temporary)[0] != sha256:
                    raise Stop(f"{local.name} changed while it was landed: fetch it again")
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
            raise Stop(f"the lake has no object {path}: restore it from the backup of the lake")
        return place

    def open(self, path: str) -> BinaryIO:
        return self.local(path).open("rb")

    def read_table(self, path: str) -> pa.Table:
        # The file itself, not a dataset: a folder named `day=…` must not add a column.
        return pq.ParquetFile(self.local(path)).read()
