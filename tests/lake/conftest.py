"""One S3 server for the tests of this folder."""

from collections.abc import Iterator

import pytest

from tests.lake.store import serving_buckets


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    """The address of a running S3 server."""
    with serving_buckets() as address:
        yield address
