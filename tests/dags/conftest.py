"""An installation's configuration folder for the DAG files, and the folder of DAGs on the path, as Airflow has it."""

import sys
from pathlib import Path

import pytest

DAGS = Path(__file__).resolve().parents[2] / "dags"
sys.path.append(str(DAGS))

CONFIGURATION = {
    "entity.yaml": "name: house\nbase_currency: EUR\nbooks_zone: Europe/Berlin\n",
    "partners/awin_main.yaml": "name: awin_main\npartner: awin\nconnection: awin  # a comment\nzone: Europe/Berlin\n",
    "partners/awin_second.yaml": "name: awin_second\npartner: awin\nconnection: 'awin'\nzone: Europe/Berlin\n",
    "partners/rakuten_us.yaml": "name: rakuten_us\npartner: rakuten\nconnection: rakuten\nzone: America/New_York\n",
    "clicks/tracker.yaml": "name: tracker\nconnection: tracker\n",
    "banks/house_bank.yaml": "name: house_bank\nrail: sepa\n",
}
DAG_IDS = {
    "tallyback__clicks",
    "tallyback__ingest__awin_main",
    "tallyback__ingest__awin_second",
    "tallyback__ingest__rakuten_us",
    "tallyback__payout__sepa",
    "tallyback__rates",
    "tallyback__reconcile_accrue",
    "tallyback__reference",
    "tallyback__report",
    "tallyback__verify",
}


@pytest.fixture(scope="session")
def configuration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the file names of three partner accounts, a click source and a bank."""
    folder = tmp_path_factory.mktemp("config")
    for name, text in CONFIGURATION.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="session", autouse=True)
def airflow_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of Airflow's own for these tests: it writes a configuration wherever it is imported."""
    home = tmp_path_factory.mktemp("airflow")
    patch = pytest.MonkeyPatch()
    patch.setenv("AIRFLOW_HOME", str(home))
    patch.setenv("AIRFLOW__CORE__LOAD_EXAMPLES", "False")
    return home
