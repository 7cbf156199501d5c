"""Whole worlds for tests: a sandbox with its servers, an installation of its own, and the mornings it lives through."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from etl.core.context import StageResult
from etl.core.embedded import EmbeddedPostgres
from etl.core.settings import Settings
from etl.installation import Installation, clock, credentials_from_environment, open_installation
from etl.pipeline import Task, run_day, run_stage
from sandbox import up
from sandbox.house import Place, advance, environment, prepare

MORNINGS = [f"{day}T06:30:00" for day in ("2026-09-09", "2026-09-17", "2026-09-25", "2026-10-02", "2026-11-20")]
"""Four weeks in which what comes late is seen coming late, and once when partners have validated."""


@dataclass(slots=True)
class House:
    """A prepared world whose servers run, and ways to let it live."""

    place: Place
    variables: dict[str, str]
    runs: int = 0

    @property
    def installation(self) -> Installation:
        names = {name.removeprefix("TALLYBACK_").lower(): value for name, value in self.variables.items()}
        known = {name: value for name, value in names.items() if name in Settings.model_fields}
        return open_installation(Settings.model_validate(known))

    def live(self, morning: str) -> dict[str, StageResult]:
        """Run the day of `morning` through all stages; return what each did, by stage and key."""
        advance(self.place, morning)
        opened = self.installation
        self.runs += 1
        results = run_day(
            opened,
            clock(opened.settings).date(),
            run_id=f"test/{self.runs}",
            known_at=clock(opened.settings),
            actor="test",
            credentials=credentials_from_environment(self.variables),
            told=lambda _: None,
        )
        return {f"{result.stage} {result.key}": result for result in results}

    def stage(self, stage: str, key: str, actor: str = "robin") -> StageResult:
        """Run one stage now."""
        opened = self.installation
        self.runs += 1
        return run_stage(
            opened,
            Task(stage, key, clock(opened.settings).date()),
            run_id=f"test/{self.runs}",
            known_at=clock(opened.settings),
            actor=actor,
            credentials=credentials_from_environment(self.variables),
        )

    def prove(self) -> None:
        """Check that the books prove themselves."""
        result = self.stage("verify", "main")
        assert result.count("checks") > 5
        assert result.count("differences") == 0


@pytest.fixture(scope="module")
def house_of(postgres: EmbeddedPostgres) -> Iterator[Callable[[str, int], House]]:
    """Return a maker of houses by size and seed; all end with the module's tests."""
    root = Path(tempfile.mkdtemp(prefix="tallyback-world-"))
    running: list[up.Sandbox] = []
    names: list[str] = []

    def make(size: str, seed: int) -> House:
        place = Place(root, f"{size}_{seed}_{root.name[-6:].lower()}", postgres)
        names.append(place.name)
        url = prepare(place, seed=seed, size=size, orders=None, rates=None)
        running.append(up.start(place.world, awin_calls_per_minute=0))
        return House(place, environment(place, url))

    yield make
    for each in running:
        each.stop()
    for name in names:
        for database in ("tallyback", "tracker", "airflow"):
            postgres.drop_database(f"{database}_{name}")
    shutil.rmtree(root)
