"""The DAG files load from an absolute path, quickly and lightly, and say what they do."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .conftest import DAG_IDS, DAGS

LINES_MAX = 80
LIBRARIES = {"tallyback_approval", "tallyback_settings", "tallyback_stage"}
FILES = sorted(path for path in DAGS.glob("tallyback_*.py") if path.stem not in LIBRARIES)
ASSETS = [
    "tallyback/awin_main",
    "tallyback/awin_second",
    "tallyback/clicks/tracker",
    "tallyback/rakuten_us",
    "tallyback/rates",
    "tallyback/reference",
]
STEPS = {
    "tallyback__clicks": ["clicks_tracker"],
    "tallyback__ingest__awin_main": ["fetch", "parse", "validate"],
    "tallyback__payout__sepa": ["ask_release", "payout", "approve", "record_approval", "transmit"],
    "tallyback__rates": ["rates"],
    "tallyback__reconcile_accrue": ["reconcile", "remit", "accrue"],
    "tallyback__reference": ["reference"],
    "tallyback__report": ["report"],
    "tallyback__verify": ["verify"],
}


def probe(home: Path, **environment: str) -> dict[str, Any]:
    """Return what a process of its own finds in the absolute folder of DAGs."""
    assert DAGS.is_absolute()
    ours = {name: text for name, text in os.environ.items() if not name.startswith(("AIRFLOW", "TALLYBACK"))}
    command = [sys.executable, str(Path(__file__).with_name("probe.py")), str(DAGS)]
    airflow = {"AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    done = subprocess.run(
        command, env={**ours, **airflow, **environment}, cwd=home, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def found(airflow_home: Path, configuration: Path) -> dict[str, Any]:
    return probe(airflow_home, TALLYBACK_CONFIGURATION=str(configuration), TALLYBACK_POOLS="connection")


def test_all_load_without_an_error_under_their_exact_ids(found: dict[str, Any]) -> None:
    assert found["errors"] == {}
    assert set(found["dags"]) == DAG_IDS
    assert {dag["serialized"] for dag in found["dags"].values()} == DAG_IDS


def test_reading_them_imports_nothing_heavy_and_none_of_our_stages(found: dict[str, Any]) -> None:
    assert found["heavy"] == []
    assert len(found["seconds"]) == len(FILES)
    # A generous limit, as the machine may be busy: what it guards against, importing pandas say, takes seconds.
    assert max(found["seconds"].values()) < 3


def test_every_dag_says_what_it_reads_and_writes_and_what_to_do(found: dict[str, Any]) -> None:
    for dag_id, dag in found["dags"].items():
        text = " ".join((dag["doc"] or "").split())
        for word in ("**Reads**", "**Writes**", "**Re-run**", "**If it fails**", "docs/runbooks/"):
            assert word in text, (dag_id, word)
        runbook = text.rpartition("See ")[2].rstrip(".")
        assert (DAGS.parent / runbook).is_file(), (dag_id, runbook)
        assert (dag["catchup"], dag["max_active_runs"]) == (False, 1), dag_id


def test_tasks_stand_in_their_order(found: dict[str, Any]) -> None:
    for dag_id, steps in STEPS.items():
        tasks = found["dags"][dag_id]["tasks"]
        expected = {step: [before] if before else [] for before, step in zip([None, *steps], steps, strict=False)}
        assert {name: task["upstream"] for name, task in tasks.items()} == expected, dag_id


def test_what_is_ingested_or_loaded_starts_reconcile_and_accrue(found: dict[str, Any]) -> None:
    assert found["dags"]["tallyback__reconcile_accrue"]["assets"] == ASSETS
    made = sorted(name for dag in found["dags"].values() for task in dag["tasks"].values() for name in task["outlets"])
    assert made == ASSETS
    assert found["dags"]["tallyback__ingest__awin_main"]["tasks"]["validate"]["outlets"] == ["tallyback/awin_main"]


def test_every_task_may_be_tried_again_and_tells_when_it_fails(found: dict[str, Any]) -> None:
    tasks = [task for dag in found["dags"].values() for task in dag["tasks"].values()]
    assert len(tasks) == 22
    assert {(task["retries"], task["has_policy"], task["tells"]) for task in tasks} == {(3, True, True)}


def test_accounts_that_share_a_connection_share_its_pool_and_only_fetches_wait_for_it(found: dict[str, Any]) -> None:
    pools = {
        (dag_id, name): task["pool"] for dag_id, dag in found["dags"].items() for name, task in dag["tasks"].items()
    }
    assert pools["tallyback__ingest__awin_main", "fetch"] == "tallyback_awin"
    assert pools["tallyback__ingest__awin_second", "fetch"] == "tallyback_awin"
    assert pools["tallyback__ingest__rakuten_us", "fetch"] == "tallyback_rakuten"
    assert {pool for (_, name), pool in pools.items() if name != "fetch"} == {"default_pool"}


def test_a_house_without_a_configuration_has_the_dags_that_need_none_and_no_import_error(airflow_home: Path) -> None:
    found = probe(airflow_home, TALLYBACK_CONFIGURATION="nowhere", TALLYBACK_SCHEDULES="off")
    assert found["errors"] == {}
    assert set(found["dags"]) == {dag_id for dag_id in DAG_IDS if "__ingest__" not in dag_id}
    assert {dag["schedule"] for dag in found["dags"].values()} == {None}


def test_dag_files_are_short_and_import_airflow_the_standard_library_and_each_other_alone() -> None:
    assert len(FILES) == 8
    for path in FILES:
        assert len(path.read_text(encoding="utf-8").splitlines()) < LINES_MAX, path.name
    allowed = {"airflow", *LIBRARIES, *sys.stdlib_module_names}
    for path in [*FILES, *(DAGS / f"{name}.py" for name in LIBRARIES)]:
        at_parse = {name for node in ast.parse(path.read_text(encoding="utf-8")).body for name in _imported(node)}
        assert at_parse, path.name
        assert at_parse <= allowed, (path.name, at_parse - allowed)


def _imported(node: ast.stmt) -> set[str]:
    """Return the packages a statement at the top of a module imports."""
    if isinstance(node, ast.Import):
        return {alias.name.split(".")[0] for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        return {(node.module or "").split(".")[0]}
    return set()
