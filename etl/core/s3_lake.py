"""The lake in an S3 bucket: objects written once by conditional requests, read through a cache on the local disk.

An object under the sha256 of its bytes proves itself; of any other the sha256 stands in the object's metadata. Whatever
does not have the bytes it was written with is a Stop, wherever it was damaged. A file goes up in parts, and there is an
object only once all of it is there: who is killed before leaves none.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import SecretStr

from etl.core.bucket import BucketAccess, Missing, Taken, checksum, open_client, typed_errors
from etl.core.errors import Retry, Stop
from etl.core.lake import BUCKET_SCHEME, StoredObject, checked_path, is_in_bucket, missing, other_bytes, sha256_of
from etl.core.lake_cache import LakeCache

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef, GetObjectOutputTypeDef

PART_BYTES = 16 * 1024 * 1024
"""What is in memory of a file that goes up; a smaller file goes up in one request."""
PARTS_MAX = 10_000
SIGNED_SECONDS = 24 * 3600
"""How long others may read what was signed for them: longer than a stage takes."""
_PIECE_BYTES = 1024 * 1024
_RESUMES_MAX = 5
_SHA256 = "sha256"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.=-]*(/[A-Za-z0-9_][A-Za-z0-9_.=-]*)*")
_NAMED_BY_SHA256 = re.compile(r"(?:.*/)?([0-9a-f]{2})/(\1[0-9a-f]{62})(?:\.[^/]*)?")


@dataclass(frozen=True, slots=True)
class _Stored:
    """What the bucket says of an object; `sha256` is None if it was put there without saying it."""

    byte_count: int
    sha256: str | None


class S3Lake:
    """A lake under a prefix of a bucket. Same promises as the folder's; a process that forks opens its own client."""

    def __init__(self, access: BucketAccess, prefix: str, cache: LakeCache, part_bytes: int = PART_BYTES) -> None:
        self.access = access
        self.prefix = prefix
        self.cache = cache
        self.part_bytes = part_bytes
        self._client_of: tuple[int, S3Client] | None = None
        self._held: dict[str, Path] = {}
        self._held_process = 0
        self._signing: S3Client | None = None

    def __repr__(self) -> str:
        return f"S3Lake(s3://{self.access.bucket}/{self.prefix})"

    def put_file(self, local: Path, prefix: str, suffix: str) -> StoredObject:
        sha256, byte_count = sha256_of(local)
        path = checked_path(f"{prefix}/{sha256[:2]}/{sha256}{suffix}")
        is_there = self._holds(path, sha256, byte_count) or self._written(path, local, sha256, byte_count)
        # If neither, somebody else wrote it at the same moment.
        if not is_there and not self._holds(path, sha256, byte_count):
            raise _came_and_went(path)
        return StoredObject(path, sha256, byte_count)

    def put_table(self, table: pa.Table, path: str) -> None:
        if self.exists(path):
            return
        with self._part() as part:
            pq.write_table(table, part, compression="zstd")
            sha256, byte_count = sha256_of(part)
            if self._written(path, part, sha256, byte_count):
                # It is here already, and whoever wrote it reads it next.
                self.cache.added(path, part, sha256, byte_count).unlink()
            elif not self.exists(path):
                raise _came_and_went(path)

    def exists(self, path: str) -> bool:
        return self._stored(checked_path(path)) is not None

    def local(self, path: str) -> Path:
        if self._held_process != os.getpid():
            self._held, self._held_process = {}, os.getpid()
        if path not in self._held:
            self._held[path] = self._linked(path)
        return self._held[path]

    @contextlib.contextmanager
    def borrowed(self, path: str) -> Iterator[Path]:
        link = self._linked(path)
        try:
            yield link
        finally:
            link.unlink(missing_ok=True)

    def release(self) -> None:
        self._held = {}
        self.cache.close()

    def open(self, path: str) -> BinaryIO:
        # What is open can be read to its end, whatever becomes of its name.
        with self.borrowed(path) as link:
            return link.open("rb")

    def read_table(self, path: str) -> pa.Table:
        with self.borrowed(path) as link:
            return pq.ParquetFile(link).read()

    def bucket_client(self) -> S3Client:
        """Return this process's client for the bucket, opened when first needed."""
        if self._client_of is None or self._client_of[0] != os.getpid():
            self._client_of = (os.getpid(), open_client(self.access))
        return self._client_of[1]

    def signed_url(self, path: str) -> str:
        """Return a URL that whoever holds it can read the object from for a day; nothing is asked of the bucket."""
        # Without a region boto3 would sign URLs the old way, which buckets that encrypt by key refuse.
        client = open_client(self.access, "s3v4") if self._signing is None else self._signing
        self._signing = client
        with self._typed(f"signing {path}"):
            return client.generate_presigned_url(
                "get_object",
                Params={"Bucket": self.access.bucket, "Key": self.key_of(checked_path(path))},
                ExpiresIn=SIGNED_SECONDS,
            )

    def key_of(self, path: str) -> str:
        """Return the key under which the bucket holds the object `path`."""
        return f"{self.prefix}/{path}" if self.prefix else path

    def _typed(self, doing: str) -> AbstractContextManager[None]:
        return typed_errors(self.access, doing)

    def _stored(self, path: str) -> _Stored | None:
        try:
            with self._typed(f"looking for {path}"):
                found = self.bucket_client().head_object(Bucket=self.access.bucket, Key=self.key_of(path))
        except Missing:
            return None
        return _Stored(found["ContentLength"], found["Metadata"].get(_SHA256))

    def _holds(self, path: str, sha256: str, byte_count: int) -> bool:
        """Return whether these bytes stand under `path`, False if nothing does; Stop if other bytes do."""
        stored = self._stored(path)
        if stored is None:
            return False
        if stored.byte_count == byte_count and stored.sha256 is None:
            # It came there by other means, a copy of a folder's lake say: only its bytes can tell.
            with self._part() as part:
                stored = self._downloaded(path, part)
        if stored != _Stored(byte_count, sha256):
            raise other_bytes(path)
        return True

    def _written(self, path: str, local: Path, sha256: str, byte_count: int) -> bool:
        """Write the object and return True; False if there is one by now, or the store no longer knows of the upload.

        What is sent is hashed as it goes: if it is not `sha256`, there is no object, and Stop is raised.
        """
        try:
            if byte_count > self.part_bytes:
                self._written_in_parts(path, local, sha256, byte_count)
                return True
            content = local.read_bytes()
            if hashlib.sha256(content).hexdigest() != sha256:
                raise _changed(local)
            with self._typed(f"writing {path}"):
                self.bucket_client().put_object(
                    Bucket=self.access.bucket,
                    Key=self.key_of(path),
                    Body=content,
                    IfNoneMatch="*",
                    ChecksumAlgorithm="SHA256",
                    ChecksumSHA256=checksum(content),
                    Metadata={_SHA256: sha256},
                )
        except (Taken, Missing):
            return False
        return True

    def _written_in_parts(self, path: str, local: Path, sha256: str, byte_count: int) -> None:
        if byte_count > self.part_bytes * PARTS_MAX:
            raise Stop(
                f"{local.name} has {byte_count:,} bytes, and a lake in S3 takes {self.part_bytes * PARTS_MAX:,}: fetch "
                "shorter windows"
            )
        client, bucket, key = self.bucket_client(), self.access.bucket, self.key_of(path)
        with self._typed(f"writing {path}"):
            begun = client.create_multipart_upload(
                Bucket=bucket, Key=key, Metadata={_SHA256: sha256}, ChecksumAlgorithm="SHA256"
            )
        upload, is_done = begun["UploadId"], False
        try:
            digest = hashlib.sha256()
            parts: list[CompletedPartTypeDef] = []
            with local.open("rb") as source:
                while piece := source.read(self.part_bytes):
                    digest.update(piece)
                    number, proof = len(parts) + 1, checksum(piece)
                    with self._typed(f"writing part {number} of {path}"):
                        told = client.upload_part(
                            Bucket=bucket,
                            Key=key,
                            UploadId=upload,
                            PartNumber=number,
                            Body=piece,
                            ChecksumAlgorithm="SHA256",
                            ChecksumSHA256=proof,
                        )
                    parts.append({"PartNumber": number, "ETag": told["ETag"], "ChecksumSHA256": proof})
            if digest.hexdigest() != sha256:
                raise _changed(local)
            with self._typed(f"writing {path}"):
                client.complete_multipart_upload(
                    Bucket=bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": parts}, IfNoneMatch="*"
                )
            is_done = True
        finally:
            if not is_done:
                # The error that brought us here is the one to tell; parts left behind are the bucket's lifecycle's.
                with contextlib.suppress(Retry, Stop), self._typed(f"giving up {path}"):
                    client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload)

    def _linked(self, path: str) -> Path:
        """Return a new link of this process's own to a copy of the object that was found to be right."""
        promised = promised_sha256(checked_path(path))
        try:
            if (link := self.cache.taken(path, promised)) is not None:
                return link
            with self._part() as part:
                stored = self._downloaded(path, part, promised)
                assert stored.sha256 is not None
                return self.cache.added(path, part, stored.sha256, stored.byte_count)
        except OSError as error:
            raise Stop(
                f"{path} cannot be kept in {self.cache.root} ({error.strerror}): TALLYBACK_TEMPORARY must be a local "
                "disk with room for TALLYBACK_LAKE_CACHE_BYTES and for what one stage reads"
            ) from error

    @contextlib.contextmanager
    def _part(self) -> Iterator[Path]:
        part = self.cache.working()
        try:
            yield part
        finally:
            part.unlink(missing_ok=True)

    def _downloaded(self, path: str, part: Path, promised: str | None = None) -> _Stored:
        """Bring an object to `part` and return what arrived; Stop if it is missing, or not what it was written as.

        A body that breaks off is gone on with where it ended, as long as more comes.
        """
        digest, size, told, etag = hashlib.sha256(), 0, promised, ""
        with part.open("wb") as target:
            for resumes_left in reversed(range(_RESUMES_MAX + 1)):
                before = size
                try:
                    answer = self._answer(path, size, etag)
                    etag, told = answer["ETag"], told or answer["Metadata"].get(_SHA256)
                    for piece in self._pieces(path, answer):
                        target.write(piece)
                        digest.update(piece)
                        size += len(piece)
                except Retry:
                    if size == before or not resumes_left:
                        raise
                else:
                    break
        if told not in (None, digest.hexdigest()):
            raise other_bytes(path)
        return _Stored(size, digest.hexdigest())

    def _answer(self, path: str, offset: int, etag: str) -> GetObjectOutputTypeDef:
        client, bucket, key = self.bucket_client(), self.access.bucket, self.key_of(path)
        try:
            with self._typed(f"reading {path}"):
                if not offset:
                    return client.get_object(Bucket=bucket, Key=key)
                answer = client.get_object(Bucket=bucket, Key=key, Range=f"bytes={offset}-", IfMatch=etag)
        except Missing:
            raise missing(path) from None
        except Taken:
            raise other_bytes(path) from None
        if not answer.get("ContentRange", "").startswith(f"bytes {offset}-"):
            raise Stop(f"the store of the lake cannot go on with {path} at byte {offset:,}: use one that knows ranges")
        return answer

    def _pieces(self, path: str, answer: GetObjectOutputTypeDef) -> Iterator[bytes]:
        body = answer["Body"]
        pieces = body.iter_chunks(_PIECE_BYTES)
        try:
            while True:
                with self._typed(f"reading {path}"):
                    piece = next(pieces, None)
                if piece is None:
                    return
                yield piece
        finally:
            body.close()


def open_s3_lake(lake: str, values: Mapping[str, str], connection: str, folder: Path, cache_bytes: int) -> S3Lake:
    """Return the lake that `s3://bucket/prefix` names; nothing is sent yet. Stop if it is no such name.

    `values` are those of the connection: access_key_id and secret_access_key (or, as in Airflow's own, username and
    password), session_token, region, endpoint_url; without a key boto3's own chain is asked. Copies lie under `folder`.
    """
    bucket, _, prefix = lake.removeprefix(BUCKET_SCHEME).rstrip("/").partition("/")
    if not is_in_bucket(lake) or not _BUCKET.fullmatch(bucket) or (prefix and not _PREFIX.fullmatch(prefix)):
        # Not shown: somebody may have put a key into it.
        raise Stop(
            "TALLYBACK_LAKE is no bucket as it stands: write s3://bucket or s3://bucket/prefix in plain letters, and "
            "leave the credentials to the connection"
        )
    secret = values.get("secret_access_key") or values.get("password")
    token = values.get("session_token") or values.get("aws_session_token")
    access = BucketAccess(
        name=connection or "lake",
        bucket=bucket,
        access_key_id=values.get("access_key_id") or values.get("username"),
        secret_access_key=None if secret is None else SecretStr(secret),
        session_token=None if token is None else SecretStr(token),
        region=values.get("region") or values.get("region_name"),
        endpoint_url=values.get("endpoint_url"),
    )
    return S3Lake(access, prefix, LakeCache(folder, cache_bytes))


def promised_sha256(path: str) -> str | None:
    """Return the sha256 that the path of an object promises, None where it is named by something else."""
    found = _NAMED_BY_SHA256.fullmatch(path)
    return None if found is None else found[2]


def _came_and_went(path: str) -> Retry:
    return Retry(f"the lake's object {path} came and went while it was written; try again")


def _changed(local: Path) -> Stop:
    return Stop(f"{local.name} changed while it was landed: fetch it again")
