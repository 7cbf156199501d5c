"""The benchmark of parsing parses what it says: ours and the floor see the same rows of every dialect."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.parse import DIALECTS, FLOORS, generate, landed, ours
from bench.world import House
from etl.core.embedded import EmbeddedPostgres


def test_ours_and_the_floor_read_the_same_rows_of_every_dialect(
    tmp_path: Path, postgres: EmbeddedPostgres, migrated_template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(House, "server", property(lambda _: postgres))
    # On the same server other tests may live in another house.
    monkeypatch.setattr(House, "database", "bench_parse")
    generate(tmp_path, "answers", 2_000)
    try:
        postgres.create_database("bench_parse_fresh", template=migrated_template)
        for dialect in DIALECTS:
            landed(dialect, "answers", tmp_path)
            assert ours(dialect, tmp_path) == FLOORS[dialect](dialect, tmp_path) == 2_000, dialect
    finally:
        for name in ("bench_parse", "bench_parse_fresh"):
            postgres.drop_database(name)
