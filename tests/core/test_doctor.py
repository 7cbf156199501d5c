"""Promises of the doctor: it finds what is missing, says what to do, and shows nothing secret."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from etl.core.encryption import create_key_file
from etl.core.settings import Settings
from etl.doctor import Finding, diagnose
from etl.installation import credentials_from_environment
from tests.connectors.transport.web_server import Request, answer, serving
from tests.lake.store import SECRET as BUCKET_SECRET
from tests.lake.store import new_bucket, serving_buckets, values_of

EXAMPLE = Path(__file__).resolve().parents[2] / "config"
SECRET = "swordfish"
CONNECTIONS = ("awin", "cj", "kelkoo", "tradetracker", "rakuten", "tracker", "bank")


def now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


@pytest.fixture
def environment(tmp_path: Path, warehouse_url: str) -> dict[str, str]:
    """A whole installation of the example configuration."""
    shutil.copytree(EXAMPLE, tmp_path / "config")
    create_key_file(tmp_path / "keys")
    for name in ("programs.csv", "cashback_rules.csv", "rates.csv"):
        (tmp_path / name).write_text("", encoding="utf-8")
    variables = {
        "TALLYBACK_WAREHOUSE_URL": warehouse_url,
        "TALLYBACK_REFERENCE": str(tmp_path),
        "TALLYBACK_RATES": str(tmp_path / "rates.csv"),
        "TALLYBACK_KEY_FILE": str(tmp_path / "keys"),
        "TALLYBACK_CONFIGURATION": str(tmp_path / "config"),
    }
    variables |= {f"TALLYBACK_{name.upper()}": str(tmp_path / name) for name in ("lake", "temporary", "reports")}
    for name in CONNECTIONS:
        variables[f"TALLYBACK_CONNECTION_{name.upper()}"] = json.dumps({"token": SECRET})
    return variables


def diagnosed(environment: Mapping[str, str], at: datetime | None = None) -> list[Finding]:
    return diagnose(environment, at or now(), credentials_from_environment(environment))


def wrong(environment: Mapping[str, str]) -> dict[str, str]:
    return {finding.name: finding.next_step for finding in diagnosed(environment) if not finding.is_ok}


def test_a_whole_installation_has_nothing_wrong(environment: dict[str, str]) -> None:
    assert wrong(environment) == {}
    assert len(diagnosed(environment)) > 20


def test_looking_leaves_nothing_behind(environment: dict[str, str], tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    diagnosed(environment)
    assert sorted(tmp_path.rglob("*")) == before


def test_with_nothing_set_it_still_looks_at_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = wrong({})
    assert {"TALLYBACK_WAREHOUSE_URL", "configuration", "key file", "reference", "rates"} <= found.keys()
    assert all(found.values())


def test_every_setting_is_explained(environment: dict[str, str]) -> None:
    found = {finding.name: finding.found for finding in diagnosed(environment)}
    for name, setting in Settings.model_fields.items():
        assert setting.description is not None
        assert setting.description in found[f"TALLYBACK_{name.upper()}"]


def test_nothing_secret_is_shown(environment: dict[str, str]) -> None:
    environment["TALLYBACK_WAREHOUSE_URL"] = f"postgresql://owner:{SECRET}@127.0.0.1:9/x"
    environment["TALLYBACK_CONNECTION_AWIN"] = SECRET
    shown = repr(diagnosed(environment))
    assert "connection awin" in shown
    assert SECRET not in shown


def test_each_connection_that_is_not_set_is_named(environment: dict[str, str]) -> None:
    for name in CONNECTIONS:
        del environment[f"TALLYBACK_CONNECTION_{name.upper()}"]
    found = wrong(environment)
    assert found.keys() == {f"connection {name}" for name in CONNECTIONS}
    assert "TALLYBACK_CONNECTION_BANK" in found["connection bank"]


def test_a_connection_with_an_empty_value_is_found(environment: dict[str, str]) -> None:
    environment["TALLYBACK_CONNECTION_AWIN"] = '{"token": ""}'
    assert wrong(environment).keys() == {"connection awin"}


def test_a_misspelt_setting_is_found_and_other_variables_are_left_alone(environment: dict[str, str]) -> None:
    environment |= {"TALLYBACK_LAKES": "/x", "TALLYBACK_PERSON": "robin", "TALLYBACK_RETRIES": "2"}
    assert wrong(environment) == {"TALLYBACK_LAKES": "rename it to TALLYBACK_LAKE, or take it away"}


def test_every_problem_of_the_configuration_is_a_finding(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "config/entity.yaml").write_text("name: main\nbooks_zone: Mars/Olympus\n", encoding="utf-8")
    found = [finding for finding in diagnosed(environment) if finding.name == "configuration"]
    assert len(found) == 2
    assert not any(finding.is_ok for finding in found)


def test_a_wrong_iban_of_ours_is_found_and_not_shown(environment: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "config/banks/house_bank.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("DE8937", "DE8837"), encoding="utf-8")
    assert wrong(environment).keys() == {"bank house_bank"}
    assert "DE88370400440532013000" not in repr(diagnosed(environment))


def test_an_unmigrated_warehouse_says_what_to_run(environment: dict[str, str], database_url: str) -> None:
    environment["TALLYBACK_WAREHOUSE_URL"] = database_url
    assert "tallyback db migrate" in wrong(environment)["warehouse schema"]


def test_a_warehouse_that_is_down_is_found(environment: dict[str, str]) -> None:
    environment["TALLYBACK_WAREHOUSE_URL"] = "postgresql://owner@127.0.0.1:9/x"
    assert wrong(environment).keys() == {"warehouse"}


def test_a_login_that_may_not_take_the_roles_is_found(environment: dict[str, str], warehouse_url: str) -> None:
    # A role belongs to the whole server: a name of this test's own, taken away at the end.
    name = f"stranger_{secrets.token_hex(8)}"
    role = sql.Identifier(name)
    with psycopg.connect(warehouse_url, autocommit=True) as owner:
        owner.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'x'").format(role))
        try:
            owner.execute(sql.SQL("GRANT SELECT ON public.tallyback_version TO {}").format(role))
            environment["TALLYBACK_WAREHOUSE_URL"] = make_conninfo(warehouse_url, user=name, password="x")
            found = wrong(environment)
        finally:
            owner.execute(sql.SQL("REVOKE ALL ON public.tallyback_version FROM {}").format(role))
            owner.execute(sql.SQL("DROP ROLE {}").format(role))
    assert found.keys() == {"role tallyback_pipeline", "role tallyback_approver"}


def test_a_clock_that_is_apart_from_the_warehouse_is_found(environment: dict[str, str]) -> None:
    found = [each for each in diagnosed(environment, now() + timedelta(hours=1)) if not each.is_ok]
    assert [each.name for each in found] == ["clocks"]


def test_a_key_file_open_to_others_is_found(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "keys").chmod(0o644)
    assert wrong(environment).keys() == {"key file"}


def test_an_engine_limit_that_is_no_amount_is_found(environment: dict[str, str]) -> None:
    environment["TALLYBACK_MEMORY_LIMIT"] = "plenty"
    assert wrong(environment).keys() == {"engine"}


def test_missing_reference_files_are_named(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "cashback_rules.csv").unlink()
    (tmp_path / "rates.csv").unlink()
    found = wrong(environment)
    assert found["reference"] == "put cashback_rules.csv there"
    assert "eurofxref-hist" in found["rates"]


def test_a_folder_that_cannot_be_written_is_found(environment: dict[str, str]) -> None:
    # Not by its mode, which root would pass over: no process can make a file there.
    environment["TALLYBACK_LAKE"] = "/proc/lake"
    assert "lake" in wrong(environment)


def in_bucket(environment: dict[str, str], endpoint: str, bucket: str) -> dict[str, str]:
    """Return the environment with its lake in a bucket."""
    return environment | {
        "TALLYBACK_LAKE": f"s3://{bucket}/books",
        "TALLYBACK_LAKE_CONNECTION": "lake",
        "TALLYBACK_CONNECTION_LAKE": json.dumps(values_of(endpoint)),
    }


def test_a_lake_in_a_bucket_is_tried_as_a_worker_would(environment: dict[str, str]) -> None:
    with serving_buckets() as endpoint:
        bucket = new_bucket(endpoint)
        told = in_bucket(environment, endpoint, bucket)
        # Twice: what the first left does not trouble the second.
        for _ in range(2):
            found = {each.name: each for each in diagnosed(told) if each.name.startswith("lake")}
            assert len(found) == 3
            assert all(each.is_ok for each in found.values())
        assert wrong(told) == {}
        assert BUCKET_SECRET not in repr(diagnosed(told))
        assert (
            "tallyback lake create"
            in wrong(in_bucket(environment, endpoint, "not-made"))["lake can be written and read"]
        )
    assert "EndpointConnectionError" in wrong(told)["lake can be written and read"]


def test_a_store_that_writes_over_what_is_there_is_found(environment: dict[str, str]) -> None:
    held: dict[str, bytes] = {}

    def store(request: Request, out: BinaryIO) -> None:
        """Answer as a store does that never heard of If-None-Match."""
        path = request.target.partition("?")[0]
        if request.method == "PUT":
            held[path] = request.body
        body = held.get(path, b"") if request.method == "GET" else b""
        answer(body, 404 if request.method == "HEAD" else 200, ETag='"e"')(request, out)

    with serving(store) as server:
        told = in_bucket(environment, server.url, "b-ucket")
        assert "conditional writes" in wrong(told)["lake keeps what is there"]


def test_a_bucket_without_its_connection_or_with_a_key_in_its_name_is_found(environment: dict[str, str]) -> None:
    told = in_bucket(environment, "http://127.0.0.1:9", "b-ucket")
    del told["TALLYBACK_CONNECTION_LAKE"]
    assert "TALLYBACK_CONNECTION_LAKE" in wrong(told)["lake"]
    told = in_bucket(environment, "http://127.0.0.1:9", f"key:{SECRET}@b-ucket")
    assert "leave the credentials" in wrong(told)["lake"]
    assert SECRET not in repr(diagnosed(told))


def test_a_sandbox_clock_is_a_note_and_a_broken_one_is_wrong(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "clock.json").write_text('{"now": "2026-09-08T06:00:00Z"}', encoding="utf-8")
    environment["TALLYBACK_CLOCK"] = str(tmp_path / "clock.json")
    assert wrong(environment) == {}
    (tmp_path / "clock.json").write_text("[]", encoding="utf-8")
    assert wrong(environment).keys() == {"clock"}
