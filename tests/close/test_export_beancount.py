"""The books in beancount, the real program: it loads them without an error and comes to the same balances."""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest
from beancount import loader
from beancount.core import data

from etl.core.errors import Stop
from etl.export_beancount import account_name, export_beancount
from tests.accrue.books import rule, sale, version, world
from tests.close.months import APRIL, MARCH, accrued, close_month, desk
from tests.ledger.test_post import _flow, _post

LATE = date(2026, 4, 8)
NASTY = 'a "quoted" \\ back;slash\nline  _-é'


def _lived(url: str, folder: Path) -> Path:
    """Euro and dollars, three sales, one reversed after March was closed, an adjustment for a member with a name."""
    rates = {("USD", on): Decimal("1.25") for on in (MARCH, date(2026, 3, 2), date(2026, 3, 31), APRIL)}
    facts = world(
        [
            version("3.1005"),
            version("3.1005", "approved", version_no=2, effective_on=date(2026, 3, 9)),
            version("10", "approved", sale_id="shop_a:2", transaction_id="2", currency="USD"),
            version("7.77", sale_id="shop_b:3", transaction_id="3"),
        ],
        sales=(sale(), sale("shop_a:2", member_id=NASTY), sale("shop_b:3", member_id="member_1")),
        rules=(rule("0.333"),),
        rates=rates,
    )
    accrued(url, folder, facts, date(2026, 3, 20))
    close_month(url, folder, MARCH, date(2026, 4, 5))
    declined = version("3.1005", "declined", version_no=3, effective_on=date(2026, 3, 30))
    accrued(url, folder, replace(facts, versions=(*facts.versions, declined)), LATE)
    _post(
        url, _flow(NASTY, 250, "2026-04-09", credit_kind="cashback_payable", credit_owner=NASTY, asset="EUR/2"),
        kind="adjustment",
    )  # fmt: skip
    path = folder / "books.beancount"
    export_beancount(desk(url, folder, LATE), path)
    return path


def _check(path: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("bean-check")
    return subprocess.run([program, "--no-cache", path], capture_output=True, text=True, check=False, timeout=120)


def test_the_real_program_finds_no_error_and_the_same_balances(warehouse_url: str, tmp_path: Path) -> None:
    path = _lived(warehouse_url, tmp_path)
    checked = _check(path)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
    entries, errors, _ = loader.load_file(str(path))
    assert errors == []
    theirs: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for entry in entries:
        if isinstance(entry, data.Transaction):
            for posting in entry.postings:
                theirs[posting.account, posting.units.currency] += posting.units.number
    ours: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    with psycopg.connect(warehouse_url) as connection:
        rows = connection.execute("SELECT kind, owner, currency, balance FROM mart.balance").fetchall()
        entry_count = connection.execute("SELECT count(*) FROM ledger.journal_entry").fetchone()
    for kind, owner, currency, balance in rows:
        ours[account_name(kind, owner), currency] += balance
    assert theirs == ours
    assert len(ours) > 10
    assert entry_count == (sum(isinstance(entry, data.Transaction) for entry in entries),)
    # The end of the books, and the end of the month that is closed.
    days = {entry.date for entry in entries if isinstance(entry, data.Balance)}
    assert days == {date(2026, 4, 10), APRIL}


@pytest.mark.parametrize("changed", ["3.1005 EUR", "-1.0300 EUR"])
def test_a_changed_digit_is_found_by_the_real_program(warehouse_url: str, tmp_path: Path, changed: str) -> None:
    path = _lived(warehouse_url, tmp_path)
    text = path.read_text()
    assert f"  {changed}\n" in text
    digit = changed.replace("5 E", "6 E").replace("0 E", "1 E")
    path.write_text(text.replace(f"  {changed}\n", f"  {digit}\n", 1))
    assert _check(path).returncode != 0


def test_the_same_books_are_the_same_bytes(warehouse_url: str, tmp_path: Path) -> None:
    path = _lived(warehouse_url, tmp_path)
    before = path.read_bytes()
    export_beancount(desk(warehouse_url, tmp_path, date(2026, 4, 20)), path)
    assert path.read_bytes() == before


def test_no_two_accounts_share_a_name() -> None:
    owners = ["", "a", "A", "a-b", "a_b", "a-2d-b", "a--b", "O-a", NASTY, "é", "-e9-"]
    names = {account_name("cashback_payable", owner) for owner in owners}
    assert len(names) == len(owners)
    assert account_name("cashback_payable", "m_1") == "Liabilities:CashbackPayable:O-m-5f-1"


def test_no_books_no_file(warehouse_url: str, tmp_path: Path) -> None:
    with pytest.raises(Stop, match="nothing is booked"):
        export_beancount(desk(warehouse_url, tmp_path, LATE), tmp_path / "books.beancount")
