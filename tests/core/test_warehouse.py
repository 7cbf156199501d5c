"""Promises of the warehouse: exact bulk load, roles that can do what they must and no more, migration twice."""

import re
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from etl.core import stored_rows as stored_rows_module
from etl.core.engine import Files
from etl.core.errors import Retry, Stop
from etl.core.stored_rows import stored_rows
from etl.core.warehouse import Connection, Warehouse, by_index, copy_in, fetch, migrate

SCHEMA = pa.schema(
    [
        ("text", pa.string()),
        ("amount", pa.decimal128(18, 4)),
        ("instant", pa.timestamp("us")),
        ("day", pa.date32()),
        ("is_it", pa.bool_()),
        ("count", pa.int64()),
    ]
)


def test_what_is_copied_in_is_fetched_back_exactly(
    warehouse_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = pa.table(
        {
            "text": ["", None, 'a "quoted", line\nbreak', "\\N", "t"],
            "amount": [Decimal("99999999999999.9999"), None, Decimal("-0.0001"), Decimal("0.0000"), Decimal("3.1005")],
            "instant": [datetime(2026, 3, 1, 9, 14, 0, 123456), None, datetime(1999, 1, 1), None, None],
            "day": [date(2026, 3, 1), None, date(2024, 2, 29), None, None],
            "is_it": [True, False, None, True, False],
            "count": [2**62, None, -1, 0, 1],
        },
        schema=SCHEMA,
    )
    with Warehouse(warehouse_url).transaction() as connection:
        connection.execute(
            "CREATE TABLE staging.round_trip (text text, amount numeric(18, 4), instant timestamp, day date,"
            " is_it boolean, count bigint)"
        )
        assert copy_in(connection, "staging.round_trip", data) == 5
        columns = "text, amount, instant, day, is_it, count"
        again = fetch(connection, f"SELECT {columns} FROM staging.round_trip", SCHEMA)
        one = fetch(connection, f"SELECT {columns} FROM staging.round_trip WHERE count = %s", SCHEMA, (1,))
        # A byte of memory, so that it goes through a file.
        monkeypatch.setattr(stored_rows_module, "IN_MEMORY_BYTES", 1)
        with stored_rows(connection, f"SELECT {columns} FROM staging.round_trip", SCHEMA, tmp_path) as stored:
            assert isinstance(stored, Files)
            filed = pq.read_table(stored.paths)
    assert again.equals(data) and filed.equals(data)
    assert list(tmp_path.iterdir()) == []
    assert one.to_pylist()[0]["amount"] == Decimal("3.1005")


def test_few_rows_of_many_are_found_by_an_index_while_that_is_asked_for(warehouse_url: str) -> None:
    plan = "EXPLAIN SELECT 1 FROM staging.few AS f JOIN staging.many AS m USING (id)"
    with Warehouse(warehouse_url).transaction() as connection:
        connection.execute("CREATE TABLE staging.many AS SELECT i AS id, i AS other FROM generate_series(1, 2000) AS i")
        connection.execute("CREATE UNIQUE INDEX ON staging.many (id)")
        connection.execute("CREATE TABLE staging.few AS SELECT i AS id FROM generate_series(1, 1000, 2) AS i")

        def is_read_whole() -> bool:
            return "Seq Scan on many" in str(connection.execute(plan).fetchall())

        connection.execute("ANALYZE staging.many, staging.few")
        assert is_read_whole()
        with by_index(connection):
            assert not is_read_whole()
        assert is_read_whole()


def test_an_empty_result_keeps_its_types(warehouse_url: str) -> None:
    with Warehouse(warehouse_url).transaction() as connection:
        table = fetch(connection, "SELECT '' AS text WHERE false", pa.schema([("text", pa.string())]))
    assert table.num_rows == 0
    assert table.schema.field("text").type == pa.string()


def test_migrating_twice_changes_nothing(warehouse_url: str) -> None:
    migrate(warehouse_url)
    with psycopg.connect(warehouse_url) as connection:
        rows = connection.execute("SELECT version_num FROM public.tallyback_version").fetchall()
    assert len(rows) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger.posting SET amount = 2",
        "DELETE FROM ledger.journal_entry",
        "TRUNCATE ledger.posting",
        "INSERT INTO payout.approval VALUES ('b', 's', 'robin', now())",
    ],
)
def test_the_pipeline_role_can_neither_rewrite_the_ledger_nor_approve(warehouse_url: str, statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege), Warehouse(warehouse_url).transaction() as connection:
        connection.execute(statement)


@pytest.mark.parametrize("table", ["ledger.posting", "ledger.journal_entry", "ops.decision", "payout.approval"])
@pytest.mark.parametrize("statement", ["DELETE FROM {}", "TRUNCATE {} CASCADE"])
def test_even_the_owner_is_refused(warehouse_url: str, table: str, statement: str) -> None:
    with psycopg.connect(warehouse_url) as connection, pytest.raises(psycopg.errors.RaiseException):
        connection.execute(statement.format(table))


def test_a_failed_transaction_leaves_nothing(warehouse_url: str) -> None:
    warehouse = Warehouse(warehouse_url)
    insert = "INSERT INTO ref.gl_map VALUES ('main', 'bank', '1200', 'asset')"
    with pytest.raises(Stop), warehouse.transaction() as connection:
        connection.execute(insert)
        raise Stop("a person must act")
    with warehouse.transaction() as connection:
        assert connection.execute("SELECT count(*) FROM ref.gl_map").fetchone() == (0,)


def test_a_connection_beside_another_reads_what_that_one_saw_and_nothing_since(warehouse_url: str) -> None:
    warehouse = Warehouse(warehouse_url)
    with warehouse.transaction() as connection:
        connection.execute("CREATE TABLE staging.seen (number integer)")
        connection.execute("INSERT INTO staging.seen VALUES (1)")

    def numbers(connection: Connection) -> list[int]:
        query = "SELECT number FROM staging.seen ORDER BY number"
        return fetch(connection, query, pa.schema([("number", pa.int32())]))["number"].to_pylist()

    with warehouse.transaction() as first:
        first.execute("INSERT INTO staging.seen VALUES (2)")
        with warehouse.beside(first) as second:
            assert numbers(second) == [1]
            with warehouse.transaction() as other:
                other.execute("INSERT INTO staging.seen VALUES (3)")
            assert numbers(second) == [1]
            assert numbers(first) == [1, 2, 3]
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                second.execute("INSERT INTO staging.seen VALUES (4)")


def test_who_waits_beside_another_for_a_table_gives_up(warehouse_url: str) -> None:
    warehouse = Warehouse(warehouse_url)
    with (
        psycopg.connect(warehouse_url) as owner,
        warehouse.transaction() as first,
        pytest.raises(Retry, match="LockNotAvailable"),
        warehouse.beside(first) as second,
    ):
        owner.execute("LOCK TABLE ops.sale")
        second.execute("SET LOCAL lock_timeout = '10ms'")
        second.execute("SELECT FROM ops.sale")


def test_an_unmigrated_warehouse_says_what_to_run(database_url: str) -> None:
    with pytest.raises(Stop, match="tallyback db migrate"), Warehouse(database_url).transaction() as connection:
        connection.execute("SELECT count(*) FROM ledger.posting")


def test_a_server_that_is_down_is_a_retry_and_the_url_stays_secret() -> None:
    warehouse = Warehouse("postgresql://owner:hunter2@127.0.0.1:9/x?connect_timeout=1")
    assert "hunter2" not in repr(warehouse)
    with pytest.raises(Retry) as caught, warehouse.transaction():
        pass
    assert "hunter2" not in str(caught.value)


def test_migrating_a_server_that_does_not_let_us_in_is_the_retry_that_any_command_tells(database_url: str) -> None:
    stranger = re.sub("//[^@/]*@", "//nobody_known:hunter2@", database_url)
    assert "nobody_known" in stranger
    for url in ("postgresql://owner:hunter2@127.0.0.1:9/x?connect_timeout=1", stranger):
        with pytest.raises(Retry) as caught, Warehouse(url).transaction():
            pass
        with pytest.raises(Retry) as told:
            migrate(url)
        assert str(told.value) == str(caught.value)
        assert "hunter2" not in str(told.value)
