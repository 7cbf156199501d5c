"""The binary COPY format: what goes in so is what stands in the table, exactly, and what has no form is refused."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from etl.core import binary_copy
from etl.core.binary_copy import copy_rows, rows_of
from etl.core.embedded import EmbeddedPostgres
from etl.core.warehouse import fetch

SCHEMA = pa.schema(
    [
        ("place", pa.int64()),
        ("text", pa.string()),
        ("small", pa.int32()),
        ("large", pa.int64()),
        ("is_so", pa.bool_()),
        ("day", pa.date32()),
        ("instant", pa.timestamp("us")),
        ("base_amount", pa.decimal128(20, 4)),
        ("rate", pa.decimal128(18, 12)),
        ("whole", pa.decimal128(26, 0)),
    ]
)
TABLE = """
    CREATE TEMP TABLE IF NOT EXISTS exact (place bigint, text text, small integer, large bigint, is_so boolean,
        day date, instant timestamp, base_amount numeric(20, 4), rate numeric(18, 12), whole numeric(26, 0))
"""


def _decimals(precision: int, scale: int) -> st.SearchStrategy[Decimal]:
    limit = 10**precision - 1
    # From the digits: scaleb would round to those of the context.
    return st.integers(-limit, limit).map(lambda value: Decimal(f"{value}E-{scale}"))


_ROW = st.tuples(
    st.none() | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12),
    st.none() | st.integers(-(2**31), 2**31 - 1),
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.none() | st.booleans(),
    st.none() | st.dates(),
    st.none() | st.datetimes(),
    st.none() | _decimals(20, 4),
    st.none() | _decimals(18, 12),
    st.none() | _decimals(26, 0),
)
_FULL = ("ü\n|", -1, 2**62, True, date(1999, 12, 31), datetime(1999, 12, 31, 23, 59, 59, 999_999))
_LARGEST = (Decimal("9999999999999999.9999"), Decimal("-999999.999999999999"), Decimal(10**26 - 1))
_SMALLEST = (Decimal("-0.0001"), Decimal("0.000000000001"), Decimal(-(2**64)))


def _said(value: Decimal | None, scale: int) -> str | None:
    return None if value is None else f"{value:.{scale}f}"


@pytest.fixture(scope="module")
def connection(postgres: EmbeddedPostgres, migrated_template: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    url = postgres.create_database("binary_copy", template=migrated_template)
    with psycopg.connect(url) as connection:
        connection.execute(TABLE)
        yield connection
    postgres.drop_database("binary_copy")


@settings(max_examples=60, deadline=None)
@given(st.lists(_ROW, max_size=7))
@example([(*_FULL, *_LARGEST), (*_FULL, *_SMALLEST)])
@example(
    [(*_FULL, *_LARGEST), (None,) * 9, ("", 0, 0, False, date(2000, 1, 1), datetime(2000, 1, 1), *[Decimal(0)] * 3)]
)
def test_what_is_copied_as_bytes_stands_there_exactly(
    connection: psycopg.Connection[tuple[object, ...]], rows: list[tuple[Any, ...]]
) -> None:
    columns = zip(*((place, *row) for place, row in enumerate(rows)), strict=True)
    data = (
        pa.table([pa.array(*pair) for pair in zip(columns, SCHEMA.types, strict=True)], schema=SCHEMA)
        if rows
        else (SCHEMA.empty_table())
    )
    connection.execute("TRUNCATE exact")
    copy_rows(connection, "exact", rows_of(data))
    assert fetch(connection, "SELECT * FROM exact ORDER BY place", SCHEMA) == data
    # Their digits too, which a wrong scale would hide.
    texts = connection.execute("SELECT base_amount::text, rate::text FROM exact ORDER BY place").fetchall()
    assert texts == [(_said(base, 4), _said(rate, 12)) for *_, base, rate, _ in rows]


def test_rows_of_a_slice_and_of_several_chunks_are_its_own(
    connection: psycopg.Connection[tuple[object, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binary_copy, "_ROWS_AT_ONCE", 3)
    rows = [{"place": place, "text": f"{place}" * (place % 3), "rate": Decimal(place)} for place in range(11)]
    data = pa.concat_tables([pa.Table.from_pylist(rows, SCHEMA), pa.Table.from_pylist(rows, SCHEMA)]).slice(4, 13)
    connection.execute("TRUNCATE exact")
    copy_rows(connection, "exact", rows_of(data))
    assert fetch(connection, "SELECT * FROM exact ORDER BY ctid", SCHEMA) == data


def test_a_type_that_is_not_the_tables_own_is_refused(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    with pytest.raises(psycopg.DatabaseError, match="column large"), connection.transaction():
        copy_rows(connection, "exact", rows_of(pa.table({"large": pa.array([1], pa.int32())})))
    for kind in (pa.float64(), pa.decimal128(9, 6), pa.decimal128(27, 4), pa.timestamp("s")):
        with pytest.raises(TypeError, match="no binary form"):
            rows_of(pa.table({"x": pa.nulls(1, kind)}))
