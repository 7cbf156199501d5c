"""The office of the tests of payouts."""

from pathlib import Path

import pytest

from tests.payout.office import Office


@pytest.fixture
def office(warehouse_url: str, tmp_path: Path) -> Office:
    """Books that owe nothing yet."""
    return Office(warehouse_url, tmp_path)
