"""A warehouse that the tests of one file share: each replaces its facts, and the ledger follows."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from etl.core.embedded import EmbeddedPostgres


@pytest.fixture(scope="module")
def shared_url(postgres: EmbeddedPostgres, migrated_template: str) -> Iterator[str]:
    """The URL of a migrated warehouse of this file's own."""
    name = f"test_{secrets.token_hex(8)}"
    yield postgres.create_database(name, template=migrated_template)
    postgres.drop_database(name)
