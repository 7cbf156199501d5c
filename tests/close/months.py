"""A small world that closes months: the books of tests.accrue.books, with a clock and a person."""

from __future__ import annotations

import dataclasses
from datetime import date, datetime, time
from pathlib import Path

import psycopg

from etl.accrue import accrue
from etl.close import ClosingRecord, begin, finish
from etl.core.context import Context
from etl.verify import verify
from tests.accrue.books import context, write
from tests.accrue.naive import World

MARCH, APRIL, MAY = date(2026, 3, 1), date(2026, 4, 1), date(2026, 5, 1)


def desk(url: str, folder: Path, on: date, actor: str = "Ann Auditor") -> Context:
    """Return the context of a person on the morning of a day."""
    plain = context(url, folder, f"run-{on}-{actor}", datetime.combine(on, time(9)))
    return dataclasses.replace(plain, actor=actor)


def accrued(url: str, folder: Path, facts: World, on: date) -> int:
    """Write the facts, accrue them on the morning of a day, and return how many postings that made."""
    write(url, facts)
    return accrue(desk(url, folder, on, "pipeline"), on).count("postings")


def close_month(url: str, folder: Path, month: date, on: date) -> ClosingRecord:
    """Begin and finish a month on the morning of a day."""
    begin(desk(url, folder, on), month)
    return finish(desk(url, folder, on), month, verify)


def booked(url: str, month: date) -> dict[tuple[object, ...], object]:
    """Return the sums of a month by kind, owner and currency at its scale, by booked_on."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT kind, owner, currency || '/' || scale, sum(amount_minor)::bigint FROM mart.movement"
            " WHERE date_trunc('month', booked_on) = %s GROUP BY 1, 2, 3",
            (month,),
        ).fetchall()
    return {row[:3]: row[3] for row in rows if row[3]}
