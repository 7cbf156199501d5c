"""A migration carries over what a warehouse holds, or says why not and changes nothing."""

from __future__ import annotations

import psycopg
import pytest

from etl.core.warehouse import migrate

_BEFORE_NUMBERS = "0018"
_BOOKS = """
    INSERT INTO ledger.account (entity, kind, owner, asset) VALUES ('house', 'cashback_cost', '', 'EUR/2'),
        ('house', 'cashback_payable', 'm', 'EUR/2');
    INSERT INTO ledger.journal_entry VALUES
        ('house', 2026, 1, 'sale', 'z', 1, '2026-03-05', '2026-03-05', 'r', 'test', '', 'h1'),
        ('house', 2026, 2, 'sale', 'a', 1, '2026-03-06', '2026-03-06', 'r', 'test', 'h1', 'h2'),
        ('house', 2026, 3, 'sale', 'z', 2, '2026-04-01', '2026-04-01', 'r', 'test', 'h2', 'h3');
    INSERT INTO ledger.posting VALUES
        ('sale', 'a', 1, 1, 'house', 1, 2, 10, '2026-03-06', '2026-03-06', 'cashback', NULL, NULL),
        ('sale', 'z', 2, 1, 'house', 2, 1, 20, '2026-03-31', '2026-04-01', 'cashback', 0.2, 1),
        ('sale', 'z', 1, 2, 'house', 1, 2, 30, '2026-03-05', '2026-03-05', 'bonus', NULL, NULL),
        ('sale', 'z', 1, 1, 'house', 1, 2, 40, '2026-03-05', '2026-03-05', 'cashback', NULL, NULL);
"""


@pytest.fixture
def url(database_url: str) -> str:
    """A warehouse with books from before postings had numbers."""
    migrate(database_url, _BEFORE_NUMBERS)
    with psycopg.connect(database_url) as connection:
        connection.execute(_BOOKS)
    return database_url


def test_postings_are_numbered_as_their_entries_are(url: str) -> None:
    with psycopg.connect(url) as connection:
        seen = connection.execute("SELECT * FROM mart.posting ORDER BY year, number, leg").fetchall()
    migrate(url)
    with psycopg.connect(url) as connection:
        columns = "number, leg, document_id, entry_no, debit, credit, amount, effective_for::text, base_amount, rate"
        rows = connection.execute(f"SELECT {columns} FROM ledger.posting ORDER BY number, leg").fetchall()
        assert [row[:8] for row in rows] == [
            (1, 1, "z", 1, 1, 2, 40, "2026-03-05"),
            (1, 2, "z", 1, 1, 2, 30, "2026-03-05"),
            (2, 1, "a", 1, 1, 2, 10, "2026-03-06"),
            (3, 1, "z", 2, 2, 1, 20, "2026-03-31"),
        ]
        assert [row[8:] == (None, None) for row in rows] == [True, True, True, False]
        assert connection.execute("SELECT * FROM mart.posting ORDER BY year, number, leg").fetchall() == seen
        for statement in ("UPDATE ledger.posting SET amount = 1", "DELETE FROM ledger.posting"):
            with pytest.raises(psycopg.errors.RaiseException, match="never changed"), connection.transaction():
                connection.execute(statement)
        connection.execute("SET LOCAL ROLE tallyback_pipeline")
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute("INSERT INTO ledger.posting SELECT * FROM ledger.posting")


def test_a_posting_without_an_entry_stops_it_and_nothing_is_changed(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO ledger.posting SELECT document_kind, 'ghost', 1, 1, entity, debit, credit, amount,"
            " effective_for, booked_on, component, base_amount, rate FROM ledger.posting WHERE document_id = 'a'"
        )
    with pytest.raises(Exception, match="some postings have no journal entry"):
        migrate(url)
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM ledger.posting").fetchone() == (5,)
        assert connection.execute("SELECT version_num FROM tallyback_version").fetchone() == (_BEFORE_NUMBERS,)
