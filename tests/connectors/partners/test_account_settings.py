"""What an account may say: a setting that would read rows twice, or none at all, stops before anything is asked."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from connectors.partners import connector_for
from connectors.providers.inbox import sftp_settings
from etl.core.configuration import Bank
from etl.core.connector import Credentials, FetchPlace, Window
from etl.core.errors import Stop
from tests.parse.answers import account

KEYS = ("ssh-ed25519 AAAAC3Nza", "SHA256:" + "a" * 43)
SFTP = {"host": "127.0.0.1", "directory": "/reports", "host_key": "SHA256:" + "a" * 43}
SECRETS = Credentials(
    {"username": "u", "password": "p", "customer_id": "1", "passphrase": "hush-hush", "token": "t" * 9}
)


def refused(partner: str, folder: Path, secrets: Credentials = SECRETS, **options: Any) -> str:
    window = Window(date(2026, 9, 1), date(2026, 9, 3))
    with pytest.raises(Stop) as caught:
        connector_for(partner).fetch(account(partner, **options), secrets, window, FetchPlace(folder, folder))
    return str(caught.value)


@pytest.mark.parametrize(
    ("file_name", "lacking"),
    [
        ("item-report_{date}.csv", "{network}"),
        ("item-report_n{network}.csv", "{date}"),
        ("r.csv", "{date} and {network}"),
    ],
)
def test_one_file_is_never_read_for_two_networks_or_days(file_name: str, lacking: str, tmp_path: Path) -> None:
    told = refused("rakuten", tmp_path, **SFTP, networks=("3", "9"), file_name=file_name)
    assert f"lacks {lacking}" in told
    assert "config/partners/rakuten_main.yaml" in told


def test_no_list_names_a_thing_twice(tmp_path: Path) -> None:
    assert "twice" in refused("rakuten", tmp_path, **SFTP, networks=("3", "3"))
    assert "twice" in refused("tradetracker", tmp_path, site_ids=("1", "1"))


@pytest.mark.parametrize("page_rows", ["0", "-1", "many", "10001", "٣", "1e3", ""])
def test_a_number_that_is_none_is_named(page_rows: str, tmp_path: Path) -> None:
    assert "page_rows" in refused("tradetracker", tmp_path, site_ids=("1",), page_rows=page_rows)


def test_half_a_credential_is_not_shown(tmp_path: Path) -> None:
    secrets = Credentials({**SECRETS.values, "customer_id": "hunter2"})
    told = refused("tradetracker", tmp_path, secrets, site_ids=("1",), url="http://127.0.0.1:9/")
    assert "customer_id" in told
    assert "hunter2" not in told
    assert "site_ids" in refused("tradetracker", tmp_path, site_ids=("one",))


def test_host_keys_are_one_a_line_wherever_they_are_pinned() -> None:
    bank = Bank("b", "sepa", "bank", "/inbox", "EUR", "Shop", "DE89370400440532013000")
    text = f"\n  {KEYS[0]} \r\n{KEYS[1]}\n"
    assert sftp_settings(bank, Credentials({"host": "h", "username": "u", "host_key": text})).host_keys == KEYS
