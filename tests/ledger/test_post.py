"""The ledger's writer: whole entries, numbers without gaps, closed months left alone, and nothing ever changed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import groupby
from operator import itemgetter
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.core import accounts, ledger
from etl.core.accounts import ACCOUNT, read_accounts
from etl.core.embedded import EmbeddedPostgres
from etl.core.engine import Engine
from etl.core.errors import Stop
from etl.core.hash_chain import LINK, chain_of_books
from etl.core.journal_text import account_labels
from etl.core.ledger import ENTRY, FLOW, POSTING, PostedCounts, booked_days, post
from etl.core.warehouse import Warehouse, fetch

POSTED_AT = datetime.fromisoformat("2026-03-01T12:00")


def _flow(document: str, amount: int = 100, on: str = "2026-03-01", **changes: object) -> dict[str, object]:
    return {
        "document_id": document,
        "debit_kind": "commission_receivable",
        "debit_owner": "shop_a",
        "credit_kind": "commission_income",
        "credit_owner": "shop_a",
        "asset": "EUR/4",
        "amount": amount,
        "effective_for": date.fromisoformat(on),
        "component": "commission",
        "base_amount": Decimal("0.0100"),
        "rate": Decimal(1),
        **changes,
    }


def _post(
    url: str, *flows: dict[str, object], kind: str = "sale", entity: str = "house", run_id: str = "r"
) -> PostedCounts:
    with Warehouse(url).transaction() as connection:
        table = pa.Table.from_pylist(list(flows), schema=FLOW)
        return post(connection, entity, kind, table, run_id=run_id, created_by="test", posted_at=POSTED_AT)


def _entries(url: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(
            "SELECT entity, year, number, document_id, entry_no, booked_on::text FROM ledger.journal_entry"
            " ORDER BY entity, year, number"
        ).fetchall()


def test_documents_follow_each_other_by_id_and_numbers_have_no_gaps(warehouse_url: str) -> None:
    assert _post(warehouse_url, _flow("b"), _flow("a"), _flow("a", 5)) == PostedCounts(2, 2, 3, 2)
    assert _post(warehouse_url, _flow("a"), _flow("c", on="2025-12-31")) == PostedCounts(2, 2, 2, 0)
    assert _entries(warehouse_url) == [
        ("house", 2025, 1, "c", 1, "2025-12-31"),
        ("house", 2026, 1, "a", 1, "2026-03-01"),
        ("house", 2026, 2, "b", 1, "2026-03-01"),
        ("house", 2026, 3, "a", 2, "2026-03-01"),
    ]


def _many(count: int) -> list[dict[str, object]]:
    days = ("2025-12-30", "2026-01-02", "2026-03-01")
    return [
        _flow(f"d{number % 7}", 1 + number, on=days[number % 3], credit_owner=f"shop_{number % 4}")
        for number in range(count)
    ]


def _all(url: str) -> list[list[tuple[object, ...]]]:
    with psycopg.connect(url) as connection:
        return [
            connection.execute(query).fetchall()
            for query in (
                "SELECT * FROM ledger.journal_entry ORDER BY entity, year, number",
                "SELECT * FROM mart.posting ORDER BY document_kind, document_id, entry_no, leg",
            )
        ]


@pytest.mark.parametrize("documents_at_once", [1, 2, 5])
def test_how_many_documents_are_made_at_once_changes_nothing(
    warehouse_url: str,
    postgres: EmbeddedPostgres,
    migrated_template: str,
    monkeypatch: pytest.MonkeyPatch,
    documents_at_once: int,
) -> None:
    at_once = postgres.create_database(f"at_once_{documents_at_once}", template=migrated_template)
    for flows in (_many(40), _many(13)):
        _post(at_once, *flows)
        with monkeypatch.context() as few:
            few.setattr(ledger, "_CHUNK_DOCUMENTS", documents_at_once)
            assert _post(warehouse_url, *flows).postings == len(flows)
    assert _all(warehouse_url) == _all(at_once)
    assert len(_all(at_once)[0]) > 14
    postgres.drop_database(f"at_once_{documents_at_once}")


def test_accounts_are_the_same_whether_all_are_read_or_the_named_ones_looked_up(
    warehouse_url: str, postgres: EmbeddedPostgres, migrated_template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up = postgres.create_database("accounts_looked_up", template=migrated_template)
    later = [_flow("d1"), _flow("d8", credit_owner="shop_new"), _flow("d9", debit_owner="", asset="GBP/4")]
    for flows in (_many(40), later):
        for entity in ("other", "house"):
            whole = _post(warehouse_url, *flows, entity=entity)
            with monkeypatch.context() as few:
                few.setattr(accounts, "_FEW_SHARE", 0)
                assert _post(looked_up, *flows, entity=entity) == whole
    assert _all(looked_up) == _all(warehouse_url)
    postgres.drop_database("accounts_looked_up")


def test_what_postgresql_refuses_leaves_nothing_though_more_was_on_its_way(
    warehouse_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "_CHUNK_DOCUMENTS", 1)
    with pytest.raises(psycopg.errors.CheckViolation):
        _post(warehouse_url, _flow("a"), _flow("b", component="nonsense"), _flow("c"), _flow("d"))
    assert _all(warehouse_url) == [[], []]


def test_the_text_that_hashes_are_taken_over_never_changes(warehouse_url: str) -> None:
    unrated: dict[str, Any] = {"base_amount": None, "rate": None}
    least, most = Decimal("0.000000000001"), Decimal("999999.999999999999")
    odd = [
        _flow("a"),
        _flow("a", 5, credit_kind="border", credit_owner=""),
        _flow("a", 7, on="2025-12-31", **unrated),
        _flow('ü,"|"\n', 10**18, debit_owner="ö|1:", base_amount=Decimal("-9999999999999999.9999"), rate=least),
        _flow("", 1, component="bonus", base_amount=Decimal("0.0000"), rate=most),
        _flow("b", 3, rate=Decimal("2.5")),
        _flow("b", 2, rate=Decimal("2.5")),
        _flow("b", 4, **unrated),
    ]
    _post(warehouse_url, *odd, run_id="rün")
    _post(warehouse_url, *odd[:4], run_id="rün")
    with psycopg.connect(warehouse_url) as connection:
        entries, postings = (
            fetch(connection, f"SELECT {', '.join(schema.names)} FROM ledger.{table} ORDER BY 1, 2, 3, 4", schema)
            for table, schema in (("journal_entry", ENTRY), ("posting", POSTING))
        )
        stored = fetch(connection, f"SELECT {', '.join(LINK.names)} FROM ledger.journal_entry ORDER BY 1, 2", LINK)
        accounts = read_accounts(connection, "house")
    # A hash is over all before it: the last ones of both years say that nothing of any text has changed since they were
    # written down, by a program that made each line for itself.
    assert {row["year"]: row["hash"] for row in stored.to_pylist()} == {
        2025: "4ad3edde14be18aa8e745b22deb2075a66073ab924f03fa1bf7ed13e48ae4e3a",
        2026: "0264e108e393ba48e6ae57e27e9d9c0abdbad246e59bfa6b210b2c13a389ace8",
    }
    labelled = accounts.append_column("label", account_labels(accounts))
    assert pa.concat_tables(chain_of_books(Engine(), entries, postings, labelled, {})) == stored


_OWN = {
    pa.int32(): "integer",
    pa.int64(): "bigint",
    pa.string(): "text",
    pa.date32(): "date",
    pa.timestamp("us"): "timestamp without time zone",
    pa.decimal128(20, 4): "numeric(20,4)",
    pa.decimal128(18, 12): "numeric(18,12)",
}


@pytest.mark.parametrize(("table", "schema"), [("account", ACCOUNT), ("journal_entry", ENTRY), ("posting", POSTING)])
def test_what_is_copied_as_bytes_has_the_types_of_the_tables(warehouse_url: str, table: str, schema: pa.Schema) -> None:
    query = (
        "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
        " WHERE attrelid = %s::regclass AND attnum > 0"
    )
    with psycopg.connect(warehouse_url) as connection:
        stored = {str(name): kind for name, kind in connection.execute(query, (f"ledger.{table}",)).fetchall()}
    hashes = {name: "text" for name in stored if "hash" in name}
    assert stored == {field.name: _OWN[field.type] for field in schema} | hashes


def test_entities_that_create_accounts_at_once_number_them_one_after_the_other(warehouse_url: str) -> None:
    flows = [_flow("a", credit_owner=f"shop_{number}") for number in range(50)]
    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(_post, warehouse_url, *flows, entity=f"house_{number}") for number in range(4)]
    assert [run.result().accounts for run in runs] == [51] * 4
    with psycopg.connect(warehouse_url) as connection:
        numbers = connection.execute("SELECT entity, account_id FROM ledger.account ORDER BY account_id").fetchall()
        # Who lets the table number an account gets the next one.
        (own,) = (
            connection.execute(
                "INSERT INTO ledger.account (entity, kind, owner, asset) VALUES ('x', 'border', '', 'EUR/4')"
                " RETURNING account_id"
            ).fetchone()
            or ()
        )
    assert len(numbers) == 204
    assert [entity for entity, _ in numbers] == [each for each, _ in groupby(numbers, itemgetter(0)) for _ in range(51)]
    assert own == int(str(numbers[-1][1])) + 1


def test_each_entity_counts_for_itself(warehouse_url: str) -> None:
    _post(warehouse_url, _flow("a"))
    _post(warehouse_url, _flow("b"), entity="other")
    assert [row[:3] for row in _entries(warehouse_url)] == [("house", 2026, 1), ("other", 2026, 1)]


def test_days_of_one_document_make_one_entry_each(warehouse_url: str) -> None:
    _post(warehouse_url, _flow("a", on="2026-03-05"), _flow("a", on="2026-03-01"), _flow("a", 7, on="2026-03-01"))
    assert [row[2:] for row in _entries(warehouse_url)] == [(1, "a", 1, "2026-03-01"), (2, "a", 2, "2026-03-05")]


def test_what_is_for_a_closed_month_is_booked_on_the_first_open_day(warehouse_url: str) -> None:
    with psycopg.connect(warehouse_url) as connection:
        connection.execute(
            "INSERT INTO ref.period VALUES ('house', '2025-12-01', 'closed'), ('house', '2026-01-01', 'closing'),"
            " ('house', '2026-02-01', 'open'), ('other', '2026-02-01', 'closed')"
        )
    _post(warehouse_url, _flow("a", on="2025-12-24"), _flow("a", on="2026-02-03"))
    with psycopg.connect(warehouse_url) as connection:
        rows = connection.execute(
            "SELECT effective_for::text, booked_on::text FROM ledger.posting ORDER BY 1"
        ).fetchall()
    assert rows == [("2025-12-24", "2026-02-01"), ("2026-02-03", "2026-02-03")]
    assert [row[1] for row in _entries(warehouse_url)] == [2026, 2026]


@given(st.sets(st.integers(0, 30)), st.integers(0, 900))
@settings(max_examples=50, deadline=None)
def test_a_day_is_booked_on_itself_or_on_the_first_day_of_the_next_open_month(locked: set[int], offset: int) -> None:
    day = date(2025, 1, 1) + timedelta(days=offset)
    months = frozenset(date(2025 + place // 12, place % 12 + 1, 1) for place in locked)
    booked = booked_days([day], months)[day]
    assert booked.replace(day=1) not in months
    if day.replace(day=1) not in months:
        assert booked == day
    else:
        assert booked.day == 1
        between = [month for month in months if day.replace(day=1) <= month < booked]
        assert len(between) == (booked.year - day.year) * 12 + booked.month - day.month


def test_no_flows_write_nothing(warehouse_url: str) -> None:
    assert _post(warehouse_url) == PostedCounts()


@pytest.mark.parametrize("amount", [0, -1])
def test_an_amount_that_is_not_positive_is_refused(warehouse_url: str, amount: int) -> None:
    with pytest.raises(Stop, match="not positive"):
        _post(warehouse_url, _flow("a"), _flow("b", amount))
    assert _entries(warehouse_url) == []


def test_a_flow_from_an_account_to_itself_is_refused(warehouse_url: str) -> None:
    with pytest.raises(Stop, match="accounts of one asset"):
        _post(warehouse_url, _flow("a", credit_kind="commission_receivable"))
    assert _entries(warehouse_url) == []


def test_text_that_could_break_a_line_travels_whole(warehouse_url: str) -> None:
    odd = 'a,"b"\nc|\\N\t;'
    _post(warehouse_url, _flow(odd, debit_owner=odd, credit_owner=""))
    with psycopg.connect(warehouse_url) as connection:
        row = connection.execute("SELECT document_id, debit_owner, credit_owner FROM mart.posting").fetchone()
    assert row == (odd, odd, "")


@pytest.mark.parametrize("role", ["tallyback_pipeline", None])
def test_nobody_changes_what_is_booked(warehouse_url: str, role: str | None) -> None:
    expected = psycopg.errors.RaiseException if role is None else psycopg.errors.InsufficientPrivilege
    statements = ("UPDATE {} SET entity = 'x'", "DELETE FROM {}", "TRUNCATE {}", "DELETE FROM {} WHERE false")
    with psycopg.connect(warehouse_url) as connection:
        if role is not None:
            connection.execute("SET LOCAL ROLE tallyback_pipeline")
        for table in ("ledger.posting", "ledger.journal_entry", "ledger.account"):
            for statement in statements:
                with pytest.raises(expected), connection.transaction():
                    connection.execute(statement.format(table))
