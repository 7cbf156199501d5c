"""The benchmark on one and on two workers runs, and says what it promises to say."""

from __future__ import annotations

import json

import pytest

from bench.__main__ import main


@pytest.mark.timeout(1800)
def test_the_same_match_on_one_and_on_two_workers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["spark", "--json", "--rows", "2000", "--repeat", "1"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {"name": "spark", "rows": 2_000, "clicks": 20_000, "rows_equal": "yes"}.items() <= said.items()
    assert said["seconds"] > 0 < said["floor_seconds"]
    assert said["peers"]["one worker"] > 0
    # Java's own memory is found among the machine's processes, and start-up is no part of the time.
    assert said["java_peak_mb_two_workers"] > said["java_peak_mb_one_worker"] > 300
    assert said["startup_seconds_two_workers"] > 1
