"""Promises of reading a tracker: every row once, late ones too, exact amounts, one instant; payees encrypted."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from connectors.clicks.sql_source import SqlSource
from etl.clicks import load_clicks
from etl.core.configuration import ClickSource, TrackedTable
from etl.core.context import Context
from etl.core.encryption import KeyRing, create_key_file, decrypt
from etl.core.errors import Retry, Stop
from etl.core.payee import IBAN_COLUMN, NAME_COLUMN, payee_place
from etl.core.schemas import CLICK, CONVERSION
from etl.payees import load_payees
from tests.parse.stage_context import count_of, stage_context

METADATA = sa.MetaData()
OUT = sa.Table(
    "out", METADATA, sa.Column("uid", sa.Text, primary_key=True), sa.Column("net", sa.Text), sa.Column("prog", sa.Text),
    sa.Column("who", sa.Text), sa.Column("at", sa.DateTime),
)  # fmt: skip
ORDERS = sa.Table(
    "orders", METADATA, sa.Column("id", sa.Text, primary_key=True), sa.Column("uid", sa.Text), sa.Column("no", sa.Text),
    sa.Column("at", sa.DateTime(timezone=True)), sa.Column("total", sa.Numeric(18, 4)), sa.Column("cur", sa.Text),
)  # fmt: skip
USERS = sa.Table(
    "users", METADATA, sa.Column("ref", sa.Text, primary_key=True), sa.Column("name", sa.Text),
    sa.Column("iban", sa.Text), sa.Column("changed", sa.DateTime), sa.Column("by", sa.Text),
)  # fmt: skip
CLICK_COLUMNS = {"click_id": "uid", "partner": "net", "program_id": "prog", "member_id": "who", "clicked_at": "at"}
ORDER_COLUMNS = {
    "conversion_id": "id", "click_id": "uid", "order_ref": "no", "occurred_at": "at", "amount": "total",
    "currency": "cur",
}  # fmt: skip
USER_COLUMNS = {"member_id": "ref", "name": "name", "iban": "iban", "changed_at": "changed", "changed_by": "by"}
GOOD, OTHER, BAD = "DE89370400440532013000", "GB29 NWBK 6016 1331 9268 19", "DE89370400440532013001"


def source(zone: str = "UTC", clicks: str = "out") -> ClickSource:
    return ClickSource(
        "web", "tracker", 360, TrackedTable(clicks, CLICK_COLUMNS, "at", zone),
        TrackedTable("orders", ORDER_COLUMNS, "at"), TrackedTable("users", USER_COLUMNS, "changed"),
    )  # fmt: skip


@pytest.fixture
def tracker(database_url: str) -> Iterator[sa.Engine]:
    engine = sa.create_engine(sa.make_url(database_url).set(drivername="postgresql+psycopg"))
    METADATA.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def reader(tracker: sa.Engine) -> Iterator[SqlSource]:
    made = SqlSource(source(), tracker.url.render_as_string(hide_password=False))
    yield made
    made.close()


@pytest.fixture
def context(warehouse_url: str, tmp_path: Path) -> Context:
    return stage_context(warehouse_url, tmp_path)


@pytest.fixture
def keys(tmp_path: Path) -> KeyRing:
    return create_key_file(tmp_path / "keys.json")


def click(tracker: sa.Engine, uid: str, at: datetime, **changed: str | None) -> None:
    values: dict[str, object] = {"uid": uid, "net": "awin", "prog": "p1", "who": "m1", "at": at, **changed}
    with tracker.begin() as connection:
        connection.execute(OUT.insert().values(**values))


def stored(context: Context, relation: str, schema: pa.Schema) -> list[dict[str, object]]:
    with context.warehouse.transaction() as connection:
        rows = connection.execute(
            "SELECT object_path, row_count FROM ops.tracked_file WHERE relation = %s ORDER BY object_path", (relation,)
        ).fetchall()
    tables = [pq.ParquetFile(context.lake.local(str(path))).read() for path, _count in rows]
    assert [table.num_rows for table in tables] == [count for _path, count in rows]
    assert all(table.schema.remove_metadata() == schema for table in tables)
    return [row for table in tables for row in table.to_pylist()]


def seal(context: Context) -> tuple[object, ...]:
    with context.warehouse.transaction() as connection:
        row = connection.execute("SELECT watermark, sealed_until FROM ops.click_seal WHERE source = 'web'").fetchone()
    assert row is not None
    return row


def test_every_click_is_loaded_once_late_ones_too_and_days_are_sealed_behind_the_overlap(
    context: Context, tracker: sa.Engine, reader: SqlSource
) -> None:
    noon = datetime(2026, 9, 1, 12)
    click(tracker, "a+/=", noon)
    click(tracker, "b", noon + timedelta(hours=13))
    assert load_clicks(context, source(), reader, noon + timedelta(hours=14)).count("clicks") == 2
    assert seal(context) == (datetime(2026, 9, 2, 2), datetime(2026, 9, 1, 20))
    # Committed late: its time lies before what was read already, but inside the overlap.
    click(tracker, "c", noon + timedelta(hours=9))
    click(tracker, "d", noon + timedelta(hours=15))
    assert load_clicks(context, source(), reader, noon + timedelta(hours=16)).count("clicks") == 2
    assert load_clicks(context, source(), reader, noon + timedelta(hours=16)).count("clicks") == 0
    rows = stored(context, "click", CLICK)
    assert sorted(str(row["click_id"]) for row in rows) == ["a+/=", "b", "c", "d"]
    assert count_of(context, "ops.tracked_file") == 4
    with pytest.raises(Stop, match="forward only"):
        load_clicks(context, source(), reader, noon)


def test_a_conversion_keeps_its_exact_amount_and_the_instant_whatever_its_offset(
    context: Context, tracker: sa.Engine, reader: SqlSource
) -> None:
    with tracker.begin() as connection:
        for number, amount in enumerate((Decimal("12345678901234.5678"), Decimal("0.1000"), None)):
            connection.execute(
                ORDERS.insert().values(
                    id=str(number), at=datetime.fromisoformat("2026-09-01T01:30:00+02:00"), total=amount, no="W-1"
                )
            )
    assert load_clicks(context, source(), reader, datetime(2026, 9, 2)).count("conversions") == 3
    rows = stored(context, "conversion", CONVERSION)
    assert [row["amount"] for row in rows] == [Decimal("12345678901234.5678"), Decimal("0.1000"), None]
    assert {row["occurred_at"] for row in rows} == {datetime(2026, 8, 31, 23, 30)}


def test_a_clock_of_another_zone_is_read_as_that_zone_and_one_never_shown_is_refused(
    context: Context, tracker: sa.Engine
) -> None:
    mapped = source("Europe/Berlin")
    reader = SqlSource(mapped, tracker.url.render_as_string(hide_password=False))
    click(tracker, "twice", datetime(2026, 10, 25, 2, 30))
    assert load_clicks(context, mapped, reader, datetime(2026, 10, 25, 1)).count("clicks") == 1
    assert [row["clicked_at"] for row in stored(context, "click", CLICK)] == [datetime(2026, 10, 25, 0, 30)]
    click(tracker, "never", datetime(2027, 3, 28, 2, 30))
    with pytest.raises(Stop, match="never shown"):
        load_clicks(context, mapped, reader, datetime(2027, 4, 1))
    reader.close()


@pytest.mark.parametrize(("column", "value"), [("who", None), ("who", ""), ("prog", None)])
def test_a_click_that_lacks_what_it_needs_stops_and_is_shown(
    context: Context, tracker: sa.Engine, reader: SqlSource, column: str, value: str | None
) -> None:
    click(tracker, "fine", datetime(2026, 9, 1))
    click(tracker, "lacking", datetime(2026, 9, 1), **{column: value})
    with pytest.raises(Stop, match="lacking"):
        load_clicks(context, source(), reader, datetime(2026, 9, 2))
    assert (count_of(context, "ops.tracked_file"), count_of(context, "ops.click_seal")) == (0, 0)


def test_an_id_that_changes_its_content_stops(context: Context, tracker: sa.Engine, reader: SqlSource) -> None:
    click(tracker, "a", datetime(2026, 9, 1, 12))
    load_clicks(context, source(), reader, datetime(2026, 9, 1, 13))
    with tracker.begin() as connection:
        connection.execute(OUT.update().values(who="m2"))
    with pytest.raises(Stop, match="two contents"):
        load_clicks(context, source(), reader, datetime(2026, 9, 1, 14))


def test_an_id_that_comes_again_on_a_day_near_its_own_stops_and_one_far_off_is_not_looked_for(
    context: Context, tracker: sa.Engine, reader: SqlSource
) -> None:
    click(tracker, "a", datetime(2026, 9, 1, 23))
    load_clicks(context, source(), reader, datetime(2026, 9, 2, 1))
    with tracker.begin() as connection:
        connection.execute(OUT.update().values(at=datetime(2026, 9, 2, 1)))
    with pytest.raises(Stop, match=r"'a' has two contents, one of 2026-09-02 and one of 2026-09-01"):
        load_clicks(context, source(), reader, datetime(2026, 9, 2, 2))
    assert count_of(context, "ops.tracked_file") == 1
    # What it costs to look no further: days beyond the overlap are not read.
    with tracker.begin() as connection:
        connection.execute(OUT.update().values(at=datetime(2026, 9, 9)))
    assert load_clicks(context, source(), reader, datetime(2026, 9, 9, 1)).count("clicks") == 1


def test_one_id_on_two_days_of_one_load_stops(context: Context, tracker: sa.Engine) -> None:
    shared = sa.Table("shared", sa.MetaData(), *(sa.Column(name, sa.Text) for name in ("uid", "net", "prog", "who")),
                      sa.Column("at", sa.DateTime))  # fmt: skip
    shared.create(tracker)
    with tracker.begin() as connection:
        for day in (1, 2):
            at = datetime(2026, 9, day, 12)
            connection.execute(shared.insert().values(uid="a", net="awin", prog="p1", who="m1", at=at))
    mapped = source(clicks="shared")
    reader = SqlSource(mapped, tracker.url.render_as_string(hide_password=False))
    with pytest.raises(Stop, match="'a' has two contents"):
        load_clicks(context, mapped, reader, datetime(2026, 9, 3))
    reader.close()
    assert (count_of(context, "ops.tracked_file"), count_of(context, "ops.click_seal")) == (0, 0)


@pytest.mark.parametrize(
    ("columns", "table", "said"),
    [
        (CLICK_COLUMNS | {"member_id": "nobody"}, "out", "nobody"),
        ({"click_id": "uid"}, "out", "clicked_at"),
        (CLICK_COLUMNS, "absent", "no such table"),
        (CLICK_COLUMNS | {"clicked_at": "who"}, "out", "not an instant"),
    ],
)
def test_a_wrong_mapping_names_what_is_wrong(
    context: Context, tracker: sa.Engine, columns: dict[str, str], table: str, said: str
) -> None:
    click(tracker, "a", datetime(2026, 9, 1))
    mapped = ClickSource("web", "tracker", 0, TrackedTable(table, columns, "at"))
    reader = SqlSource(mapped, tracker.url.render_as_string(hide_password=False))
    with pytest.raises(Stop, match=said):
        load_clicks(context, mapped, reader, datetime(2026, 9, 2))
    reader.close()


def test_a_row_without_a_watermark_is_never_left_out_in_silence(
    context: Context, tracker: sa.Engine, reader: SqlSource, keys: KeyRing
) -> None:
    click(tracker, "a", datetime(2026, 9, 1))
    with tracker.begin() as connection:
        connection.execute(OUT.insert().values(uid="b", net="awin", prog="p1", who="m1", at=None))
    with pytest.raises(Stop, match="table out: 1 rows have no at, by which"):
        load_clicks(context, source(), reader, datetime(2026, 9, 2))
    assert count_of(context, "ops.tracked_file") == 0
    # Whoever never said where to pay has no date of it.
    with tracker.begin() as connection:
        connection.execute(USERS.insert().values(ref="m1", name="Ada", iban=None, changed=None, by="m1"))
    assert load_payees(context, source(), reader, keys, datetime(2026, 9, 2)).count("versions") == 0
    with tracker.begin() as connection:
        connection.execute(USERS.insert().values(ref="m2", name="Bo", iban=GOOD, changed=None, by="m2"))
    with pytest.raises(Stop, match="table users: 1 rows have no changed"):
        load_payees(context, source(), reader, keys, datetime(2026, 9, 2))


@pytest.mark.parametrize("written", ["1 day ago", "2026-09-01Tx", "2026-13-01 00:00:00.000000"])
def test_what_a_driver_cannot_read_is_named_with_its_table(written: str, context: Context, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'tracker.sqlite'}"
    engine = sa.create_engine(url)
    METADATA.create_all(engine)
    with engine.begin() as connection:
        connection.execute(sa.text("INSERT INTO out VALUES ('a', 'awin', 'p1', 'm1', :at)"), {"at": written})
    engine.dispose()
    reader = SqlSource(source(), url)
    with pytest.raises(Stop, match="table out: a value cannot be read"):
        load_clicks(context, source(), reader, datetime(9999, 9, 2))
    reader.close()


@pytest.mark.parametrize("changed", [{"password": "wrong-hush"}, {"username": "nobody"}, {"database": "nowhere"}])
def test_a_refused_login_is_not_tried_again(changed: dict[str, Any], context: Context, tracker: sa.Engine) -> None:
    reader = SqlSource(source(), tracker.url.set(**changed).render_as_string(hide_password=False))
    with pytest.raises(Stop, match=r"refuses the login.*connection tracker") as caught:
        load_clicks(context, source(), reader, datetime(2026, 9, 2))
    reader.close()
    assert "hush" not in str(caught.value)


def test_a_database_that_is_not_there_is_tried_again(context: Context, tracker: sa.Engine) -> None:
    reader = SqlSource(source(), tracker.url.set(port=9).render_as_string(hide_password=False))
    with pytest.raises(Retry, match="does not answer"):
        load_clicks(context, source(), reader, datetime(2026, 9, 2))
    reader.close()


def test_an_address_that_is_none_is_refused_and_not_shown() -> None:
    with pytest.raises(Stop) as caught:
        SqlSource(source(), "nonsense://user:hush-hush@host/db")
    assert "hush-hush" not in str(caught.value)
    assert "hush-hush" not in repr(SqlSource(source(), "sqlite:///hush-hush.db"))


def user(tracker: sa.Engine, ref: str, iban: str | None, changed: datetime, name: str = "Ada Łovelace") -> None:
    with tracker.begin() as connection:
        connection.execute(USERS.delete().where(USERS.c.ref == ref))
        connection.execute(USERS.insert().values(ref=ref, name=name, iban=iban, changed=changed, by=ref))


def test_payees_are_checked_encrypted_for_their_place_and_kept_by_version(
    context: Context, tracker: sa.Engine, reader: SqlSource, keys: KeyRing
) -> None:
    day = datetime(2026, 9, 1)
    user(tracker, "m1", GOOD, day)
    user(tracker, "m2", OTHER, day)
    user(tracker, "m3", BAD, day)
    user(tracker, "m4", None, day)
    first = load_payees(context, source(), reader, keys, day + timedelta(days=1))
    assert (first.count("versions"), first.count("refused")) == (2, 2)
    assert "m3" in first.note
    assert BAD not in first.note
    user(tracker, "m1", OTHER, day + timedelta(hours=20))
    assert load_payees(context, source(), reader, keys, day + timedelta(days=1)).count("versions") == 1
    assert load_payees(context, source(), reader, keys, day + timedelta(days=1)).count("versions") == 0
    with context.warehouse.transaction() as connection:
        rows = connection.execute(
            "SELECT member_id, version, name_encrypted, iban_encrypted, iban_index, iban_masked, country "
            "FROM pii.payee ORDER BY member_id, version"
        ).fetchall()
    assert [row[:2] for row in rows] == [("m1", 1), ("m1", 2), ("m2", 1)]
    first_row, second_row, other_member = rows
    assert decrypt(keys, str(first_row[3]), payee_place(IBAN_COLUMN, "m1", 1)) == GOOD
    assert decrypt(keys, str(second_row[2]), payee_place(NAME_COLUMN, "m1", 2)) == "Ada Łovelace"
    assert second_row[4] == other_member[4] != first_row[4]
    assert (first_row[5], first_row[6]) == ("DE89 **** **** **** **30 00", "DE")
    with pytest.raises(Stop):
        decrypt(keys, str(first_row[3]), payee_place(IBAN_COLUMN, "m1", 2))


def test_a_tracker_in_sqlite_is_read_too(context: Context, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'tracker.sqlite'}"
    engine = sa.create_engine(url)
    METADATA.create_all(engine)
    click(engine, "a", datetime(2026, 9, 1, 12))
    with engine.begin() as connection:
        connection.execute(ORDERS.insert().values(id="1", at=datetime(2026, 9, 1), total=Decimal("19.99"), cur="EUR"))
    engine.dispose()
    reader = SqlSource(source(), url)
    done = load_clicks(context, source(), reader, datetime(2026, 9, 2))
    reader.close()
    assert (done.count("clicks"), done.count("conversions")) == (1, 1)
    assert [row["amount"] for row in stored(context, "conversion", CONVERSION)] == [Decimal("19.9900")]
