"""A tiny month with its lake in a bucket: the same books as with a folder, proved, traced, reported, and then still."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable

import pytest
from typer.testing import CliRunner

from etl.cli import app
from etl.core.s3_lake import S3Lake
from etl.installation import clock
from sandbox.judge import judge
from tests.lake.store import SECRET, keys_of, serving_buckets, uploads_of, values_of
from tests.world.conftest import House

MORNINGS = ["2026-09-25T06:30:00", "2026-11-20T06:30:00"]


@pytest.mark.timeout(900)
def test_a_tiny_month_lives_in_a_bucket(house_of: Callable[[str, int], House], monkeypatch: pytest.MonkeyPatch) -> None:
    house = house_of("tiny", 1)
    with serving_buckets() as endpoint:
        house.variables |= {
            "TALLYBACK_LAKE": "s3://tallyback/books",
            "TALLYBACK_LAKE_CONNECTION": "lake",
            "TALLYBACK_CONNECTION_LAKE": json.dumps(values_of(endpoint)),
            "TALLYBACK_LAKE_CACHE_BYTES": "100KB",
        }
        for name, value in house.variables.items():
            monkeypatch.setenv(name, value)
        # As a person would: the bucket is made once, and twice does no harm.
        for said in ("was made", "is there"):
            done = CliRunner().invoke(app, ["lake", "create"])
            assert said in done.stdout, done.output
        for morning in MORNINGS:
            house.live(morning)
        opened = house.installation
        lake = opened.lake
        assert isinstance(lake, S3Lake)
        assert SECRET not in repr(opened)
        verdict = judge(house.place, clock(opened.settings))
        assert verdict.sales >= 8
        assert verdict.right == verdict.findable == verdict.found
        assert verdict.problems == []
        kept = keys_of(lake)
        assert {key.split("/")[1] for key in kept} == {"raw", "parsed", "tracked", "remittances"}
        assert uploads_of(lake) == []
        assert not (house.place.home / "lake").exists()
        # Another machine has no copies: all is proved from the bucket.
        shutil.rmtree(opened.settings.temporary / "lake")
        assert house.stage("verify", "main").count("differences") == 0
        house.stage("report", "main")
        assert list(opened.settings.reports.rglob("*.html"))
        copies = (opened.settings.temporary / "lake" / "files").glob("*/*")
        assert sum(each.stat().st_size for each in copies) <= 100_000
        assert list((opened.settings.temporary / "lake" / "holders").glob("*/*-*")) == []
        house.live(MORNINGS[-1])
        assert keys_of(lake) == kept
