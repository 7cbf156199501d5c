"""The real deployment has every service, every image pinned, and no password that anybody could know."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

CHECKOUT = Path(__file__).parents[2]
TEXT = (CHECKOUT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
AIRFLOW = {"init", "api-server", "scheduler", "dag-processor", "triggerer", "worker"}
STORES = {"postgres", "redis", "s3", "sftp"}
# What may have a default: where to listen.
DEFAULTED = {"SFTP_PORT", "AIRFLOW_BIND", "AIRFLOW_PORT"}
PINNED = re.compile(r"[a-z0-9./-]+:\d+\.\d+(\.\d+)?(-[a-z0-9.-]+)?(@sha256:[0-9a-f]{64})?")
SCRIPTS = sorted((CHECKOUT / "deploy").glob("*.sh"))


def settings(node: object, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield each (name, text) of the file, however deep."""
    if isinstance(node, dict):
        for key, below in node.items():
            yield from settings(below, str(key))
    elif isinstance(node, list):
        for below in node:
            yield from settings(below, name)
    elif isinstance(node, str):
        yield name, node


def test_every_service_of_a_deployment_is_there() -> None:
    assert set(SERVICES) == AIRFLOW | STORES


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_an_image_is_pinned_to_a_version(service: str) -> None:
    assert PINNED.fullmatch(SERVICES[service]["image"])


def test_the_images_we_build_start_from_pinned_ones_and_from_hashed_requirements() -> None:
    text = (CHECKOUT / "Dockerfile").read_text()
    bases = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert len(bases) == 3
    assert all(PINNED.fullmatch(base) for base in bases)
    assert len(re.findall(r"--require-hashes", text)) == 2
    targets = set(re.findall(r"^FROM \S+ AS (\S+)", text, re.MULTILINE))
    built = {service["build"]["target"] for service in SERVICES.values() if "build" in service}
    assert built == {"tallyback", "sftp"} <= targets


def test_every_variable_must_be_set_except_where_to_listen() -> None:
    used = re.findall(r"(?<!\$)\$\{(\w+)(:?[-?]?)[^}]*\}", TEXT)
    assert len(used) > 20
    assert {name for name, how in used if how != ":?"} == DEFAULTED


def test_nothing_secret_is_written_down() -> None:
    told = [
        (name, text)
        for name, text in settings(SERVICES)
        if re.search("PASSWORD|SECRET|_KEY|AUTH$|_CONN$|_CONN_ASYNC|_URL$|BACKEND", name)
    ]
    secret = [(name, text) for name, text in told if "://" not in text or "@" in text]
    assert len(secret) > 15
    open_ones = {name for name, text in secret if not re.search(r"\$\{\w+:\?", text)}
    # A path in the container, and which class asks for passwords: no secrets.
    assert open_ones == {"TALLYBACK_KEY_FILE"}
    assert "trust" not in TEXT


def test_the_example_of_the_environment_names_every_variable_and_gives_no_value() -> None:
    lines = [line for line in (CHECKOUT / ".env.example").read_text().splitlines() if line and not line.startswith("#")]
    assert all(line.endswith("=") for line in lines)
    needed = {name for name, how in re.findall(r"(?<!\$)\$\{(\w+)(:?[-?]?)[^}]*\}", TEXT) if how == ":?"}
    assert {line.removesuffix("=") for line in lines} == needed


@pytest.mark.parametrize("service", sorted(set(SERVICES) - {"init"}))
def test_a_service_tells_whether_it_is_healthy_and_comes_back_when_it_dies(service: str) -> None:
    assert SERVICES[service]["healthcheck"]["test"]
    assert SERVICES[service]["restart"] == "unless-stopped"


@pytest.mark.parametrize("service", sorted(AIRFLOW - {"init"}))
def test_an_airflow_service_waits_until_the_tables_are_made(service: str) -> None:
    assert SERVICES[service]["depends_on"]["init"] == {"condition": "service_completed_successfully"}


def test_the_tables_of_airflow_and_of_the_warehouse_are_made_first() -> None:
    (script,) = [word for word in SERVICES["init"]["command"] if "migrate" in word]
    assert "airflow db migrate" in script
    assert "tallyback db migrate" in script


def test_the_lake_is_where_workers_on_any_machine_reach_it_and_is_made_first() -> None:
    (script,) = [word for word in SERVICES["init"]["command"] if "migrate" in word]
    assert "tallyback lake create" in script
    assert SERVICES["init"]["depends_on"]["s3"] == {"condition": "service_healthy"}
    assert SERVICES["worker"]["environment"]["TALLYBACK_LAKE"].startswith("s3://")


def test_only_the_screens_and_the_file_server_can_be_reached_and_the_screens_from_this_machine_alone() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(published) == {"api-server", "sftp"}
    assert published["api-server"] == ["${AIRFLOW_BIND:-127.0.0.1}:${AIRFLOW_PORT:-8080}:8080"]


def test_what_must_survive_lies_in_a_volume_that_is_declared() -> None:
    volumes = [volume for service in SERVICES.values() for volume in service.get("volumes", [])]
    mounted = {volume.partition(":")[0] for volume in volumes if isinstance(volume, str)}
    named = {name for name in mounted if not name.startswith(".")}
    assert named == set(COMPOSE["volumes"])
    assert all((CHECKOUT / name).exists() for name in mounted - named)
    assert all(volume["read_only"] for volume in volumes if not isinstance(volume, str))


def test_reference_data_and_rates_are_read_from_a_folder_that_is_mounted() -> None:
    environment = SERVICES["worker"]["environment"]
    (folder,) = [volume["target"] for volume in SERVICES["worker"]["volumes"] if not isinstance(volume, str)]
    assert environment["TALLYBACK_REFERENCE"] == folder
    assert environment["TALLYBACK_RATES"].startswith(f"{folder}/")


def test_every_connection_has_a_pool_before_a_task_asks_for_it(tmp_path: Path) -> None:
    assert SERVICES["worker"]["environment"]["TALLYBACK_POOLS"] == "connection"
    for name, line in (("a", "connection: awin"), ("b", "connection: 'shop-2'  # ours"), ("c", "connection: awin")):
        (tmp_path / "partners").mkdir(exist_ok=True)
        (tmp_path / "partners" / f"{name}.yaml").write_text(f"name: {name}\n{line}\n")
    (script,) = [word for word in SERVICES["init"]["command"] if "pools set" in word]
    pools = script[script.index("sed -n") :].replace("$$", "$")
    made = subprocess.run(
        ["sh", "-euc", f'airflow() {{ echo "$3 $4"; }}\n{pools}'],
        env={"TALLYBACK_CONFIGURATION": str(tmp_path), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    assert made.stdout.splitlines() == ["tallyback_awin 1", "tallyback_shop-2 1"]


def test_settings_of_tallyback_are_ones_it_knows() -> None:
    from etl.core.settings import Settings

    given = {name for name in SERVICES["worker"]["environment"] if name.startswith("TALLYBACK_")}
    assert "TALLYBACK_POOLS" in (CHECKOUT / "docs" / "airflow.md").read_text()
    given.remove("TALLYBACK_POOLS")  # One of the DAGs, not of the stages.
    assert given
    assert {name.removeprefix("TALLYBACK_").lower() for name in given} <= set(Settings.model_fields)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_a_shell_s_words(script: Path) -> None:
    assert subprocess.run(["sh", "-n", str(script)], check=False).returncode == 0
    assert "set -eu" in script.read_text()


def test_there_are_scripts() -> None:
    assert len(SCRIPTS) == 3


def test_the_file_server_takes_keys_only() -> None:
    said = dict(
        line.split(maxsplit=1)
        for line in (CHECKOUT / "deploy" / "sshd_config").read_text().splitlines()
        if line and line[0] != "#"
    )
    assert (said["PasswordAuthentication"], said["KbdInteractiveAuthentication"], said["PermitRootLogin"]) == (
        "no",
        "no",
        "no",
    )
    assert said["AuthenticationMethods"] == "publickey"
