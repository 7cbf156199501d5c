"""Exchange rates from the ECB's file, in each of its wrappings, never changed once known."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import psycopg
import pytest

from etl.core.errors import Stop
from etl.rates import load_rates
from tests.accrue.books import context

HISTORY = "Date,USD,JPY,CYP,\n2026-10-30,1.1172,175.68,N/A,\n2026-10-29,1.113,175.92,0.5823,\n"


def _load(url: str, folder: Path, content: str, name: str = "eurofxref-hist.csv") -> tuple[int, int]:
    path = folder / name
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(content.encode()))
    elif name.endswith(".zip"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("eurofxref-hist.csv", content)
    else:
        path.write_bytes(content.encode())
    result = load_rates(context(url, folder), path)
    return result.count("new"), result.count("known")


def _rates(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT rate_on, base, quote, rate, source FROM ref.fx_rate ORDER BY 1, 3").fetchall()
    return [" ".join(map(str, row)) for row in rows]


@pytest.mark.parametrize("name", ["hist.csv", "hist.csv.gz", "hist.zip"])
def test_a_history_is_loaded_once_in_each_wrapping(warehouse_url: str, tmp_path: Path, name: str) -> None:
    assert _load(warehouse_url, tmp_path, HISTORY, name) == (5, 0)
    assert _load(warehouse_url, tmp_path, HISTORY, name) == (0, 5)
    assert _rates(warehouse_url) == [
        "2026-10-29 EUR CYP 0.582300000 ecb",
        "2026-10-29 EUR JPY 175.920000000 ecb",
        "2026-10-29 EUR USD 1.113000000 ecb",
        "2026-10-30 EUR JPY 175.680000000 ecb",
        "2026-10-30 EUR USD 1.117200000 ecb",
    ]


def test_a_new_day_is_added(warehouse_url: str, tmp_path: Path) -> None:
    _load(warehouse_url, tmp_path, HISTORY)
    longer = HISTORY.replace("CYP,\n", "CYP,\n2026-11-02,1.12,176,N/A,\n")
    assert _load(warehouse_url, tmp_path, longer) == (2, 5)


def test_columns_are_found_by_their_header(warehouse_url: str, tmp_path: Path) -> None:
    _load(warehouse_url, tmp_path, HISTORY)
    assert _load(warehouse_url, tmp_path, "Date, JPY, USD\n2026-10-30, 175.68, 1.1172\n") == (0, 2)


DAILY = "Date, USD, JPY, \n30 October 2026, 1.1172, 175.68, \n"


@pytest.mark.parametrize("name", ["eurofxref.csv", "eurofxref.zip"])
def test_the_daily_file_says_the_same_as_the_history_in_its_own_dialect(
    warehouse_url: str, tmp_path: Path, name: str
) -> None:
    assert _load(warehouse_url, tmp_path, HISTORY) == (5, 0)
    assert _load(warehouse_url, tmp_path, DAILY, name) == (0, 2)
    next_day = DAILY.replace("30 October", "2 November").replace("1.1172", "1.1200").replace("\n", "\r\n")
    assert _load(warehouse_url, tmp_path, next_day, name) == (2, 0)
    assert _rates(warehouse_url)[-1] == "2026-11-02 EUR USD 1.120000000 ecb"


def test_another_rate_for_a_known_day_stops_and_loads_nothing(warehouse_url: str, tmp_path: Path) -> None:
    _load(warehouse_url, tmp_path, HISTORY)
    changed = HISTORY.replace("175.92", "175.93").replace("CYP,\n", "CYP,\n2026-11-02,1.12,176,N/A,\n")
    with pytest.raises(Stop, match=r"JPY on 2026-10-29: 175\.93\S* in the file, 175\.92"):
        _load(warehouse_url, tmp_path, changed)
    assert len(_rates(warehouse_url)) == 5


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (HISTORY.replace("1.1172", "1,1172"), "line 2"),
        (HISTORY.replace("1.1172", "1e5"), "line 2, column USD"),
        (HISTORY.replace("1.1172", "0"), "line 2, column USD"),
        (HISTORY.replace("1.1172", "-1"), "line 2, column USD"),
        (HISTORY.replace("1.1172", "NaN"), "line 2, column USD"),
        (HISTORY.replace("2026-10-30", "30/10/2026"), "line 2"),
        (HISTORY.replace("2026-10-30", "2026-02-30"), "line 2, column Date"),
        (HISTORY.replace("2026-10-30", "2026-10-29"), "a day twice"),
        (HISTORY.replace("N/A,", "N/A,7"), "without a name"),
        (DAILY.replace("October", "Octember"), "line 2, column Date: '30 Octember 2026'"),
        (DAILY.replace("30 October", "31 June"), "line 2, column Date"),
        (DAILY.replace("30 October 2026", "30 Oct 26"), "line 2"),
        ("Date, JPY, USD\n2026-10-30, 175.68, 1.11", "the last line has no end"),
        (HISTORY[:-3], "line 3"),
        ("Date,USD,USD,\n2026-10-30,1.1172,1.1172,\n", "a day twice"),
        ("<html><title>Sign in</title></html>", "line 1"),
        ("Date,USD,\n", "holds no rate"),
        ("", "line 1"),
        ("Däte", "cannot be read"),
    ],
)
def test_a_file_of_another_form_is_refused(warehouse_url: str, tmp_path: Path, content: str, said: str) -> None:
    with pytest.raises(Stop, match=said):
        _load(warehouse_url, tmp_path, content)
    assert _rates(warehouse_url) == []


def test_a_cut_download_is_refused(warehouse_url: str, tmp_path: Path) -> None:
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(HISTORY.encode())[:-12])
    with pytest.raises(Stop, match="download it again"):
        load_rates(context(warehouse_url, tmp_path), tmp_path / "cut.csv.gz")


def test_a_file_that_unpacks_to_more_than_rates_can_be_is_refused(warehouse_url: str, tmp_path: Path) -> None:
    with gzip.open(tmp_path / "bomb.csv.gz", "wb") as packed:
        for _ in range(65):
            packed.write(bytes(1024 * 1024))
    with pytest.raises(Stop, match="more than"):
        load_rates(context(warehouse_url, tmp_path), tmp_path / "bomb.csv.gz")
