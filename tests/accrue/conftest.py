"""A warehouse that the tests of one file share: each replaces its facts, and the ledger follows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.warehouses import Warehouses


@pytest.fixture(scope="module")
def shared_url(warehouses: Warehouses) -> Iterator[str]:
    """The URL of a migrated warehouse of this file's own."""
    url = warehouses.take()
    yield url
    warehouses.give_back(url)
