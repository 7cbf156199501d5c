"""One small world and one tiny one, built once, and the servers of the small one, running."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import clock, folder
from sandbox.model import World
from sandbox.up import Sandbox, start
from sandbox.world import build_world
from tests.sandbox.places import FROM_ON, LATER, UNTIL_ON


@pytest.fixture(scope="session")
def small() -> World:
    return build_world(7, "small", FROM_ON, UNTIL_ON)


@pytest.fixture(scope="session")
def small_folder(small: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("world") / "small"
    folder.save(small, directory)
    clock.move_to(directory, LATER)
    return directory


@pytest.fixture(scope="session")
def running(small_folder: Path) -> Iterator[Sandbox]:
    with start(small_folder, awin_calls_per_minute=0) as sandbox:
        yield sandbox


@pytest.fixture
def tiny_folder(tmp_path: Path) -> Path:
    directory = tmp_path / "tiny"
    folder.save(build_world(1, "tiny", FROM_ON, UNTIL_ON), directory)
    return directory
