"""The click tracker's own database, with its own names: rows appear when simulated now passes their commit.

Some clicks commit late: their row appears up to six hours after `created`, as it happens where trackers buffer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import sqlalchemy as sa

from sandbox import credentials

Value = str | datetime | Decimal | None

METADATA = sa.MetaData()
CLICKS = sa.Table(
    "outbound_clicks",
    METADATA,
    sa.Column("uid", sa.Text, primary_key=True),
    sa.Column("network", sa.Text, nullable=False),
    sa.Column("shop_program", sa.Text, nullable=False),
    sa.Column("user_ref", sa.Text, nullable=False),
    sa.Column("created", sa.DateTime, nullable=False, index=True),
)
ORDERS = sa.Table(
    "pixel_orders",
    METADATA,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("click_uid", sa.Text),
    sa.Column("order_no", sa.Text, nullable=False),
    sa.Column("seen_at", sa.DateTime, nullable=False, index=True),
    sa.Column("total", sa.Numeric(18, 4), nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
)
USERS = sa.Table(
    "users",
    METADATA,
    sa.Column("user_ref", sa.Text, primary_key=True),
    sa.Column("full_name", sa.Text, nullable=False),
    sa.Column("iban", sa.Text, nullable=False),
    sa.Column("changed_at", sa.DateTime, nullable=False, index=True),
    sa.Column("changed_by", sa.Text, nullable=False),
)
# How far the tracker has come; one row.
PROGRESS = sa.Table("tracker_progress", METADATA, sa.Column("through", sa.DateTime, nullable=False))
_BEGINNING = datetime.fromisoformat("1970-01-01")
_CHUNK = 10_000


def create(directory: Path) -> None:
    """Create the tables of a new world's tracker; a database that already has them is refused by it."""
    engine = sa.create_engine(credentials.load(directory).tracker_url)
    try:
        with engine.begin() as connection:
            METADATA.create_all(connection, checkfirst=False)
            connection.execute(sa.insert(PROGRESS).values(through=_BEGINNING))
    finally:
        engine.dispose()


def advance(directory: Path, now: datetime) -> int:
    """Insert every row that is committed by now and was not before, in one transaction; return how many."""
    engine = sa.create_engine(credentials.load(directory).tracker_url)
    inside = directory / "internal"
    try:
        with engine.begin() as connection:
            through = connection.execute(sa.select(PROGRESS.c.through).with_for_update()).scalar_one()
            if now <= through:
                return 0
            count = _insert(connection, CLICKS, _due(inside / "clicks.parquet", "committed_at", through, now, _CLICK))
            due_orders = _due(inside / "conversions.parquet", "committed_at", through, now, _ORDER)
            count += _insert(connection, ORDERS, due_orders)
            count += _insert(connection, USERS, _due(inside / "members.parquet", "changed_at", through, now, _USER))
            for user in _due(inside / "member_changes.parquet", "changed_at", through, now, _USER):
                connection.execute(sa.update(USERS).where(USERS.c.user_ref == user["user_ref"]).values(user))
                count += 1
            connection.execute(sa.update(PROGRESS).values(through=now))
            return count
    finally:
        engine.dispose()


# Their names for our columns.
_CLICK = {
    "uid": "click_id", "network": "partner", "shop_program": "program_id", "user_ref": "member_id",
    "created": "clicked_at",
}  # fmt: skip
_ORDER = {
    "id": "conversion_id", "click_uid": "click_id", "order_no": "order_ref", "seen_at": "occurred_at",
    "total": "amount", "currency": "currency",
}  # fmt: skip
_USER = {
    "user_ref": "member_id", "full_name": "full_name", "iban": "iban", "changed_at": "changed_at",
    "changed_by": "changed_by",
}  # fmt: skip


def _due(path: Path, column: str, through: datetime, now: datetime, names: dict[str, str]) -> list[dict[str, Value]]:
    """Return the rows whose `column` lies in (through, now], in that order, under the tracker's names."""
    due = pq.read_table(path, filters=(pc.field(column) > through) & (pc.field(column) <= now))
    due = due.sort_by([(column, "ascending"), (due.column_names[0], "ascending")])
    rows: list[dict[str, Value]] = due.select(list(names.values())).rename_columns(list(names)).to_pylist()
    return rows


def _insert(connection: sa.Connection, table: sa.Table, rows: Sequence[dict[str, Value]]) -> int:
    for chunk in _chunks(rows):
        connection.execute(sa.insert(table), chunk)
    return len(rows)


def _chunks(rows: Sequence[dict[str, Value]]) -> Iterator[Sequence[dict[str, Value]]]:
    for start in range(0, len(rows), _CHUNK):
        yield rows[start : start + _CHUNK]
