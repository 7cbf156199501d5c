"""One installation opened for use: configuration, warehouse, lake, engine, and the credentials of its connections."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from etl.core.configuration import Configuration, load
from etl.core.connector import Credentials
from etl.core.context import Context
from etl.core.encryption import KeyRing, key_ring_from_file
from etl.core.engine import Engine, SqlEngine
from etl.core.errors import Stop
from etl.core.lake import FolderLake, Lake, is_in_bucket
from etl.core.settings import Settings
from etl.core.warehouse import Warehouse

CredentialsOf = Callable[[str], Credentials]
"""Returns the secrets of a connection by its name: from the environment, or from Airflow's connections."""


@dataclass(frozen=True, slots=True)
class Installation:
    """What the settings point at, opened; nothing is connected before it is used."""

    settings: Settings
    configuration: Configuration
    warehouse: Warehouse
    lake: Lake
    engine: SqlEngine

    def context(self, run_id: str, known_at: datetime, actor: str) -> Context:
        """Return what a stage is handed for one run."""
        temporary = self.settings.temporary.absolute()
        temporary.mkdir(parents=True, exist_ok=True)
        return Context(
            run_id=run_id,
            known_at=known_at,
            configuration=self.configuration,
            warehouse=self.warehouse,
            lake=self.lake,
            engine=self.engine,
            temporary=temporary,
            actor=actor,
        )

    def key_ring(self) -> KeyRing:
        """Return the keys that encrypt personal data; Stop with what to run if there are none."""
        if not self.settings.key_file.exists():
            raise Stop(f"there is no key file {self.settings.key_file}: make one with `tallyback keys create`")
        return key_ring_from_file(self.settings.key_file)


def open_installation(settings: Settings, credentials: CredentialsOf | None = None) -> Installation:
    """Return the installation that `settings` describe; Stop with every problem of its configuration.

    `credentials` (the environment's if absent) are asked for the lake's connection, if the settings name one.
    """
    configuration = load(settings.configuration)
    return Installation(
        settings=settings,
        configuration=configuration,
        warehouse=Warehouse(settings.warehouse_url.get_secret_value()),
        lake=_lake(settings, credentials or credentials_from_environment()),
        engine=_engine(settings, configuration),
    )


def _engine(settings: Settings, configuration: Configuration) -> SqlEngine:
    local = Engine(settings.memory_limit, temporary=settings.temporary.absolute() / "spill")
    if configuration.spark is None:
        return local
    # What translates takes half a second to import, which DuckDB does not need.
    from etl.core.spark import SparkEngine

    return SparkEngine(configuration.spark, local)


def _lake(settings: Settings, credentials: CredentialsOf) -> Lake:
    if not is_in_bucket(settings.lake):
        return FolderLake(Path(settings.lake).absolute())
    # boto3 takes a third of a second to import, which a lake in a folder does not need.
    from etl.core.s3_lake import open_s3_lake

    connection = settings.lake_connection
    values = {} if connection is None else credentials(connection).values
    cache = settings.temporary.absolute() / "lake"
    return open_s3_lake(settings.lake, values, connection or "", cache, settings.lake_cache_bytes)


def credentials_from_environment(environment: Mapping[str, str] | None = None) -> CredentialsOf:
    """Return a reader of `TALLYBACK_CONNECTION_<NAME>` variables, each a JSON object of names and values."""
    variables = os.environ if environment is None else environment

    def read(connection: str) -> Credentials:
        name = f"TALLYBACK_CONNECTION_{connection.upper()}"
        text = variables.get(name)
        if text is None:
            raise Stop(f"the connection {connection} is not set: put a JSON object of its values into {name}")
        try:
            values = json.loads(text)
        except ValueError:
            # The text is secret: neither it nor the place of the fault is shown.
            raise Stop(f'{name} is not a JSON object such as {{"token": "…"}}: correct it') from None
        if not isinstance(values, dict):
            raise Stop(f'{name} is not a JSON object such as {{"token": "…"}}: correct it')
        return Credentials({str(key): str(value) for key, value in values.items()})

    return read


def clock(settings: Settings) -> datetime:
    """Return now as naive UTC: the machine's clock, or the sandbox's where one is set."""
    return machine_clock() if settings.clock is None else read_clock(settings.clock)


def machine_clock() -> datetime:
    """Return the machine's now as naive UTC, whatever the settings say.

    The one place that reads it, for commands and DAGs: they hand on what they got, and no stage asks.
    """
    return datetime.now(UTC).replace(tzinfo=None)


def read_clock(path: Path) -> datetime:
    """Return the simulated now of a sandbox's clock file."""
    text = str(json.loads(path.read_text(encoding="utf-8"))["now"])
    return datetime.fromisoformat(text).astimezone(UTC).replace(tzinfo=None)
