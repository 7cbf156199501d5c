"""Try what the lake asks of a bucket: writing, reading, and that nothing is ever written over."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from etl.core.bucket import Missing, Taken, checksum, typed_errors
from etl.core.errors import Retry, Stop
from etl.core.s3_lake import S3Lake

if TYPE_CHECKING:
    from mypy_boto3_s3.literals import BucketLocationConstraintType

PATH = "doctor/probe"
"""The one object a probe leaves: a key that may not delete can try it again and again."""
_CONTENT = b"Tallyback's doctor writes this once. It may stay.\n"


@dataclass(frozen=True, slots=True)
class Probed:
    """One thing tried of the bucket: what came of it, and what to do if it is not as it must be."""

    name: str
    found: str
    next_step: str = ""


def probe(lake: S3Lake) -> Iterator[Probed]:
    """Yield what came of each try, ending with the first that shows that the others cannot be made."""
    tries: list[tuple[str, Callable[[S3Lake], str]]] = [
        ("lake can be written and read", _written_and_read),
        ("lake keeps what is there", _refused_over),
        ("lake keeps what is there from large files", _parts_refused_over),
    ]
    for name, attempt in tries:
        try:
            found = attempt(lake)
        except (Retry, Stop) as error:
            yield Probed(name, f"s3://{lake.access.bucket}/{lake.prefix}", str(error))
            return
        yield Probed(name, found)


def create_bucket(lake: S3Lake) -> bool:
    """Make the bucket of the lake; return False if it is there and ours. For a store of one's own, or a first try."""
    with typed_errors(lake.access, "making the bucket"):
        client = lake.bucket_client()
        region = client.meta.region_name
        with contextlib.suppress(client.exceptions.BucketAlreadyOwnedByYou):
            if any(each.get("Name") == lake.access.bucket for each in client.list_buckets()["Buckets"]):
                return False
            if region in (None, "us-east-1", "aws-global"):
                client.create_bucket(Bucket=lake.access.bucket)
            else:
                client.create_bucket(
                    Bucket=lake.access.bucket,
                    CreateBucketConfiguration={"LocationConstraint": cast("BucketLocationConstraintType", region)},
                )
            return True
    return False


def _written_and_read(lake: S3Lake) -> str:
    client, bucket, key = lake.bucket_client(), lake.access.bucket, lake.key_of(PATH)
    # Asked for first: without s3:ListBucket, what is missing looks forbidden, and every new object would be a Stop.
    with contextlib.suppress(Missing), typed_errors(lake.access, "looking for an object (s3:ListBucket, s3:GetObject)"):
        client.head_object(Bucket=bucket, Key=lake.key_of("doctor/none"))
    with contextlib.suppress(Taken), typed_errors(lake.access, "writing (s3:PutObject)"):
        _put(lake)
    with typed_errors(lake.access, "reading (s3:GetObject)"):
        read = client.get_object(Bucket=bucket, Key=key)["Body"].read(len(_CONTENT) + 1)
    if read != _CONTENT:
        raise Stop(f"{key} in the bucket holds something else: is the prefix used by others? Give the lake its own")
    return f"s3://{bucket}/{lake.prefix} answers"


def _put(lake: S3Lake) -> None:
    lake.bucket_client().put_object(
        Bucket=lake.access.bucket,
        Key=lake.key_of(PATH),
        Body=_CONTENT,
        IfNoneMatch="*",
        ChecksumAlgorithm="SHA256",
        ChecksumSHA256=checksum(_CONTENT),
    )


def _refused_over(lake: S3Lake) -> str:
    try:
        with typed_errors(lake.access, "writing what is there already"):
            _put(lake)
    except Taken:
        return "a second writer is refused (If-None-Match)"
    raise Stop(
        "the store wrote over an object although it was told not to (PutObject with If-None-Match: *): two workers "
        "could harm each other. Use a version of it that knows conditional writes, or another store."
    )


def _parts_refused_over(lake: S3Lake) -> str:
    client, bucket, key = lake.bucket_client(), lake.access.bucket, lake.key_of(PATH)
    with typed_errors(lake.access, "beginning a large file (s3:PutObject)"):
        upload = client.create_multipart_upload(Bucket=bucket, Key=key, ChecksumAlgorithm="SHA256")["UploadId"]
    try:
        with typed_errors(lake.access, "writing a part"):
            part = client.upload_part(
                Bucket=bucket,
                Key=key,
                UploadId=upload,
                PartNumber=1,
                Body=_CONTENT,
                ChecksumAlgorithm="SHA256",
                ChecksumSHA256=checksum(_CONTENT),
            )
        try:
            with typed_errors(lake.access, "ending a large file"):
                client.complete_multipart_upload(
                    Bucket=bucket,
                    Key=key,
                    UploadId=upload,
                    MultipartUpload={
                        "Parts": [{"PartNumber": 1, "ETag": part["ETag"], "ChecksumSHA256": checksum(_CONTENT)}]
                    },
                    IfNoneMatch="*",
                )
        except Taken:
            pass
        else:
            raise Stop(
                "the store wrote a large file over an object although it was told not to (CompleteMultipartUpload with "
                "If-None-Match: *). Use a version of it that knows conditional writes, or another store."
            )
    finally:
        # Gone by itself where the store ended it.
        with contextlib.suppress(Missing), typed_errors(lake.access, "giving up a file (s3:AbortMultipartUpload)"):
            client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload)
    return "a second writer of a large file is refused"
