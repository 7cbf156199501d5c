"""What every stage is handed: whose books, where things are, which run this is and what time it is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from etl.core.configuration import Configuration, Entity
from etl.core.engine import SqlEngine
from etl.core.lake import Lake
from etl.core.warehouse import Warehouse


@dataclass(frozen=True, slots=True)
class Context:
    """One run of a stage. `known_at` is the driver's clock (naive UTC), `actor` the person or service that runs it."""

    run_id: str
    known_at: datetime
    configuration: Configuration
    warehouse: Warehouse
    lake: Lake
    engine: SqlEngine
    temporary: Path
    actor: str

    @property
    def entity(self) -> Entity:
        """Return the entity whose books these are."""
        return self.configuration.entity


@dataclass(frozen=True, slots=True)
class StageResult:
    """What a stage did, in counts with names, and a sentence for the person who watches."""

    stage: str
    key: str
    counts: tuple[tuple[str, int], ...]
    note: str

    def count(self, name: str) -> int:
        """Return the count `name`, 0 if the stage counted no such thing."""
        return dict(self.counts).get(name, 0)
