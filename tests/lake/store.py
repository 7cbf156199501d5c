"""A real S3 server on loopback, and lakes in buckets of it."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from etl.core.bucket import open_client
from etl.core.lake_cache import LakeCache
from etl.core.s3_lake import S3Lake, open_s3_lake

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

KEY_ID = "AKIAEXAMPLE"
SECRET = "wJalrXUtnFEMI-K7MDENG-bPxRfiCYEXAMPLEKEY"
CACHE_BYTES = 64 * 1024 * 1024
PART_BYTES = 5 * 1024 * 1024
"""The least that S3 takes for a part that is not the last."""


@contextmanager
def serving_buckets() -> Iterator[str]:
    """Yield the address of a running S3 server, which does one request at a time: a condition holds while it writes."""
    # Not above: the processes that tests start need no server, and wait for no import of it.
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log(self, *_said: object) -> None:
            """Say nothing: a failing test's output would be buried."""

    server = make_server(
        "127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=True, request_handler=Quiet
    )
    application, one_at_a_time = server.app, threading.Lock()

    def served(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        with one_at_a_time:
            return list(application(environ, start_response))

    server.app = served
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def values_of(endpoint: str) -> dict[str, str]:
    """Return what the lake's connection holds for this server."""
    return {"access_key_id": KEY_ID, "secret_access_key": SECRET, "region": "us-east-1", "endpoint_url": endpoint}


def new_bucket(endpoint: str) -> str:
    """Return the name of a new bucket."""
    bucket = f"lake-{secrets.token_hex(8)}"
    open_client(open_s3_lake(f"s3://{bucket}", values_of(endpoint), "", Path("/nowhere"), 0).access).create_bucket(
        Bucket=bucket
    )
    return bucket


def lake_in(endpoint: str, bucket: str, cache: Path, *, cache_bytes: int = CACHE_BYTES) -> S3Lake:
    """Return a lake under the prefix `books` of a bucket. Its parts are small, and nothing is tried again."""
    access = open_s3_lake(f"s3://{bucket}", values_of(endpoint), "", cache, 0).access
    access = replace(access, attempts=1, connect_seconds=2.0, read_seconds=5.0)
    return S3Lake(access, "books", LakeCache(cache, cache_bytes), part_bytes=PART_BYTES)


def keys_of(lake: S3Lake) -> list[str]:
    """Return the keys of all objects in the lake's bucket."""
    found = lake.bucket_client().list_objects_v2(Bucket=lake.access.bucket)
    return [each["Key"] for each in found.get("Contents", [])]


def uploads_of(lake: S3Lake) -> list[str]:
    """Return the keys of uploads that were begun and neither ended nor given up."""
    found = lake.bucket_client().list_multipart_uploads(Bucket=lake.access.bucket)
    return [each["Key"] for each in found.get("Uploads", [])]
