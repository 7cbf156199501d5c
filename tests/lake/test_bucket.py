"""Promises of the lake in a bucket: what is damaged is found, what fails has a kind, and no secret is shown."""

from __future__ import annotations

import hashlib
import logging
import socket
import struct
import subprocess
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import botocore.awsrequest
import botocore.exceptions
import httpx
import pyarrow as pa
import pytest

from etl.core.errors import Retry, Stop
from etl.core.lake_probe import probe
from etl.core.s3_lake import S3Lake, open_s3_lake, promised_sha256
from tests.connectors.transport.web_server import Request, answer, serving
from tests.lake.store import KEY_ID, PART_BYTES, SECRET, keys_of, lake_in, new_bucket, uploads_of, values_of

ROOT = Path(__file__).resolve().parents[2]
TABLE = pa.table({"a": [1, 2, 3]})
ERROR = '<?xml version="1.0"?><Error><Code>{}</Code><Message>it says {}</Message></Error>'
HASH = "0" * 64
PATH = f"raw/00/{HASH}.csv"


@pytest.fixture
def lake(endpoint: str, tmp_path: Path) -> S3Lake:
    return lake_in(endpoint, new_bucket(endpoint), tmp_path / "cache")


@pytest.fixture
def local(tmp_path: Path) -> Path:
    path = tmp_path / "report.csv"
    path.write_bytes(b"a,b\n" * 1000)
    return path


def put(lake: S3Lake, path: str, content: bytes, **named: str) -> None:
    """Put an object into the bucket without the lake."""
    lake.bucket_client().put_object(Bucket=lake.access.bucket, Key=lake.key_of(path), Body=content, Metadata=named)


def of(lake: S3Lake, endpoint_url: str) -> S3Lake:
    """Return the same lake at another address."""
    return S3Lake(replace(lake.access, endpoint_url=endpoint_url), lake.prefix, lake.cache, lake.part_bytes)


def uses(lake: S3Lake, local: Path) -> list[Callable[[], object]]:
    return [
        lambda: lake.put_file(local, "raw", ".csv"),
        lambda: lake.put_table(TABLE, "tracked/x.parquet"),
        lambda: lake.exists(PATH),
        lambda: lake.local(PATH),
        lambda: lake.open(PATH),
    ]


def test_an_object_with_other_bytes_than_its_name_says_is_a_stop(lake: S3Lake, local: Path, tmp_path: Path) -> None:
    stored = lake.put_file(local, "raw", ".csv")
    put(lake, stored.path, b"a,c\n" * 1000, sha256=stored.sha256)
    for use in (lake.local, lake.open):
        with pytest.raises(Stop, match="damaged"):
            use(stored.path)
    assert not list((tmp_path / "cache" / "files").glob("*/*"))


def test_a_table_with_other_bytes_than_were_written_is_a_stop(lake: S3Lake) -> None:
    lake.put_table(TABLE, "tracked/x.parquet")
    key = lake.key_of("tracked/x.parquet")
    found = lake.bucket_client().get_object(Bucket=lake.access.bucket, Key=key)
    assert found["Metadata"]["sha256"] == hashlib.sha256(found["Body"].read()).hexdigest()
    put(lake, "tracked/x.parquet", b"damaged", **found["Metadata"])
    other = lake_in(str(lake.access.endpoint_url), lake.access.bucket, lake.cache.root.with_name("other"))
    with pytest.raises(Stop, match="damaged"):
        other.read_table("tracked/x.parquet")


def test_a_lake_that_was_copied_into_the_bucket_by_other_means_is_read_and_written_on(
    lake: S3Lake, local: Path
) -> None:
    content = local.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    path = f"raw/{digest[:2]}/{digest}.csv"
    put(lake, path, content)
    assert lake.put_file(local, "raw", ".csv").path == path
    assert lake.local(path).read_bytes() == content
    put(lake, "tracked/x", b"x")
    assert lake.local("tracked/x").read_bytes() == b"x"
    put(lake, path, bytes(len(content)))
    with pytest.raises(Stop, match="damaged"):
        lake.put_file(local, "raw", ".csv")


@pytest.mark.parametrize(
    ("status", "code", "kind", "step"),
    [
        (403, "AccessDenied", Stop, "allow it .docs/bring-your-own.md has the policy"),
        (403, "InvalidAccessKeyId", Stop, "renew it in the connection lake"),
        (404, "NoSuchBucket", Stop, "tallyback lake create"),
        (400, "InvalidRequest", Stop, "check the connection lake"),
        (503, "SlowDown", Retry, "failed for now"),
        (500, "InternalError", Retry, "failed for now"),
        (409, "ConditionalRequestConflict", Retry, "failed for now"),
    ],
)
def test_what_the_store_refuses_is_tried_again_or_says_what_to_do(
    lake: S3Lake,
    local: Path,
    caplog: pytest.LogCaptureFixture,
    status: int,
    code: str,
    kind: type[Exception],
    step: str,
) -> None:
    caplog.set_level(logging.DEBUG)

    def script(request: Request, out: BinaryIO) -> None:
        # What is only looked for is not there: so each use comes to what it is about.
        if request.method == "HEAD" and status == 404:
            answer(b"", 404)(request, out)
        else:
            answer(ERROR.format(code, SECRET).encode(), status, Content_Type="application/xml")(request, out)

    with serving(script) as server:
        other = of(lake, server.url)
        for use in uses(other, local):
            try:
                use()
            except kind as error:
                assert SECRET not in "".join(traceback.format_exception(error))
                # To a HEAD no store says why.
                assert any(word in str(error) for word in (code, str(status)))
            else:
                # Only what was looked for may simply not be there.
                assert status == 404
        with pytest.raises(kind, match=step):
            other.local(PATH)
    assert SECRET not in caplog.text
    assert not [path for path in lake.cache.root.rglob("*") if path.name.endswith("-part")]


def reset(_request: Request, out: BinaryIO) -> None:
    """Close the connection so that the other side sees a reset."""
    below: socket.socket = vars(out)["_sock"]
    below.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    below.close()


def test_a_connection_that_breaks_or_is_not_made_is_tried_again(lake: S3Lake, local: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        for use in uses(of(lake, f"http://127.0.0.1:{probe.getsockname()[1]}"), local):
            with pytest.raises(Retry, match="EndpointConnectionError"):
                use()
    with serving(reset) as server:
        for use in uses(of(lake, server.url), local):
            with pytest.raises(Retry, match="failed"):
                use()


def test_a_store_that_does_not_answer_is_tried_again(lake: S3Lake) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        access = replace(lake.access, endpoint_url=address, read_seconds=0.2)
        with pytest.raises(Retry, match="ReadTimeoutError"):
            S3Lake(access, "", lake.cache).exists(PATH)


def test_a_throttled_store_is_asked_again_before_anybody_is_told(lake: S3Lake) -> None:
    slow = answer(ERROR.format("SlowDown", "later").encode(), 503, Content_Type="application/xml")
    with serving(slow, answer(b"", 200)) as server:
        access = replace(lake.access, endpoint_url=server.url, attempts=3)
        assert S3Lake(access, "", lake.cache).exists(PATH)
        assert len(server.requests) == 2


def test_a_body_that_breaks_off_is_gone_on_with(lake: S3Lake) -> None:
    content = bytes(range(250)) * 20_000
    digest = hashlib.sha256(content).hexdigest()

    def script(request: Request, out: BinaryIO) -> None:
        offset = int(request.headers.get("range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        left = content[offset:]
        told = {"ETag": '"e"', "Content_Length": str(len(left))}
        if offset:
            told["Content_Range"] = f"bytes {offset}-{len(content) - 1}/{len(content)}"
        answer(left[:2_000_000], 206 if offset else 200, **told)(request, out)

    with serving(script) as server:
        path = of(lake, server.url).local(f"raw/{digest[:2]}/{digest}.csv")
        assert path.read_bytes() == content
        assert len(server.requests) == 3
        assert server.requests[1].headers["if-match"] == '"e"'
    # One that never goes on is not asked for ever.
    with serving(answer(b"", ETag='"e"', Content_Length="100")) as server, pytest.raises(Retry, match="failed"):
        of(lake, server.url).local(PATH)


def test_an_upload_that_fails_is_given_up_and_leaves_nothing(lake: S3Lake, tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(bytes(2 * PART_BYTES + 1))
    numbers = iter(range(3))

    def fail(**_: object) -> None:
        if next(numbers) == 1:
            raise botocore.exceptions.ConnectionClosedError(endpoint_url="http://store")

    lake.bucket_client().meta.events.register("before-send.s3.UploadPart", fail)
    with pytest.raises(Retry, match=r"writing part 2 of raw/.*ConnectionClosedError"):
        lake.put_file(large, "raw", "")
    assert keys_of(lake) == uploads_of(lake) == []
    lake.bucket_client().meta.events.unregister("before-send.s3.UploadPart", fail)
    assert lake.local(lake.put_file(large, "raw", "").path).stat().st_size == large.stat().st_size


@pytest.mark.parametrize(("size", "call"), [(1000, "PutObject"), (PART_BYTES + 1, "CompleteMultipartUpload")])
def test_an_answer_that_is_lost_does_no_harm(lake: S3Lake, tmp_path: Path, size: int, call: str) -> None:
    local = tmp_path / "local"
    local.write_bytes(bytes(size))
    twice = S3Lake(replace(lake.access, attempts=2), lake.prefix, lake.cache, PART_BYTES)
    sent = []

    def lose(request: botocore.awsrequest.AWSPreparedRequest, **_: object) -> None:
        """Let the request through, once, and break the connection before its answer is heard."""
        if not sent:
            headers = {
                name: value.decode() if isinstance(value, bytes) else value for name, value in request.headers.items()
            }
            body = request.body if isinstance(request.body, bytes) else request.body.read()
            sent.append(httpx.request(request.method, request.url, headers=headers, content=body).status_code)
            raise botocore.exceptions.ConnectionClosedError(endpoint_url=request.url)

    twice.bucket_client().meta.events.register(f"before-send.s3.{call}", lose)
    stored = twice.put_file(local, "raw", "")
    assert sent == [200]
    assert lake.local(stored.path).stat().st_size == size
    assert uploads_of(lake) == []


def test_a_file_too_large_for_a_store_is_refused_before_anything_is_sent(lake: S3Lake, tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(bytes(10_001))
    tiny = S3Lake(lake.access, "", lake.cache, part_bytes=1)
    with pytest.raises(Stop, match="takes 10,000"):
        tiny.put_file(large, "raw", "")
    assert uploads_of(lake) == []


MEMORY = """
import pathlib, resource, sys
from tests.lake.store import lake_in

lake = lake_in(sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3]) / "cache")
small, large = pathlib.Path(sys.argv[3], "small"), pathlib.Path(sys.argv[3], "large")
lake.local(lake.put_file(small, "raw", "").path)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
lake.local(lake.put_file(large, "raw", "").path)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


def test_a_bucket_that_locks_its_objects_takes_a_lake(endpoint: str, lake: S3Lake, tmp_path: Path) -> None:
    client, bucket = lake.bucket_client(), f"{lake.access.bucket}-locked"
    client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    client.put_object_lock_configuration(
        Bucket=bucket,
        ObjectLockConfiguration={
            "ObjectLockEnabled": "Enabled",
            "Rule": {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 1}},
        },
    )
    locked = lake_in(endpoint, bucket, tmp_path / "cache")
    for size in (1000, PART_BYTES + 1):
        (tmp_path / "local").write_bytes(bytes(size))
        stored = locked.put_file(tmp_path / "local", "raw", "")
        assert locked.local(stored.path).stat().st_size == size
    assert [each.next_step for each in probe(locked)] == ["", "", ""]


def test_memory_does_not_grow_with_the_file(lake: S3Lake, tmp_path: Path) -> None:
    for name, size in (("small", 2 * PART_BYTES), ("large", 16 * PART_BYTES)):
        (tmp_path / name).write_bytes(bytes(size))
    command = [sys.executable, "-c", MEMORY, str(lake.access.endpoint_url), lake.access.bucket, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 3 * PART_BYTES


def test_nothing_secret_is_shown(lake: S3Lake) -> None:
    opened = open_s3_lake("s3://b-ucket/books", {**values_of("http://x"), "session_token": SECRET[::-1]}, "", Path(), 0)
    for shown in (repr(lake), repr(lake.access), repr(opened), repr(opened.access)):
        assert SECRET not in shown
        assert SECRET[::-1] not in shown
        assert KEY_ID not in shown


@pytest.mark.parametrize(
    "wrong", ["s3://", "s3:///books", f"s3://{KEY_ID}:{SECRET}@bucket", "s3://Bucket", "s3://b/../x"]
)
def test_a_setting_that_is_no_bucket_is_refused_and_not_shown(wrong: str) -> None:
    with pytest.raises(Stop, match="leave the credentials to the connection") as caught:
        open_s3_lake(wrong, {}, "", Path(), 0)
    assert SECRET not in str(caught.value)


def test_the_connection_may_be_one_of_ours_or_one_of_airflow_s_own() -> None:
    ours = {
        "access_key_id": "k",
        "secret_access_key": "s",
        "session_token": "t",
        "region": "r",
        "endpoint_url": "http://e",
    }
    airflow = {
        "username": "k",
        "password": "s",
        "aws_session_token": "t",
        "region_name": "r",
        "endpoint_url": "http://e",
    }
    assert open_s3_lake("s3://b-ucket", ours, "", Path(), 0).access == (
        open_s3_lake("s3://b-ucket", airflow, "", Path(), 0).access
    )


def test_without_a_connection_the_environment_says_where_and_who(
    endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = new_bucket(endpoint)
    for name, value in {
        "AWS_ENDPOINT_URL_S3": endpoint,
        "AWS_ACCESS_KEY_ID": KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "eu-central-1",
    }.items():
        monkeypatch.setenv(name, value)
    lake = open_s3_lake(f"s3://{bucket}/a/b/", {}, "", tmp_path, 0)
    put(lake, "x/y", b"z")
    assert keys_of(lake) == ["a/b/x/y"]
    assert lake.local("x/y").read_bytes() == b"z"


def test_only_a_path_made_of_a_sha256_promises_one() -> None:
    assert promised_sha256(PATH) == HASH
    assert promised_sha256(f"00/{HASH}") == HASH
    for path in (f"tracked/click/web/2026-09-01/{HASH}.parquet", f"raw/01/{HASH}.csv", "raw/00/00.csv"):
        assert promised_sha256(path) is None
