"""Alembic's way into the warehouse: one transaction, the version table in schema public."""

from __future__ import annotations

from alembic import context
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool


def run() -> None:
    """Apply the revisions over the URL that `etl.core.warehouse.migrate` hands in."""
    url = str(context.config.attributes["url"])
    scheme, _, rest = url.partition("://")
    engine = create_engine(
        f"postgresql+psycopg://{rest}" if scheme in {"postgresql", "postgres"} else url, poolclass=NullPool
    )
    with engine.connect() as connection:
        context.configure(connection=connection, version_table="tallyback_version")
        with context.begin_transaction():
            # Two migrations at once wait for each other.
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7415926)")
            context.run_migrations()


run()
