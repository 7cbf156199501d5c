"""Migrated warehouses for the tests: one is made where none is free, and emptied when a test gives it back.

Making a database copies some 400 relations, and the first to enter it builds its caches: that costs more than many a
test does. What is given out again is as it was made, else it is dropped: a test may do to its warehouse what it likes.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

import psycopg

from etl.core.embedded import SUPERUSER, EmbeddedPostgres

_ENDED_WITHIN_MILLISECONDS = 10_000
# Every catalog row that DDL writes has a newer transaction than the rows before it, and what DDL deletes is missing.
_CATALOGS = (
    "pg_class", "pg_attribute", "pg_attrdef", "pg_constraint", "pg_index", "pg_trigger", "pg_proc", "pg_rewrite",
    "pg_type", "pg_namespace", "pg_policy", "pg_default_acl", "pg_event_trigger", "pg_extension", "pg_description",
)  # fmt: skip
_FORM = " UNION ALL ".join(
    f"SELECT '{catalog}', count(*), max(xmin::text::bigint) FROM pg_catalog.{catalog}" for catalog in _CATALOGS
)
_SETTINGS = """
    SELECT setconfig::text FROM pg_catalog.pg_db_role_setting
    WHERE setdatabase = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
"""
_FILLED = """
    SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname)
    FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_'
        AND c.relname <> 'tallyback_version' AND pg_catalog.pg_relation_size(c.oid) > 0
"""
_VERSIONS = "SELECT version_num, xmin FROM public.tallyback_version ORDER BY version_num"
_OTHERS = """
    SELECT pg_catalog.pg_terminate_backend(pid, %s) FROM pg_catalog.pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_catalog.pg_backend_pid() AND backend_type = 'client backend'
"""
_SEQUENCES = "SELECT setval(format('%I.%I', schemaname, sequencename), start_value, false) FROM pg_catalog.pg_sequences"

Form = list[tuple[object, ...]]
"""What the catalogs of a database say of themselves."""


@dataclass(frozen=True, slots=True)
class _Free:
    """A warehouse that is empty, and its form when it became so."""

    name: str
    form: Form


class Warehouses:
    """The warehouses of one process of the tests."""

    def __init__(self, postgres: EmbeddedPostgres, template: str) -> None:
        self._postgres = postgres
        self._template = template
        self._free: list[_Free] = []
        self._forms: dict[str, Form] = {}

    def take(self) -> str:
        """Return the URL of a migrated and otherwise empty warehouse."""
        if self._free:
            found = self._free.pop()
            name, form = found.name, found.form
        else:
            name = f"test_{secrets.token_hex(8)}"
            self._postgres.create_database(name, template=self._template)
            with self._enter(name) as connection:
                form = _form(connection)
        self._forms[name] = form
        return self._postgres.url(name)

    def give_back(self, url: str) -> None:
        """Empty a warehouse for the next test, or drop it if a test changed more than its rows."""
        name = url.rpartition("/")[2]
        form = self._forms.pop(name)
        try:
            with self._enter(name) as connection:
                connection.execute(_OTHERS, (_ENDED_WITHIN_MILLISECONDS,))
                if _form(connection) == form:
                    self._free.append(_Free(name, _emptied(connection)))
                    return
        except psycopg.errors.InvalidCatalogName:  # The test dropped it.
            return
        self._postgres.drop_database(name)

    def _enter(self, name: str) -> psycopg.Connection:
        return psycopg.connect(self._postgres.url(name, SUPERUSER), autocommit=True)


def _form(connection: psycopg.Connection) -> Form:
    return [row for query in (_FORM, _SETTINGS, _VERSIONS) for row in connection.execute(query).fetchall()]


def _emptied(connection: psycopg.Connection) -> Form:
    """Delete all rows, whatever keeps others from doing so, and return the form of the database after that."""
    connection.execute("SET session_replication_role = replica")
    filled = [str(row[0]) for row in connection.execute(_FILLED)]
    if filled:
        connection.execute(f"TRUNCATE {', '.join(filled)} CASCADE")
    connection.execute(_SEQUENCES)
    return _form(connection)
