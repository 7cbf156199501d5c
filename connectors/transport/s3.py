"""Files in an S3 bucket: listed, read whole with their sha256, and written once."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from pydantic import SecretStr

from connectors.transport.remote_name import shown
from etl.core.bucket import BucketAccess, Taken, checksum, open_client, typed_errors
from etl.core.errors import Stop

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef

_PIECE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class S3Settings:
    """One bucket and the credentials for it; `endpoint_url` for any store that is not Amazon's."""

    connection: str
    bucket: str
    access_key_id: str
    secret_access_key: SecretStr
    session_token: SecretStr | None = None
    region: str = "us-east-1"
    endpoint_url: str | None = None
    connect_seconds: float = 10.0
    read_seconds: float = 60.0
    attempts: int = 4
    bytes_max: int = 32 * 1024 * 1024 * 1024
    keys_max: int = 1_000_000


@dataclass(frozen=True, slots=True)
class S3Object:
    """An object as the bucket lists it: key, size, date (UTC)."""

    key: str
    size: int
    modified_at: datetime


@dataclass(frozen=True, slots=True)
class S3Received:
    """An object that is here now, whole."""

    key: str
    size: int
    modified_at: datetime
    sha256: str
    local_path: Path


class S3Bucket:
    """Calls to one bucket over kept connections; use it as a context manager."""

    def __init__(self, settings: S3Settings) -> None:
        self.settings = settings
        self._access = BucketAccess(
            name=settings.connection,
            bucket=settings.bucket,
            access_key_id=settings.access_key_id,
            secret_access_key=settings.secret_access_key,
            session_token=settings.session_token,
            region=settings.region,
            endpoint_url=settings.endpoint_url,
            connect_seconds=settings.connect_seconds,
            read_seconds=settings.read_seconds,
            attempts=settings.attempts,
        )
        self._client = open_client(self._access)

    def __repr__(self) -> str:
        return f"S3Bucket({self.settings.connection}, s3://{self.settings.bucket})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the kept connections."""
        self._client.close()

    def list(self, prefix: str) -> tuple[S3Object, ...]:
        """Return all objects whose key begins with the prefix, in key order; raises Stop over the limit of keys."""
        found: list[S3Object] = []
        with self._typed(f"listing {shown(prefix)}"):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.settings.bucket, Prefix=prefix)
            for page in pages:
                for each in page.get("Contents", []):
                    found.append(S3Object(each["Key"], each["Size"], each["LastModified"].astimezone(UTC)))
                if len(found) > self.settings.keys_max:
                    raise Stop(
                        f"{self.settings.connection}: more than {self.settings.keys_max:,} keys under "
                        f"{shown(prefix)}; use a longer "
                        f"prefix, or raise the limit."
                    )
        return tuple(sorted(found, key=lambda each: each.key))

    def read(self, key: str, local_path: Path, bytes_max: int | None = None) -> S3Received:
        """Bring an object to `local_path`, which comes into being whole or not at all.

        The local name is the caller's: a key is never used as one. Raises Stop for a missing or too large object and
        refused credentials, Retry where the transfer breaks off.
        """
        limit = self.settings.bytes_max if bytes_max is None else bytes_max
        part_path = local_path.with_name(f"{local_path.name}.{os.getpid()}.part")
        local_path.parent.mkdir(parents=True, exist_ok=True)
        digest, size = hashlib.sha256(), 0
        try:
            with self._typed(f"reading {shown(key)}"), part_path.open("wb") as target:
                answer = self._client.get_object(Bucket=self.settings.bucket, Key=key)
                for piece in self._pieces(key, answer, limit):
                    target.write(piece)
                    digest.update(piece)
                    size += len(piece)
                target.flush()
                os.fsync(target.fileno())
            part_path.replace(local_path)
        finally:
            part_path.unlink(missing_ok=True)
        return S3Received(key, size, answer["LastModified"].astimezone(UTC), digest.hexdigest(), local_path)

    def read_bytes(self, key: str, bytes_max: int) -> bytes:
        """Return a small object's bytes; errors as for `read`."""
        with self._typed(f"reading {shown(key)}"):
            answer = self._client.get_object(Bucket=self.settings.bucket, Key=key)
            return b"".join(self._pieces(key, answer, bytes_max))

    def write_once(self, key: str, content: bytes) -> bool:
        """Write an object unless the key exists; return whether it was written, False if the same bytes were there
        already.

        Raises Stop if the key holds other bytes: nothing is ever overwritten. Safe against a second writer at the same
        time.
        """
        try:
            with self._typed(f"writing {shown(key)}"):
                self._client.put_object(
                    Bucket=self.settings.bucket,
                    Key=key,
                    Body=content,
                    IfNoneMatch="*",
                    ChecksumAlgorithm="SHA256",
                    ChecksumSHA256=checksum(content),
                )
        except Taken:
            pass
        else:
            return True
        if self._holds(key, content):
            return False
        raise Stop(
            f"{self.settings.connection}: {shown(key)} is there already with other content than the "
            f"{len(content):,} bytes to be "
            f"written. It is never overwritten: find out what the existing one is."
        )

    def _holds(self, key: str, content: bytes) -> bool:
        with self._typed(f"reading {shown(key)}"):
            answer = self._client.get_object(Bucket=self.settings.bucket, Key=key)
            same_size = answer["ContentLength"] == len(content)
            if not same_size:
                answer["Body"].close()
                return False
            return b"".join(self._pieces(key, answer, len(content))) == content

    def _pieces(self, key: str, answer: "GetObjectOutputTypeDef", limit: int) -> Iterator[bytes]:
        body, size = answer["Body"], 0
        try:
            if answer["ContentLength"] > limit:
                raise self._too_large(key, limit)
            for piece in body.iter_chunks(_PIECE_BYTES):
                size += len(piece)
                if size > limit:
                    raise self._too_large(key, limit)
                yield piece
        finally:
            body.close()

    def _too_large(self, key: str, limit: int) -> Stop:
        return Stop(
            f"{self.settings.connection}: {shown(key)} is larger than the limit of {limit:,} bytes. Look at it, and "
            "raise the limit "
            f"if it is right."
        )

    def _typed(self, doing: str) -> AbstractContextManager[None]:
        return typed_errors(self._access, doing)
