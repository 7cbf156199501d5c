"""A real PostgreSQL for the tests: one server a session for all workers, and a database of its own for each test."""

import fcntl
import gc
import os
import secrets
import signal
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from coverage import Coverage
from hypothesis import settings

from etl.core.embedded import EmbeddedPostgres
from tests.warehouses import Warehouses

# CI tries the same examples each time, so that it says something of the commit; everybody else tries new ones.
settings.register_profile("ci", derandomize=True, print_blob=True)
if os.environ.get("CI"):
    settings.load_profile("ci")

FOLDER = pytest.StashKey[Path]()
LONGEST_FIRST = (
    "sandbox_stack", "test_truth.py", "kill", "chain", "test_airflow_runs.py", "world", "remit", "cli", "report",
    "test_orders.py", "payout", "books", "accrue", "reconcile", "rederive",
)  # fmt: skip
"""Folders and files of tests that take longest."""
UNMEASURED = ("sandbox_stack", "kill", "test_kill.py", "chain", "world", "test_lived_month.py")
"""Folders and files whose tests run again what others run, measured: tracing them costs half as much as they do."""
# What a test writes need not survive a power cut, nor its passwords be hard to guess: 4096 rounds cost 2 ms an entry.
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "scram_iterations": "1"}


def pytest_configure(config: pytest.Config) -> None:
    """Name one folder for the whole session; workers are told it by the controller."""
    told = getattr(config, "workerinput", {}).get("postgres_folder")
    if told is not None:
        config.stash[FOLDER] = Path(told)
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # A session that is told to end stops its server, too.
    folder = Path(tempfile.mkdtemp(prefix="tallyback-tests-"))
    folder.chmod(0o711)  # Root's server account must be able to enter.
    config.stash[FOLDER] = folder / "postgres"


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker the folder (a hook of pytest-xdist)."""
    node.workerinput["postgres_folder"] = str(node.config.stash[FOLDER])


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the server and delete its folder, once, when all workers are done."""
    if not hasattr(config, "workerinput"):
        folder = config.stash[FOLDER]
        EmbeddedPostgres(folder).remove()
        for left in folder.parent.glob("*"):
            left.unlink()
        folder.parent.rmdir()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that no worker waits for another at the end."""
    rank = {name: place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: min(rank.get(part, len(rank)) for part in item.path.parts))


def pytest_collection_finish() -> None:
    """Let the garbage collector leave alone what was imported, and look less often: it took a twentieth of all time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


def pytest_sessionfinish() -> None:
    """Give the collector everything back: libraries complain of what is left at the interpreter's end."""
    gc.unfreeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Measure no coverage while a test of UNMEASURED runs, nor in the processes it starts."""
    measuring = Coverage.current() if set(item.path.parts) & set(UNMEASURED) else None
    if measuring is None:
        return (yield)
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
        measuring.stop()
        try:
            return (yield)
        finally:
            measuring.start()


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest) -> EmbeddedPostgres:
    """The session's server, running."""
    server = EmbeddedPostgres(request.config.stash[FOLDER], settings=FAST)
    server.start()
    return server


@pytest.fixture(scope="session")
def postgres_url(postgres: EmbeddedPostgres) -> str:
    """The URL of a database all tests share. Most tests want `database_url` or `warehouse_url` instead."""
    return postgres.url()


@pytest.fixture
def database_url(postgres: EmbeddedPostgres) -> Iterator[str]:
    """The URL of an empty database of this test's own."""
    name = f"test_{secrets.token_hex(8)}"
    yield postgres.create_database(name)
    postgres.drop_database(name)


@pytest.fixture(scope="session")
def migrated_template(postgres: EmbeddedPostgres) -> str:
    """The name of a database that is migrated and that nobody uses, made once a session."""
    from etl.core.warehouse import migrate

    done = postgres.data_dir.parent / "migrated"
    with (postgres.data_dir.parent / "migrated.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            postgres.drop_database("migrated")
            migrate(postgres.create_database("migrated"))
            done.touch()
    return "migrated"


@pytest.fixture(scope="session")
def warehouses(postgres: EmbeddedPostgres, migrated_template: str) -> Warehouses:
    """Migrated warehouses, used one after another."""
    return Warehouses(postgres, migrated_template)


@pytest.fixture
def warehouse_url(warehouses: Warehouses) -> Iterator[str]:
    """The URL of a migrated and otherwise empty warehouse that is this test's own while it runs."""
    url = warehouses.take()
    yield url
    warehouses.give_back(url)
