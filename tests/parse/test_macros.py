"""The macros against plain Python: exactly the texts that Decimal or the calendar can hold, and no others."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import duckdb
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from etl.core.engine import Engine, query_text

PLAIN = re.compile(r"-?(0|[1-9][0-9]{0,13})(\.([0-9]{1,4})0{0,16})?", re.ASCII)
GROUPED = re.compile(r"-?[1-9][0-9]{0,2}(,[0-9]{3}){1,4}(\.([0-9]{1,4})0{0,16})?", re.ASCII)
NUMBERISH = st.text(alphabet="0123456789-+.,_eE N", max_size=24)


@pytest.fixture(scope="module")
def engine() -> duckdb.DuckDBPyConnection:
    connection = Engine().connect()
    connection.execute(query_text("parse/macros"))
    connection.execute("SET TimeZone = 'America/New_York'")
    return connection


def value(engine: duckdb.DuckDBPyConnection, call: str, *arguments: object) -> object:
    row = engine.execute(f"SELECT {call}", list(arguments)).fetchone()
    assert row is not None
    return row[0]


@settings(max_examples=200, deadline=None)
@given(text=st.one_of(NUMBERISH, st.decimals(-(10**13), 10**13, places=4).map(str), st.text(max_size=8)))
@example(text="1e999990")
@example(text="1_000")
@example(text="NaN")
@example(text="12.00005")
@example(text="1.50000000000000")
@example(text="-0")
@example(text="007")
@example(text=" 1")
@example(text="1\n")
@example(text="١٢")
def test_money_reads_what_is_exact_and_nothing_else(engine: duckdb.DuckDBPyConnection, text: str) -> None:
    expected = Decimal(text) if PLAIN.fullmatch(text) else None
    assert value(engine, "money(?)", text) == expected


@settings(max_examples=150, deadline=None)
@given(
    text=st.one_of(
        NUMBERISH, st.decimals(-(10**11), 10**11, places=2).map(lambda amount: f"{amount:,}"), st.text(max_size=6)
    )
)
@example(text="1,234.56")
@example(text="1,23,4")
@example(text="1,,234")
@example(text="0,123")
@example(text=",123")
def test_grouped_money_takes_commas_in_whole_groups_only(engine: duckdb.DuckDBPyConnection, text: str) -> None:
    expected = Decimal(text.replace(",", "")) if PLAIN.fullmatch(text) or GROUPED.fullmatch(text) else None
    assert value(engine, "money_grouped(?)", text) == expected


@settings(max_examples=100, deadline=None)
@given(text=st.one_of(NUMBERISH, st.integers(-(10**18), 10**18).map(str)))
def test_whole_reads_integers_only(engine: duckdb.DuckDBPyConnection, text: str) -> None:
    expected = int(text) if re.fullmatch(r"-?(0|[1-9][0-9]{0,17})", text) else None
    assert value(engine, "whole(?)", text) == expected


def shown_twice_or_once(wall: datetime, zone: ZoneInfo) -> datetime | None:
    """Return the earlier UTC instant at which a clock of the zone showed this, None if it never did."""
    instant = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    return instant.replace(tzinfo=None) if instant.astimezone(zone).replace(tzinfo=None) == wall else None


NEAR_CHANGES = st.sampled_from(
    [
        datetime(2026, 3, 29, 2),
        datetime(2026, 10, 25, 2),
        datetime(2026, 3, 8, 2),
        datetime(2026, 11, 1, 1),
        datetime(2026, 4, 5, 2),
        datetime(2026, 10, 4, 2),
    ]
)


@settings(max_examples=150, deadline=None)
@given(
    around=NEAR_CHANGES,
    seconds=st.integers(-10_000, 10_000),
    name=st.sampled_from(["Europe/Berlin", "Europe/London", "US/Pacific", "Australia/Lord_Howe", "UTC"]),
)
@example(around=datetime(2026, 3, 29, 2), seconds=1800, name="Europe/Berlin")
@example(around=datetime(2026, 10, 25, 2), seconds=1800, name="Europe/Berlin")
@example(around=datetime(2011, 12, 30, 12), seconds=0, name="Pacific/Apia")  # A day that Samoa left out.
def test_a_clock_reading_is_the_earlier_of_two_and_null_if_it_never_was(
    engine: duckdb.DuckDBPyConnection, around: datetime, seconds: int, name: str
) -> None:
    wall = around + timedelta(seconds=seconds)
    expected = shown_twice_or_once(wall, ZoneInfo(name))
    assert value(engine, "instant_iso(?, ?)", wall.isoformat(), name) == expected


@pytest.mark.parametrize(
    ("text", "form", "expected"),
    [
        ("2026-09-01T10:15:22+02:00", "iso_offset", datetime(2026, 9, 1, 8, 15, 22)),
        ("2026-09-01T10:15:22-0330", "iso_offset", datetime(2026, 9, 1, 13, 45, 22)),
        ("2026-09-01T10:15:22Z", "iso_offset", datetime(2026, 9, 1, 10, 15, 22)),
        ("2026-09-01T10:15:22.25Z", "iso_offset", datetime(2026, 9, 1, 10, 15, 22, 250_000)),
        ("2026-09-01T10:15:22", "iso_offset", datetime(2026, 9, 1, 8, 15, 22)),
        ("2026-09-01T10:15:22.5-14:59", "iso_offset", datetime(2026, 9, 2, 1, 14, 22, 500_000)),
        ("2026-02-28T23:15:22-02:00", "iso_offset", datetime(2026, 3, 1, 1, 15, 22)),
        ("2026-02-30T10:15:22+02:00", "iso_offset", None),
        ("2026-09-01 10:15:22+02:00", "iso_offset", None),
        ("2026-09-01T10:15:22+15:00", "iso_offset", None),
        ("2026-09-01T10:15:22+99:00", "iso_offset", None),
        ("2026-09-01T10:15:22 Europe", "iso_offset", None),
        ("2026-09-01T10:15:22+02:00", "iso", None),
        ("2026-09-01 10:15:22", "iso", None),
        ("2026-09-01T24:00:00", "iso", None),
        ("2026-09-01", "iso", None),
        ("", "iso", None),
        ("9/1/26 1:05:09", "us_short", datetime(2026, 8, 31, 23, 5, 9)),
        ("12/31/26 23:59:59", "us_short", datetime(2026, 12, 31, 22, 59, 59)),
        ("31/12/26 23:59:59", "us_short", None),
        ("9/1/2026 1:05:09", "us_short", None),
        ("2/29/24 00:00:00", "us_short", datetime(2024, 2, 28, 23)),
        ("2/29/26 00:00:00", "us_short", None),
        ("0/1/26 00:00:00", "us_short", None),
        ("9/1/26 24:00:00", "us_short", None),
        ("9/1/26 1:05:60", "us_short", None),
        # Two digits are of this century, all of them.
        ("1/1/59 12:00:00", "us_short", datetime(2059, 1, 1, 11)),
        ("1/1/68 12:00:00", "us_short", datetime(2068, 1, 1, 11)),
        ("1/1/69 12:00:00", "us_short", datetime(2069, 1, 1, 11)),
        ("1/1/99 12:00:00", "us_short", datetime(2099, 1, 1, 11)),
    ],
)
def test_an_instant_is_read_in_its_named_form_only(
    engine: duckdb.DuckDBPyConnection, text: str, form: str, expected: datetime | None
) -> None:
    assert value(engine, f"instant_{form}(?, 'Europe/Amsterdam')", text) == expected
