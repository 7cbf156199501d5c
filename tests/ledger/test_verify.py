"""Verify proves sound books and names what was done to unsound ones."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from etl.accrue import accrue
from etl.core.accounts import read_accounts
from etl.core.context import Context
from etl.core.hash_chain import chain_of_books
from etl.core.journal_text import account_labels
from etl.core.ledger import ENTRY, POSTING
from etl.core.stored_books import StoredBooks, stored_books
from etl.core.warehouse import fetch
from etl.verify import Check, EntryHash, last_entries, verify
from tests.accrue.books import book, context, version, world, write

DAY = date(2026, 3, 20)
FACTS = world(
    [version("3.1005"), version("3.1005", "approved", version_no=2, effective_on=date(2026, 3, 9))],
)


def _broken(url: str, folder: Path) -> list[Check]:
    return [check for check in verify(context(url, folder), DAY) if not check.is_ok]


def _tamper(url: str, statement: str) -> None:
    """Change the books as a person with the owner's rights could."""
    with psycopg.connect(url) as connection:
        for table in ("ledger.posting", "ledger.journal_entry", "ledger.account"):
            connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER refuse_change")
        assert connection.execute(statement).rowcount > 0


def test_an_empty_warehouse_proves(warehouse_url: str, tmp_path: Path) -> None:
    checks = verify(context(warehouse_url, tmp_path), DAY)
    assert len(checks) >= 8
    assert all(check.is_ok for check in checks)


def test_sound_books_prove_and_the_proof_is_json(warehouse_url: str, tmp_path: Path) -> None:
    book(warehouse_url, tmp_path, FACTS)
    checks = verify(context(warehouse_url, tmp_path), DAY)
    assert [check for check in checks if not check.is_ok] == []
    border = next(check for check in checks if "border of EUR" in check.name)
    assert (border.expected, border.actual, border.difference) == (15500, 15500, 0)
    assert json.loads(json.dumps([asdict(check) for check in checks]))


def test_a_fact_that_is_not_accrued_yet_is_a_difference(warehouse_url: str, tmp_path: Path) -> None:
    book(warehouse_url, tmp_path, FACTS)
    more = replace(FACTS, versions=(*FACTS.versions, version("1", line_id="b")))
    write(warehouse_url, more)
    (broken,) = _broken(warehouse_url, tmp_path)
    assert "posted = target" in broken.name
    assert "shop_a:1" in str(broken.actual)
    accrue(context(warehouse_url, tmp_path, "run-2"), DAY)
    assert _broken(warehouse_url, tmp_path) == []


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("UPDATE ledger.posting SET amount = amount + 1 WHERE leg = 1 AND entry_no = 2", "entry 2026/2"),
        ("UPDATE ledger.posting SET effective_for = effective_for - 1 WHERE entry_no = 1", "entry 2026/1"),
        ("UPDATE ledger.journal_entry SET created_by = 'someone' WHERE number = 1", "entry 2026/1"),
        ("UPDATE ledger.journal_entry SET posted_at = posted_at + interval '1 microsecond'", "entry 2026/1"),
        ("UPDATE ledger.posting SET debit = credit, credit = debit WHERE entry_no = 2 AND leg = 1", "entry 2026/2"),
        ("UPDATE ledger.posting SET booked_on = booked_on + 1 WHERE entry_no = 1 AND leg = 1", "entry 2026/1"),
        ("UPDATE ledger.account SET owner = 'thief' WHERE kind = 'cashback_payable'", "entry 2026/2"),
        ("DELETE FROM ledger.posting WHERE entry_no = 2 AND leg = 3", "entry 2026/2"),
        ("DELETE FROM ledger.journal_entry WHERE number = 1", "entry 2026/2"),
    ],
)
def test_tampering_is_found_and_the_first_broken_entry_named(
    warehouse_url: str, tmp_path: Path, statement: str, named: str
) -> None:
    book(warehouse_url, tmp_path, FACTS)
    _tamper(warehouse_url, statement)
    chain = next(check for check in _broken(warehouse_url, tmp_path) if "hash chain" in check.name)
    assert named in str(chain.actual)


def test_a_last_entry_that_is_gone_and_a_chain_made_again_are_found_by_a_hash_that_was_kept(
    warehouse_url: str, tmp_path: Path
) -> None:
    book(warehouse_url, tmp_path, FACTS)
    here = context(warehouse_url, tmp_path)
    with here.warehouse.transaction() as connection:
        (kept,) = last_entries(connection, "house")
    assert all(check.is_ok for check in verify(here, DAY, [EntryHash.parse(str(kept))]))
    first = EntryHash(2026, 1, "0" * 64)
    (broken,) = [check for check in verify(here, DAY, [kept, first]) if not check.is_ok]
    assert (broken.name, broken.expected) == ("entry 2026/1 is the one it was", str(first))
    _tamper(warehouse_url, "UPDATE ledger.posting SET component = 'bonus' WHERE component = 'cashback'")
    _chain_again(warehouse_url, here)
    broken_by = {check.name: check for check in verify(here, DAY, [kept]) if not check.is_ok}
    assert "the hash chain of journal entries is unbroken" not in broken_by
    assert broken_by["entry 2026/2 is the one it was"].expected == str(kept)
    _tamper(warehouse_url, "DELETE FROM ledger.posting WHERE entry_no = 2")
    _tamper(warehouse_url, "DELETE FROM ledger.journal_entry WHERE number = 2")
    gone = next(check for check in verify(here, DAY, [kept]) if check.name == "entry 2026/2 is the one it was")
    assert gone.actual == "no entry 2026/2"


def _chain_again(url: str, here: Context) -> None:
    """Make the hashes of all entries again, as somebody would who knows how."""
    with psycopg.connect(url) as connection:
        entries, postings = (
            fetch(connection, f"SELECT {', '.join(schema.names)} FROM {table}", schema)
            for table, schema in (("ledger.journal_entry", ENTRY), ("ledger.posting", POSTING))
        )
        accounts = read_accounts(connection, "house")
        labelled = accounts.append_column("label", account_labels(accounts))
        for links in chain_of_books(here.engine, entries, postings, labelled, {}):
            for link in links.to_pylist():
                connection.execute(
                    "UPDATE ledger.journal_entry SET previous_hash = %(previous_hash)s, hash = %(hash)s"
                    " WHERE year = %(year)s AND number = %(number)s",
                    link,
                )


def test_an_entry_that_was_slipped_in_is_found_and_named(warehouse_url: str, tmp_path: Path) -> None:
    book(warehouse_url, tmp_path, FACTS)
    _tamper(
        warehouse_url,
        "INSERT INTO ledger.journal_entry (SELECT entity, year, number + 1, document_kind, document_id, 3, booked_on,"
        " posted_at, run_id, created_by, hash, repeat('a', 64) FROM ledger.journal_entry WHERE number = 2)",
    )
    _tamper(
        warehouse_url,
        "INSERT INTO ledger.posting (document_kind, document_id, entry_no, year, number, leg, entity, debit, credit,"
        " amount, effective_for, booked_on, component, base_amount, rate) (SELECT document_kind, document_id, 3, year,"
        " number + 1, leg, entity, debit, credit, amount, effective_for, booked_on, component, base_amount, rate"
        " FROM ledger.posting WHERE entry_no = 2)",
    )
    chain = next(check for check in _broken(warehouse_url, tmp_path) if "hash chain" in check.name)
    assert "entry 2026/3 (sale shop_a:1)" in str(chain.actual)
    _tamper(warehouse_url, "DELETE FROM ledger.posting WHERE entry_no = 3")
    _tamper(warehouse_url, "UPDATE ledger.journal_entry SET number = number + 1 WHERE number = 3")
    named = " ".join(check.name for check in _broken(warehouse_url, tmp_path))
    assert "numbered without gaps" in named


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger.posting SET document_id = 'shop_a:2' WHERE entry_no = 2 AND leg = 1",
        "UPDATE ledger.posting SET entry_no = 3 WHERE entry_no = 2 AND leg = 1",
        "UPDATE ledger.posting SET number = 7 WHERE entry_no = 2 AND leg = 3",
    ],
)
def test_a_posting_that_says_another_document_or_number_than_its_entry_is_found(
    warehouse_url: str, tmp_path: Path, statement: str
) -> None:
    book(warehouse_url, tmp_path, FACTS)
    _tamper(warehouse_url, statement)
    assert "numbered without gaps" in " ".join(check.name for check in _broken(warehouse_url, tmp_path))


def test_a_gap_in_the_numbers_is_found(warehouse_url: str, tmp_path: Path) -> None:
    book(warehouse_url, tmp_path, FACTS)
    _tamper(warehouse_url, "UPDATE ledger.journal_entry SET number = 7 WHERE number = 2")
    assert "numbered without gaps" in " ".join(check.name for check in _broken(warehouse_url, tmp_path))


def test_a_posting_between_assets_and_a_torn_border_are_found(warehouse_url: str, tmp_path: Path) -> None:
    book(warehouse_url, tmp_path, FACTS)
    _tamper(
        warehouse_url,
        "UPDATE ledger.posting SET credit = (SELECT account_id FROM ledger.account WHERE kind = 'border'"
        " AND asset = 'EUR/2') WHERE credit = (SELECT account_id FROM ledger.account WHERE kind = 'border'"
        " AND asset = 'EUR/4') AND effective_for = '2026-03-01'",
    )
    names = " ".join(check.name for check in _broken(warehouse_url, tmp_path))
    assert "two accounts of one asset" in names
    assert "border of EUR" in names


def test_a_payout_that_the_ledger_does_not_know_is_found(warehouse_url: str, tmp_path: Path) -> None:
    book(warehouse_url, tmp_path, FACTS)
    _tamper(
        warehouse_url,
        "INSERT INTO payout.batch VALUES ('b', 'house', 'sepa', 'bank', 'EUR', '2026-03-20', '2026-03-21',"
        " '2026-03-20', 1, 155, 'reserved')",
    )
    _tamper(warehouse_url, "INSERT INTO payout.payout VALUES ('p', 'b', 'member-1', 'EUR', 155, 1, 'e2e', 'reserved')")
    names = [check.name for check in _broken(warehouse_url, tmp_path)]
    assert names == [
        "every payout is the sum of its lines",
        "payouts tie to the ledger: cashback_payable in EUR/2",
        "payouts tie to the ledger: payout_reserved in EUR/2",
    ]


def test_rows_that_are_neither_transaction_nor_reject_are_found(warehouse_url: str, tmp_path: Path) -> None:
    place = context(warehouse_url, tmp_path)
    place.lake.put_table(pa.table({"row_number": [1, 2]}), "parsed/x.parquet")
    with psycopg.connect(warehouse_url) as connection:
        connection.execute(
            "INSERT INTO ops.delivery VALUES ('d', 'awin', 'shop_a', '2026-03-01', '2026-03-02', '2026-03-02',"
            " 'x', 1, true, false, 'r')"
        )
        connection.execute("INSERT INTO ops.parse VALUES ('d', 1, 4, 2, 2, 0, 'parsed/x.parquet', 'r')")
        connection.execute(
            "INSERT INTO ops.reject VALUES ('d', 1, 3, 'parse', 't', '', 'form', 'amount', 'x', 'no amount', '{}')"
        )
    (broken,) = _broken(warehouse_url, tmp_path)
    assert (broken.name, broken.expected, broken.actual) == ("rows in = transactions + rejects", 4, 3)


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_the_books_are_proved_a_few_entries_at_a_time(warehouse_url: str, tmp_path: Path, at_once: int) -> None:
    book(warehouse_url, tmp_path, FACTS)

    def read() -> tuple[StoredBooks, int, int]:
        here = context(warehouse_url, tmp_path)
        with here.warehouse.transaction() as connection:
            books = stored_books(connection, here.engine, "house", tmp_path, at_once)
        return books, pq.read_metadata(books.entry).num_rows, pq.read_metadata(books.posting).num_rows

    whole, entry_count, posting_count = read()
    assert whole.broken is None and whole.entry_count == entry_count
    with psycopg.connect(warehouse_url) as connection:
        count = "SELECT (SELECT count(*) FROM ledger.journal_entry), (SELECT count(*) FROM ledger.posting)"
        assert connection.execute(count).fetchone() == (entry_count, posting_count)
    # A posting that lost its entry is still among those that are read, so that numbering tells of it.
    _tamper(warehouse_url, "DELETE FROM ledger.journal_entry WHERE number = 1")
    rest, entry_count, again_count = read()
    assert (entry_count, again_count) == (whole.entry_count - 1, posting_count)
    assert rest.broken is not None and (rest.broken[0], rest.broken[1]["number"]) == (0, 2)
