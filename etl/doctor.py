"""Look an installation over: what is missing or wrong, and the next step for each; nothing secret in any answer.

Every check is made whatever the ones before found, so that one look shows all there is to do. What only a run needs
(Java, PySpark) is a note: it is ok, and says how to get it.
"""

from __future__ import annotations

import difflib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import psycopg
from alembic.config import Config
from alembic.script import ScriptDirectory
from psycopg import sql
from pydantic import TypeAdapter, ValidationError

from etl.core.configuration import Configuration, SparkSettings, load, problems
from etl.core.connector import Credentials
from etl.core.encryption import key_ring_from_file
from etl.core.engine import Engine
from etl.core.errors import Stop
from etl.core.iban import InvalidIban, checked_iban
from etl.core.lake import is_in_bucket
from etl.core.settings import Settings
from etl.core.spark_session import missing
from etl.core.warehouse import APPROVER, MIGRATIONS, PIPELINE

PREFIX = "TALLYBACK_"
SERVER_VERSION_MIN = 15
FREE_BYTES_MIN = 1 << 30
CLOCK_DIFFERENCE_MAX = timedelta(minutes=5)
CONNECT_SECONDS = 5
_SECRET = "warehouse_url"
_REFERENCE_FILES = ("programs.csv", "cashback_rules.csv")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: whether it is as it must be, what was found, and what to do (also for a mere note)."""

    name: str
    is_ok: bool
    found: str
    next_step: str = ""


@dataclass(frozen=True, slots=True)
class _Place:
    """The settings that could be read; one that could not is missing here and has a finding of its own."""

    paths: Mapping[str, Path]
    memory_limit: str
    warehouse_url: str | None = field(repr=False)
    # Set for a lake in a bucket; one in a folder is among the paths.
    bucket: str | None = field(repr=False)
    lake_connection: str | None


def diagnose(environment: Mapping[str, str], now: datetime, credentials: Callable[[str], Credentials]) -> list[Finding]:
    """Return what was looked at, in the order in which to repair it.

    `environment` holds the settings, `now` is the machine's clock (naive UTC), `credentials` returns the secrets of a
    connection by name or raises Stop. Writes one temporary file into the lake's folder and takes it away again; in a
    lake's bucket one small object stays, as the key may not be allowed to delete.
    """
    found, place = _settings(environment)
    configuration, configured = _configuration(place)
    found += configured
    if configuration is not None:
        found += _connections(configuration, credentials)
        found += _banks(configuration)
    found += _warehouse(place.warehouse_url, now)
    found += _folders(place)
    found += _bucket(place, credentials)
    found.append(_key_file(place))
    found += _reference(place)
    found.append(_engine(place))
    found += _disk(place)
    found += _clock(place, now)
    found.append(_spark(None if configuration is None else configuration.spark))
    return found


def _settings(environment: Mapping[str, str]) -> tuple[list[Finding], _Place]:
    found: list[Finding] = []
    paths: dict[str, Path] = {}
    texts: dict[str, str] = {}
    for name, setting in Settings.model_fields.items():
        variable = f"{PREFIX}{name.upper()}"
        text = environment.get(variable)
        meaning = setting.description or ""
        if text is None:
            if setting.is_required():
                found.append(Finding(variable, False, "not set", f"set it: {meaning}"))
                continue
            value = setting.default
            shown = "not set" if value is None else f"{value} (unless set)"
        else:
            try:
                value = TypeAdapter(setting.annotation or str).validate_python(text)
            except ValidationError:
                found.append(Finding(variable, False, "not usable as it is", f"correct it: {meaning}"))
                continue
            # In a bucket's name a person may have put its key.
            shown = "set" if name == _SECRET or "@" in str(value) else str(value)
        found.append(Finding(variable, True, f"{shown}: {meaning}"))
        if isinstance(value, Path):
            paths[name] = value.absolute()
        elif text is not None:
            texts[name] = text
        elif isinstance(value, str):
            texts[name] = value
    found += _misspelt(environment)
    lake = texts.get("lake", "")
    if not is_in_bucket(lake):
        paths["lake"] = Path(lake).absolute()
    bucket = lake if is_in_bucket(lake) else None
    memory_limit = texts.get("memory_limit", "2GB")
    return found, _Place(paths, memory_limit, texts.get(_SECRET), bucket, texts.get("lake_connection"))


def _misspelt(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Yield the variables that are no setting but nearly one: pydantic would pass them over without a word."""
    known = [name.upper() for name in Settings.model_fields]
    for variable in sorted(environment):
        name = variable.removeprefix(PREFIX)
        if name == variable or name.startswith("CONNECTION_") or name in known:
            continue
        if near := difflib.get_close_matches(name, known, 1, 0.8):
            yield Finding(
                variable, False, "no setting of this name", f"rename it to {PREFIX}{near[0]}, or take it away"
            )


def _configuration(place: _Place) -> tuple[Configuration | None, list[Finding]]:
    folder = place.paths.get("configuration")
    if folder is None:
        return None, []
    if faults := problems(folder):
        return None, [Finding("configuration", False, fault, "correct it, then look again") for fault in faults]
    configuration = load(folder)
    counts = f"{len(configuration.accounts)} partner accounts, {len(configuration.click_sources)} click sources"
    found = Finding("configuration", True, f"{counts}, {len(configuration.banks)} banks")
    if not configuration.accounts or not configuration.click_sources:
        step = f"nothing can be reconciled without both: add them under {folder} (docs/how-to-add-a-partner.md)"
        found = Finding("configuration", False, found.found, step)
    return configuration, [found]


def _connections(configuration: Configuration, credentials: Callable[[str], Credentials]) -> Iterator[Finding]:
    users: dict[str, list[str]] = {}
    pairs = [(item.connection, item.name) for item in configuration.accounts]
    pairs += [(item.connection, item.name) for item in configuration.click_sources]
    pairs += [(item.connection, item.name) for item in configuration.banks]
    for connection, name in pairs:
        users.setdefault(connection, []).append(name)
    for connection, names in users.items():
        title = f"connection {connection}"
        try:
            values = credentials(connection).values
        except Stop as error:
            yield Finding(title, False, f"{', '.join(names)} cannot log in", str(error))
            continue
        empty = sorted(key for key, value in values.items() if not value)
        if empty or not values:
            yield Finding(title, False, f"empty: {', '.join(empty) or 'all of it'}", "enter the values")
        else:
            yield Finding(title, True, f"for {', '.join(names)}: has {', '.join(sorted(values))}")


def _banks(configuration: Configuration) -> Iterator[Finding]:
    for bank in configuration.banks:
        try:
            shown = str(checked_iban(bank.debtor_iban))
        except InvalidIban as error:
            yield Finding(f"bank {bank.name}", False, str(error), f"correct debtor_iban in banks/{bank.name}.yaml")
        else:
            yield Finding(f"bank {bank.name}", True, f"pays from {shown} in {bank.currency}")


def _warehouse(url: str | None, now: datetime) -> Iterator[Finding]:
    if url is None:
        return
    try:
        with psycopg.connect(url, connect_timeout=CONNECT_SECONDS, autocommit=True) as connection:
            yield from _server(connection, now)
            yield from _schema(connection)
    except psycopg.Error as error:
        # The text of the error may quote the URL; its kind is enough.
        step = f"is PostgreSQL up, and {PREFIX}WAREHOUSE_URL right (postgresql://user:password@host:port/database)?"
        yield Finding("warehouse", False, f"does not answer ({type(error).__name__})", step)


def _server(connection: psycopg.Connection[tuple[object, ...]], now: datetime) -> Iterator[Finding]:
    version = connection.info.server_version // 10_000
    step = "" if version >= SERVER_VERSION_MIN else f"move to PostgreSQL {SERVER_VERSION_MIN} or later"
    yield Finding("warehouse", not step, f"PostgreSQL {version} answers", step)
    row = connection.execute("SELECT clock_timestamp() AT TIME ZONE 'UTC', current_setting('server_encoding')")
    there, encoding = row.fetchone() or (now, "")
    assert isinstance(there, datetime)
    step = "" if encoding == "UTF8" else "make the database anew: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
    yield Finding("warehouse encoding", not step, str(encoding), step)
    apart = abs(there - now)
    step = "" if apart <= CLOCK_DIFFERENCE_MAX else "set both clocks by NTP: days and deadlines depend on them"
    yield Finding("clocks", not step, f"machine and warehouse are {apart.total_seconds():.0f} s apart", step)


def _schema(connection: psycopg.Connection[tuple[object, ...]]) -> Iterator[Finding]:
    configuration = Config()
    configuration.set_main_option("script_location", str(MIGRATIONS / "alembic"))
    wanted = ScriptDirectory.from_config(configuration).get_current_head()
    try:
        row = connection.execute("SELECT version_num FROM public.tallyback_version").fetchone()
    except psycopg.errors.UndefinedTable:
        row = None
    except psycopg.errors.InsufficientPrivilege:
        yield Finding("warehouse schema", False, "may not be read by this login", "connect as the owner, or a member")
        return
    actual = "none" if row is None else str(row[0])
    if actual != wanted:
        yield Finding("warehouse schema", False, f"{actual}, not {wanted}", "run: tallyback db migrate (as the owner)")
        return
    yield Finding("warehouse schema", True, actual)
    for role in (PIPELINE, APPROVER):
        try:
            connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
            connection.execute("RESET ROLE")
        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.InvalidParameterValue):
            step = f"as the owner: GRANT {role} TO the login of {PREFIX}WAREHOUSE_URL"
            yield Finding(f"role {role}", False, "this login cannot take it", step)
        else:
            yield Finding(f"role {role}", True, "can be taken")


def _nearest(path: Path) -> Path:
    """Return `path`, or the nearest folder above it that is there: a folder of ours is made when first used."""
    return next(each for each in (path, *path.parents) if each.exists())


def _folders(place: _Place) -> Iterator[Finding]:
    for name in ("lake", "temporary", "reports"):
        if (path := place.paths.get(name)) is None:
            continue
        try:
            with tempfile.TemporaryFile(dir=_nearest(path)):
                pass
        except OSError as error:
            yield Finding(name, False, f"{path} cannot be written: {error.strerror}", "look at its owner and mode")
        else:
            yield Finding(name, True, f"{path} can be written" + ("" if path.exists() else " (made when first used)"))


def _bucket(place: _Place, credentials: Callable[[str], Credentials]) -> Iterator[Finding]:
    """Yield what came of trying the lake's bucket, as a worker would use it."""
    if place.bucket is None:
        return
    # boto3 takes a third of a second to import, which a lake in a folder does not need.
    from etl.core.lake_probe import probe
    from etl.core.s3_lake import open_s3_lake

    connection = place.lake_connection
    try:
        values = {} if connection is None else credentials(connection).values
        lake = open_s3_lake(place.bucket, values, connection or "", place.paths["temporary"], 0)
    except Stop as error:
        yield Finding("lake", False, "its bucket cannot be reached", str(error))
        return
    for each in probe(lake):
        yield Finding(each.name, not each.next_step, each.found, each.next_step)


def _key_file(place: _Place) -> Finding:
    path = place.paths["key_file"]
    if not path.is_file():
        step = f"run: tallyback keys create {path}; then keep a copy apart from the database"
        return Finding("key file", False, f"there is no {path}", step)
    try:
        ring = key_ring_from_file(path)
    except Stop as error:
        return Finding("key file", False, str(error), "without it no IBAN can be read or written")
    return Finding("key file", True, f"{path}, readable by its owner alone, {len(ring.keys)} keys")


def _reference(place: _Place) -> Iterator[Finding]:
    folder = place.paths.get("reference")
    if folder is None:
        step = f"set {PREFIX}REFERENCE to a folder with {' and '.join(_REFERENCE_FILES)}"
        yield Finding("reference", False, "no programs and cashback rules are named", step)
    else:
        missing = [name for name in _REFERENCE_FILES if not (folder / name).is_file()]
        step = f"put {' and '.join(missing)} there" if missing else ""
        yield Finding("reference", not missing, str(folder), step)
    rates = place.paths.get("rates")
    if rates is None:
        step = f"set {PREFIX}RATES to the ECB's eurofxref-hist file"
        yield Finding("rates", False, "no exchange rates are named", step)
    else:
        step = "" if rates.is_file() else "put the ECB's eurofxref-hist file there (csv, zip or gz)"
        yield Finding("rates", not step, str(rates), step)


def _engine(place: _Place) -> Finding:
    try:
        with Engine(place.memory_limit).connect() as connection:
            connection.execute("SELECT sum(range)::decimal(18, 4) FROM range(1000)").fetchone()
    except (duckdb.Error, OSError) as error:
        step = f"is {PREFIX}MEMORY_LIMIT an amount such as 2GB? Else install the pinned requirements anew"
        return Finding("engine", False, f"DuckDB does not run ({type(error).__name__})", step)
    return Finding("engine", True, f"DuckDB {duckdb.__version__} with {place.memory_limit}")


def _disk(place: _Place) -> Iterator[Finding]:
    devices: dict[int, tuple[str, Path]] = {}
    for name in ("lake", "temporary", "reports"):
        if (path := place.paths.get(name)) is not None:
            there = _nearest(path)
            devices.setdefault(there.stat().st_dev, (name, there))
    for name, there in devices.values():
        free = shutil.disk_usage(there).free
        step = "" if free >= FREE_BYTES_MIN else f"free at least {FREE_BYTES_MIN / 1e9:.1f} GB"
        yield Finding(f"disk of {name}", not step, f"{free / 1e9:.1f} GB free", step)


def _clock(place: _Place, now: datetime) -> Iterator[Finding]:
    path = place.paths.get("clock")
    if path is None:
        return
    try:
        simulated = datetime.fromisoformat(str(json.loads(path.read_text(encoding="utf-8"))["now"]))
    except (OSError, ValueError, KeyError, TypeError):
        yield Finding("clock", False, f"{path} holds no simulated now", f"take {PREFIX}CLOCK away, or name clock.json")
        return
    step = f"for a real installation take {PREFIX}CLOCK away"
    yield Finding("clock", True, f"a sandbox's clock says {simulated:%Y-%m-%d %H:%M}, the machine {now:%Y-%m-%d}", step)


def _spark(chosen: SparkSettings | None) -> Finding:
    step = missing((chosen or SparkSettings()).master)
    if chosen is None:
        found = f"not chosen; {'it could not be used' if step else 'PySpark and Java are there'}"
        return Finding("spark", True, found, f"only if you choose it: {step}" if step else "")
    return Finding("spark", not step, f"the engine, at {chosen.master}", step)
