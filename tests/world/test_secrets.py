"""No secret in a log, a lake, a report or the warehouse: after a morning, every place is searched for known ones."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import psycopg
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from etl.installation import clock
from etl.pipeline import approve_batch, batch_facts
from tests.world.conftest import House

CHECKOUT = Path(__file__).parents[2]
MUCH_LATER = "2026-11-20T06:30:00"
# The command line with every library's log turned up to the last word.
DRIVER = """
import logging, sys
logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
from etl.cli import main
main()
"""


def spellings(secret: str) -> set[bytes]:
    """Return the ways in which a secret could be written down."""
    encoded = base64.b64encode(secret.encode()).decode().rstrip("=")
    return {text.encode() for text in (secret, quote(secret, safe=""), json.dumps(secret)[1:-1], encoded, secret[::-1])}


def secrets_of(house: House) -> dict[str, str]:
    """Return what must not be seen anywhere, by a name that may."""
    told = json.loads((house.place.world / "credentials.json").read_text())
    out = {
        f"{connection} {name}": str(value)
        for connection, values in told.items()
        for name, value in values.items()
        if name in ("token", "passphrase", "password")
    }
    for name, url in (("warehouse", house.variables["TALLYBACK_WAREHOUSE_URL"]), ("tracker", told["tracker"]["url"])):
        password = urlsplit(url).password
        if password:
            out[f"{name} password"] = unquote(password)
    keys = json.loads((house.place.home / "keys").read_text())
    out |= {f"key {number}": text for number, text in enumerate(_texts(keys)) if len(text) > 30}
    engine = sa.create_engine(told["tracker"]["url"])
    with engine.connect() as connection:
        for number, (iban,) in enumerate(connection.execute(sa.text("SELECT iban FROM users")).fetchall()):
            out[f"iban {number}"] = str(iban)
    engine.dispose()
    return out


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, str):
        yield value


def tallyback(house: House, *arguments: str, **variables: str) -> tuple[int, bytes]:
    """Run a command; return its exit status and all it said."""
    environment = {**os.environ, **house.variables, "TALLYBACK_PERSON": "robin", **variables}
    command = [sys.executable, "-c", DRIVER, *arguments]
    done = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, check=False)
    return done.returncode, done.stdout + done.stderr


def places(house: House) -> Iterator[tuple[str, bytes]]:
    """Yield every file that a run leaves, and every row of the warehouse but what is encrypted in `pii`."""
    for folder in ("lake", "temporary", "reports", "config"):
        for path in sorted((house.place.home / folder).rglob("*")):
            if path.is_file():
                name = path.relative_to(house.place.home).as_posix()
                yield name, path.read_bytes()
                if path.suffix == ".parquet":
                    yield name, repr(pq.ParquetFile(path).read().to_pylist()).encode()
    with psycopg.connect(house.variables["TALLYBACK_WAREHOUSE_URL"]) as connection:
        tables = connection.execute(
            "SELECT schemaname || '.' || tablename FROM pg_tables"
            " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        for (table,) in tables:
            rows = connection.execute(f"SELECT t::text FROM {table} AS t").fetchall()
            yield str(table), "\n".join(str(row[0]) for row in rows).encode()


@pytest.mark.timeout(900)
def test_no_secret_is_left_anywhere_by_a_morning_and_a_payout(house_of: Callable[[str, int], House]) -> None:
    house = house_of("tiny", 3)
    hidden = secrets_of(house)
    assert len([name for name in hidden if not name.startswith("iban")]) >= 6
    assert len([name for name in hidden if name.startswith("iban")]) >= 5
    house.live(MUCH_LATER)
    said: dict[str, bytes] = {}

    def run(*arguments: str, expected: int = 0, **variables: str) -> None:
        status, said[" ".join(arguments)] = tallyback(house, *arguments, **variables)
        assert status == expected, said[" ".join(arguments)].decode()[-2000:]

    run("run")
    run("payout", "select", "house_bank")
    opened = house.installation
    now = clock(opened.settings)
    facts = batch_facts(opened, "house_bank", run_id="look", known_at=now)
    assert facts is not None
    approve_batch(opened, facts.batch_id, facts.sha256, person="alex", run_id="approve", known_at=now)
    run("payout", "transmit", facts.batch_id)
    run("report", "--month", "2026-09")
    run("doctor")
    # What goes wrong says more than what goes well.
    wrong = {"token": "a-token-that-is-wrong-but-still-secret", "passphrase": "a-passphrase-that-is-wrong"}
    for partner, (name, value) in zip(("awin", "tradetracker"), wrong.items(), strict=True):
        hidden[f"wrong {name}"] = value
        variable = f"TALLYBACK_CONNECTION_{partner.upper()}"
        told = json.loads(house.variables[variable]) | {name: value}
        run("fetch", f"{partner}_main", "--from", "2026-09-01", "--until", "2026-09-03", expected=1,
            **{variable: json.dumps(told)})  # fmt: skip
    assert min(len(text) for text in said.values()) > 20
    found = []
    for place, content in (*said.items(), *places(house), ("settings", repr(opened).encode())):
        for name, secret in hidden.items():
            if name.startswith("iban") and place.startswith("config/"):
                continue
            found += [(place, name) for spelling in spellings(secret) if spelling in content]
    assert found == []


def test_a_secret_that_was_left_would_be_found() -> None:
    secret = "k/9+Zz=x"
    left = [secret, "k%2F9%2BZz%3Dx", base64.b64encode(secret.encode()).decode()]
    assert all(any(spelling in f"Bearer {text}.".encode() for spelling in spellings(secret)) for text in left)


def test_the_repository_holds_no_private_key() -> None:
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=CHECKOUT, capture_output=True, check=True).stdout
    names = [name for name in tracked.decode().split("\0") if name]
    assert len(names) > 100
    marks = [b"PRIVATE KEY" + b"-----", b"AKIA" + b"IOSF"]
    found = [name for name in names if any(mark in (CHECKOUT / name).read_bytes() for mark in marks)]
    assert found == []
