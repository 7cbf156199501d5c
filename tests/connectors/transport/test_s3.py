"""Promises of the S3 files, against moto's server over real HTTP, and against servers that break."""

import hashlib
import logging
import socket
import traceback
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer
from pydantic import SecretStr

from connectors.transport.s3 import S3Bucket, S3Settings
from etl.core.errors import Retry, Stop
from tests.connectors.transport.web_server import answer, serving

SECRET = "wJalrXUtnFEMI-K7MDENG-bPxRfiCYEXAMPLEKEY"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """Yield the address of a running S3 server."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@pytest.fixture
def settings(endpoint: str, request: pytest.FixtureRequest) -> S3Settings:
    """Return settings for a bucket of the test's own."""
    bucket = f"b-{hashlib.sha256(request.node.name.encode()).hexdigest()[:20]}"
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="AKIAEXAMPLE",
        aws_secret_access_key=SECRET,
    )
    client.create_bucket(Bucket=bucket)
    client.close()
    return S3Settings(
        connection="files_test",
        bucket=bucket,
        access_key_id="AKIAEXAMPLE",
        secret_access_key=SecretStr(SECRET),
        endpoint_url=endpoint,
        attempts=1,
        connect_seconds=2.0,
        read_seconds=2.0,
    )


def test_what_is_written_can_be_listed_and_read_whole(settings: S3Settings, tmp_path: Path) -> None:
    content = bytes(range(256)) * 20_000
    with S3Bucket(settings) as bucket:
        assert bucket.write_once("in/a.csv", content)
        assert bucket.write_once("in/ü b.csv", b"")
        assert bucket.write_once("out/c.csv", b"c")
        listed = bucket.list("in/")
        got = bucket.read("in/a.csv", tmp_path / "x" / "a")
        assert bucket.read("in/ü b.csv", tmp_path / "empty").size == 0
        assert bucket.read_bytes("out/c.csv", 1) == b"c"
    assert [(each.key, each.size) for each in listed] == [("in/a.csv", len(content)), ("in/ü b.csv", 0)]
    assert all(each.modified_at.tzinfo is UTC for each in listed)
    assert (tmp_path / "x" / "a").read_bytes() == content
    assert (got.size, got.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert [each.name for each in (tmp_path / "x").iterdir()] == ["a"]


PAGE = """<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name>
<IsTruncated>{0}</IsTruncated><NextContinuationToken>{1}</NextContinuationToken><Contents><Key>{1}</Key>
<LastModified>2026-03-01T09:14:00.000Z</LastModified><ETag>"e"</ETag><Size>7</Size></Contents></ListBucketResult>"""


def test_a_listing_goes_over_all_pages_and_has_a_limit(settings: S3Settings) -> None:
    pages = [
        answer(PAGE.format(is_truncated, key).encode(), Content_Type="application/xml")
        for is_truncated, key in (("true", "k/b"), ("true", "k/a"), ("false", "k/c"))
    ]
    with serving(*pages) as server, S3Bucket(replace(settings, endpoint_url=server.url)) as bucket:
        assert [each.key for each in bucket.list("k/")] == ["k/a", "k/b", "k/c"]
        assert ["continuation-token=" in each.target for each in server.requests] == [False, True, True]
    with (
        serving(*pages) as server,
        S3Bucket(replace(settings, endpoint_url=server.url, keys_max=1)) as bucket,
        pytest.raises(Stop, match="more than 1 keys"),
    ):
        bucket.list("k/")


def test_an_object_is_written_once(settings: S3Settings) -> None:
    with S3Bucket(settings) as bucket:
        assert bucket.write_once("a", b"one")
        assert not bucket.write_once("a", b"one")
        for other in (b"two", b"longer", b""):
            with pytest.raises(Stop, match="never overwritten"):
                bucket.write_once("a", other)
        assert bucket.read_bytes("a", 10) == b"one"


def test_what_is_missing_or_too_large_stops_and_leaves_nothing(settings: S3Settings, tmp_path: Path) -> None:
    with S3Bucket(settings) as bucket:
        bucket.write_once("a", b"x" * 1001)
        for read in (lambda: bucket.read("a", tmp_path / "x", 1000), lambda: bucket.read_bytes("a", 1000)):
            with pytest.raises(Stop, match="limit of 1,000 bytes"):
                read()
        with pytest.raises(Stop, match="not there"):
            bucket.read("no", tmp_path / "x")
    with S3Bucket(replace(settings, bucket="no-such-bucket")) as bucket, pytest.raises(Stop, match="not there"):
        bucket.list("")
    assert not list(tmp_path.iterdir())


def test_a_key_is_never_used_as_a_name_here(settings: S3Settings, tmp_path: Path) -> None:
    with S3Bucket(settings) as bucket:
        bucket.write_once("in/..%2f..%2fetc%2fpasswd\x1b[31m", b"x")
        (found,) = bucket.list("in/")
        bucket.read(found.key, tmp_path / "landed")
        with pytest.raises(Stop) as caught:
            bucket.read_bytes(found.key, 0)
    assert [each.name for each in tmp_path.iterdir()] == ["landed"]
    assert str(caught.value).isprintable()


ERROR = '<?xml version="1.0"?><Error><Code>{}</Code><Message>it says {}</Message></Error>'


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (403, "ExpiredToken", Stop),
        (403, "InvalidAccessKeyId", Stop),
        (403, "SignatureDoesNotMatch", Stop),
        (400, "ExpiredToken", Stop),
        (400, "InvalidArgument", Stop),
        (503, "SlowDown", Retry),
        (500, "InternalError", Retry),
        (502, "SomethingNew", Retry),
        (409, "ConditionalRequestConflict", Retry),
    ],
)
def test_what_the_store_refuses_has_a_type(
    settings: S3Settings, status: int, code: str, kind: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    script = answer(ERROR.format(code, SECRET).encode(), status, Content_Type="application/xml")
    with serving(script) as server, S3Bucket(replace(settings, endpoint_url=server.url)) as bucket:
        for call in (lambda: bucket.list("a"), lambda: bucket.write_once("a", b"x"), lambda: bucket.read_bytes("a", 9)):
            with pytest.raises(kind, match=f"files_test: .*{code}") as caught:
                call()
            assert SECRET not in "".join(traceback.format_exception(caught.value))
        assert server.requests
    assert SECRET not in caplog.text + repr(bucket) + repr(settings)


def test_a_body_that_breaks_off_is_never_a_file(settings: S3Settings, tmp_path: Path) -> None:
    script = answer(b"x" * 1000, Content_Length="5000", Last_Modified="Sun, 01 Mar 2026 09:14:00 GMT")
    with serving(script) as server, S3Bucket(replace(settings, endpoint_url=server.url)) as bucket:
        for read in (lambda: bucket.read("a", tmp_path / "x"), lambda: bucket.read_bytes("a", 9000)):
            with pytest.raises(Retry, match="failed"):
                read()
    assert not list(tmp_path.iterdir())


def test_a_store_that_is_not_there_is_tried_later(settings: S3Settings) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        gone = replace(settings, endpoint_url=f"http://127.0.0.1:{probe.getsockname()[1]}")
        with S3Bucket(gone) as bucket, pytest.raises(Retry, match="EndpointConnectionError"):
            bucket.list("")
