"""What sets Tallyback up: pinned requirements without addresses, a Makefile that says what is wrong, CI's script."""

import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
LOCKS = ["bootstrap", "runtime", "dev", "deploy", "spark"]
TARGETS = {
    "help", "install", "demo", "up", "down", "test", "coverage", "test-external", "check", "bench",
    "bench-plot", "bench-spark", "clean", "lock",
}  # fmt: skip


def pins(lock: str) -> dict[str, str]:
    """Return each package's name and version; every line that is no comment and no hash must be one."""
    text = (CHECKOUT / "requirements" / f"{lock}.txt").read_text()
    found = {}
    for requirement in text.replace("\\\n", " ").splitlines():
        if requirement.strip() and not requirement.lstrip().startswith("#"):
            match = re.fullmatch(
                r"([a-z0-9-]+)(?:\[[a-z0-9,-]+\])?==(\S+)( ;[^;]+?)?((?:\s+--hash=sha256:[0-9a-f]{64})+)",
                requirement.rstrip(),
            )
            assert match, f"{lock}.txt: not a pinned and hashed requirement: {requirement[:100]}"
            found[match[1]] = match[2]
    return found


@pytest.mark.parametrize("lock", LOCKS)
def test_every_requirement_has_a_version_and_hashes_and_no_address(lock: str) -> None:
    assert pins(lock)
    assert not re.search(r"://|--(extra-)?index|--find-links", (CHECKOUT / "requirements" / f"{lock}.txt").read_text())


@pytest.mark.parametrize("lock", ["dev", "deploy"])
def test_tests_and_deployment_run_on_the_very_versions_of_the_runtime(lock: str) -> None:
    runtime = pins("runtime")
    assert len(runtime) > 100
    assert runtime.items() <= pins(lock).items()


def test_spark_is_added_to_the_very_versions_of_the_runtime_and_is_in_none_of_the_others() -> None:
    runtime, spark = pins("runtime"), pins("spark")
    assert {name: version for name, version in spark.items() if name in runtime}.items() <= runtime.items()
    assert "pyspark" in spark
    assert all("pyspark" not in pins(lock) for lock in LOCKS if lock != "spark")


def test_make_alone_lists_every_target() -> None:
    done = subprocess.run(["make"], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert set(re.findall(r"^  make ([a-z-]+) ", done.stdout, re.MULTILINE)) == TARGETS


@pytest.mark.parametrize("python", ["", "/no/such/python", "/bin/false"])
def test_without_a_usable_python_install_says_what_to_do(tmp_path: Path, python: str) -> None:
    for name in ("Makefile", "pyproject.toml", "requirements"):
        source = CHECKOUT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    environment = {name: text for name, text in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(
        ["make", "install", f"PYTHON={python}"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "needs Python 3.11 or later" in done.stdout
    assert "apt-get install python3" in done.stdout


def test_ci_runs_everything_and_stops_at_the_first_failure() -> None:
    script = CHECKOUT / ".ci" / "run"
    assert script.stat().st_mode & stat.S_IXUSR
    text = script.read_text()
    assert "set -euo pipefail" in text
    runs = re.findall(r"^make (\S+)$", text, re.MULTILINE)
    assert sorted(runs) == sorted(["install", "check", "test", "test-external", "demo", "demo"])


def test_the_license_is_the_apache_license_in_full() -> None:
    text = (CHECKOUT / "LICENSE").read_text()
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
