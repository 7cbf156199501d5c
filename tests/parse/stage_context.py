"""A context for stages under test: a real warehouse, a lake in a folder, and one partner's account."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import psycopg

from etl.core.configuration import ClickSource, Configuration, Entity, PartnerAccount
from etl.core.context import Context
from etl.core.engine import Engine
from etl.core.lake import FolderLake
from etl.core.warehouse import Warehouse


def stage_context(
    warehouse_url: str,
    folder: Path,
    *accounts: PartnerAccount,
    run_id: str = "run-1",
    click_sources: tuple[ClickSource, ...] = (),
) -> Context:
    """Return what a stage is handed."""
    return Context(
        run_id=run_id,
        known_at=datetime.fromisoformat("2026-11-01T06:00:00"),
        configuration=Configuration(Entity("shop", "EUR", "Europe/Berlin"), accounts, click_sources, (), "hash"),
        warehouse=Warehouse(warehouse_url),
        lake=FolderLake(folder / "lake"),
        engine=Engine(),
        temporary=folder / "temporary",
        actor="test",
    )


def count_of(context: Context, table: str) -> int:
    """Return how many rows a table of the warehouse has."""
    with context.warehouse.transaction() as connection:
        row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    assert row is not None
    return int(str(row[0]))


def forget(context: Context, *tables: str) -> None:
    """Empty tables of the warehouse and those that refer to them, as nobody but its owner could."""
    with psycopg.connect(context.warehouse.url) as connection:
        connection.execute(f"TRUNCATE {', '.join(tables)} CASCADE")
