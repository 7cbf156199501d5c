"""Promises of the warehouses that tests share: whatever a test did to one, the next finds it as new."""

from collections.abc import Iterator

import psycopg
import pytest

from tests.warehouses import Warehouses

DECISION = "INSERT INTO ops.decision VALUES ('d', 'no_cashback', 's', NULL, NULL, 'Ben', now(), 'so', 'e')"
ACCOUNT = (
    "INSERT INTO ledger.account (entity, kind, owner, asset) VALUES ('shop', 'cashback_payable', 'm1', 'EUR/2')"
    " RETURNING account_id"
)


@pytest.fixture
def taken(warehouses: Warehouses) -> Iterator[str]:
    url = warehouses.take()
    yield url
    warehouses.give_back(url)


def test_rows_and_numbers_do_not_outlive_a_test_even_where_nobody_may_delete(warehouses: Warehouses) -> None:
    first = warehouses.take()
    with psycopg.connect(first) as connection:
        (number,) = connection.execute(ACCOUNT).fetchone() or ()
        connection.execute(DECISION)
    with pytest.raises(psycopg.Error, match="never changed"), psycopg.connect(first) as connection:
        connection.execute("DELETE FROM ops.decision")
    warehouses.give_back(first)
    second = warehouses.take()
    assert second == first
    with psycopg.connect(second) as connection:
        for table in ("ops.decision", "ledger.account"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM tallyback_version").fetchone() == (1,)
        assert connection.execute(ACCOUNT).fetchone() == (number,)
    with pytest.raises(psycopg.Error, match="never changed"), psycopg.connect(second) as connection:
        connection.execute(DECISION)
        connection.execute("DELETE FROM ops.decision")
    warehouses.give_back(second)


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE ops.decision DISABLE TRIGGER USER",
        "DROP VIEW mart.opening",
        "CREATE TABLE ops.more (x integer)",
        "REVOKE SELECT ON ops.sale FROM tallyback_pipeline",
        "CREATE OR REPLACE FUNCTION ledger.refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "UPDATE tallyback_version SET version_num = '0001'",
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET work_mem = 64', current_database()); END $$",
    ],
)
def test_a_warehouse_whose_form_a_test_changed_is_never_given_out_again(warehouses: Warehouses, change: str) -> None:
    first = warehouses.take()
    with psycopg.connect(first) as connection:
        connection.execute(change)
    warehouses.give_back(first)
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(first)


def test_what_a_test_left_open_is_ended(warehouses: Warehouses) -> None:
    first = warehouses.take()
    with psycopg.connect(first) as left:
        left.execute("LOCK TABLE ops.sale")
        warehouses.give_back(first)
        with pytest.raises(psycopg.OperationalError):
            left.execute("SELECT 1")
    second = warehouses.take()
    assert second == first
    warehouses.give_back(second)


def test_two_at_once_are_two(warehouses: Warehouses, taken: str) -> None:
    other = warehouses.take()
    assert other != taken
    warehouses.give_back(other)
