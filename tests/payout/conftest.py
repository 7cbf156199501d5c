"""The office of the tests of payouts."""

from pathlib import Path

import pytest

from tests.payout.office import Office


@pytest.fixture
def office(warehouse_url: str, tmp_path: Path) -> Office:
    """Books that owe nothing yet."""
    return Office(warehouse_url, tmp_path)


@pytest.fixture
def owing(office: Office) -> Office:
    """An office that owes two members."""
    for member, amount in (("m1", 1250), ("m2", 300)):
        office.payee(member)
        office.owe(member, f"s-{member}", amount)
    return office
