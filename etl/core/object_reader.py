"""Read Parquet objects of a bucket on the machine that wants their rows: shipped to Spark's workers as it is.

So it imports nothing of ours: a worker has Python and PyArrow, and no Tallyback. An object is named by its path in the
lake, a URL that a client signed for a time, and the sha256 that its path promises, if any; else the bucket says it. The
URL is as good as a key, and shown nowhere.
"""

from __future__ import annotations

import hashlib
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

SignedObject = tuple[str, str, str | None]
BATCH_ROWS = 65_536
DAMAGED, MISSING, REFUSED = "is damaged", "is missing", "is refused"
_TIMEOUT_SECONDS = 60
_PIECE_BYTES = 1 << 20
_SHA256_HEADER = "x-amz-meta-sha256"
_STATUS = {401: REFUSED, 403: REFUSED, 404: MISSING, 410: MISSING}


class ObjectProblem(RuntimeError):
    """A person must act: the text is `object <path> <what is amiss>.`."""


def reader_of(
    objects: Sequence[SignedObject], schema: pa.Schema
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Return a function from batches of numbers of objects to the rows of those objects, in batches of `schema`."""

    def read(numbers: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in numbers:
            for number in batch.column(0).to_pylist():
                yield from read_object(objects[number], schema)

    return read


def read_object(signed: SignedObject, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Yield an object's rows with all columns of `schema`: one that it lacks is null.

    Its bytes are on this machine's disk while they are read, and hashed before any of them counts. Raises ObjectProblem
    if they are not those that were written, are not there or not to be had, and OSError if the bucket does not answer.
    """
    with tempfile.TemporaryFile() as local:
        _bring(signed, local)
        source = pq.ParquetFile(local)
        held = set(source.schema_arrow.names)
        for rows in source.iter_batches(BATCH_ROWS, columns=[name for name in schema.names if name in held]):
            columns = [
                rows[field.name].cast(field.type) if field.name in held else pa.nulls(rows.num_rows, field.type)
                for field in schema
            ]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)


def _bring(signed: SignedObject, local: BinaryIO) -> None:
    path, url, promised = signed
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as answer:
            wanted, expected = promised or answer.headers[_SHA256_HEADER], answer.headers["Content-Length"]
            digest, count = hashlib.sha256(), 0
            while piece := answer.read(_PIECE_BYTES):
                local.write(piece)
                digest.update(piece)
                count += len(piece)
    except urllib.error.HTTPError as error:
        error.close()
        if (amiss := _STATUS.get(error.code)) is not None:
            raise ObjectProblem(f"object {path} {amiss}.") from None
        raise OSError(f"the bucket answers {error.code} for {path}") from None
    except urllib.error.URLError as error:
        raise OSError(f"the bucket does not answer for {path}: {error.reason}") from None
    if expected is not None and count < int(expected):
        raise OSError(f"{path} broke off after {count:,} bytes")
    if wanted not in (None, digest.hexdigest()):
        raise ObjectProblem(f"object {path} {DAMAGED}.")
    local.seek(0)
