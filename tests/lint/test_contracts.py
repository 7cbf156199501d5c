"""The import contracts of pyproject.toml name every module, hold, and can fail."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).parents[2]
PACKAGES = ("etl", "connectors", "sandbox", "dags")
LINT = Path(sys.executable).with_name("lint-imports")
CONTRACTS: dict[str, dict[str, Any]] = {
    contract["id"]: contract
    for contract in tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
}
# What drives the sandbox or compares the books with its truth needs both sides.
DRIVERS = {
    "sandbox.airflow_api",
    "sandbox.airflow_stack",
    "sandbox.demo",
    "sandbox.guide",
    "sandbox.house",
    "sandbox.judge",
    "sandbox.replay",
    "sandbox.seen",
    "sandbox.summary",
}


def modules(package: str) -> set[str]:
    """Return the modules and packages right below a package."""
    paths = [path for path in (CHECKOUT / package).iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()]
    return {f"{package}.{path.stem}" for path in paths if path.stem != "__init__"}


def test_every_module_of_etl_has_its_layer() -> None:
    named = {word.strip("() \n") for layer in CONTRACTS["layers"]["layers"] for word in re.split("[|:]", layer)}
    assert modules("etl") - named == set()


def test_every_module_of_the_sandbox_is_a_driver_or_shares_nothing_with_etl() -> None:
    assert modules("sandbox") - DRIVERS - set(CONTRACTS["sandbox"]["source_modules"]) == set()
    assert set(CONTRACTS["sandbox"]["source_modules"]) & DRIVERS == set()


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("etl/land.py", "import etl.parse", "layers"),
        ("etl/fetch.py", "import connectors.transport.http", "layers"),
        ("etl/core/money.py", "import etl.land", "layers"),
        ("connectors/transport/http.py", "import connectors.partners.awin", "connectors"),
        ("etl/fetch.py", "import airflow", "airflow"),
        ("sandbox/world.py", "import etl.core.money", "sandbox"),
    ],
)
def test_an_import_in_the_wrong_direction_breaks_its_contract(
    tmp_path: Path, file: str, line: str, contract: str
) -> None:
    for package in PACKAGES:
        shutil.copytree(CHECKOUT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(CHECKOUT / "pyproject.toml", tmp_path)
    with (tmp_path / file).open("a") as handle:
        handle.write(f"\n{line}\n")
    command = [str(LINT), "--no-cache", "--no-logo", "--contract", contract]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"{CONTRACTS[contract]['name']} BROKEN" in done.stdout
    assert line.removeprefix("import ").split(".")[0] in done.stdout
