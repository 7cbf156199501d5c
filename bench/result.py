"""What a benchmark says: one JSON object, or a few lines for a person."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from bench.machine import machine_facts
from bench.measure import Timing


@dataclass(frozen=True, slots=True)
class Result:
    """`ratio` is seconds over floor_seconds; `notes` are more figures, by name."""

    name: str
    rows: int
    ours: Timing
    floor: Timing
    peers: dict[str, Timing] = field(default_factory=dict)
    notes: dict[str, float | int | str] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        """Return how many times the floor's time ours took."""
        return self.ours.seconds / self.floor.seconds

    def as_json(self) -> str:
        """Return the result as one line of JSON."""
        return json.dumps(
            {
                "name": self.name,
                "rows": self.rows,
                "seconds": round(self.ours.seconds, 3),
                "rows_per_second": round(self.rows / self.ours.seconds),
                "floor_seconds": round(self.floor.seconds, 3),
                "ratio": round(self.ratio, 2),
                "peers": {name: round(timing.seconds, 3) for name, timing in self.peers.items()},
                "peak_mb": self.ours.peak_mb,
                "processor_seconds": round(self.ours.processor_seconds, 3),
                "floor_processor_seconds": round(self.floor.processor_seconds, 3),
                **self.notes,
                "machine": machine_facts(),
            }
        )

    def lines(self) -> list[str]:
        """Return the result as lines for a person."""
        told = [
            f"{self.name}: {self.rows:,} rows in {self.ours.seconds:.2f} s "
            f"({self.rows / self.ours.seconds:,.0f} rows/s), peak {self.ours.peak_mb:,} MB",
            f"  floor  {self.floor.seconds:.2f} s: {self.ratio:.2f} x the floor",
        ]
        for name, timing in self.peers.items():
            times = timing.seconds / self.ours.seconds
            told.append(f"  {name}  {timing.seconds:.2f} s ({times:.1f} x ours), peak {timing.peak_mb:,} MB")
        told += [f"  {name.replace('_', ' ')}: {value}" for name, value in self.notes.items()]
        return told
