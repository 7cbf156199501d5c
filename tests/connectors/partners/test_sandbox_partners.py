"""The three connectors against the sandbox's servers, through fetch, land and parse into a real warehouse."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from connectors.partners import connector_for
from etl.core.configuration import PartnerAccount
from etl.core.connector import Credentials, Window
from etl.core.context import Context
from etl.core.errors import Retry, Stop
from etl.fetch import fetch, windows_due
from etl.land import land
from etl.parse import parse
from sandbox import clock, folder
from sandbox.up import Sandbox, start
from sandbox.world import build_world
from tests.parse.stage_context import count_of, stage_context

FROM_ON, UNTIL_ON = date(2026, 9, 1), date(2026, 10, 1)
PARTNERS = ("awin", "rakuten", "tradetracker")
NOW = datetime.fromisoformat("2026-10-12T06:00:00")
ZONES = {"awin": "Europe/Berlin", "tradetracker": "Europe/Amsterdam", "rakuten": "UTC"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    directory = tmp_path_factory.mktemp("partners") / "world"
    folder.save(build_world(3, "small", FROM_ON, UNTIL_ON), directory)
    clock.move_to(directory, NOW)
    with start(directory, awin_calls_per_minute=0) as sandbox:
        yield sandbox


def account(world: Sandbox, partner: str, **changed: str | int) -> PartnerAccount:
    address = world.addresses[partner]
    options: dict[str, str | int | tuple[str, ...]] = {"start_on": FROM_ON.isoformat(), "calls_per_minute": 1000}
    options |= {key: tuple(value) if isinstance(value, list) else value for key, value in address.items()}
    if partner == "rakuten":
        options["networks"] = ("3", "9")
    options |= changed
    return PartnerAccount(f"{partner}_main", partner, "shop", f"{partner}_x", ZONES[partner], None, "approval", options)


def credentials(world: Sandbox, partner: str) -> Credentials:
    text = (world.directory / "credentials.json").read_text(encoding="utf-8")
    return Credentials({key: str(value) for key, value in json.loads(text)[partner].items()})


def ingest(context: Context, world: Sandbox, account: PartnerAccount, day: date) -> tuple[int, int]:
    connector = connector_for(account.partner)
    new = 0
    for window in windows_due(context, account, connector, day):
        answers = fetch(context, account, connector, credentials(world, account.partner), window)
        new += land(context, account, connector, answers).count("new_deliveries")
    return new, parse(context, account, connector).count("rows")


def parsed_ids(context: Context) -> Counter[str]:
    with context.warehouse.transaction() as connection:
        paths = connection.execute("SELECT object_path FROM ops.parse ORDER BY object_path").fetchall()
    tables = [pq.ParquetFile(context.lake.local(str(path))).read(columns=["transaction_id"]) for (path,) in paths]
    return Counter(value for table in tables for value in table["transaction_id"].to_pylist())


@pytest.mark.parametrize("partner", PARTNERS)
def test_every_row_the_partner_shows_is_a_transaction_once_and_a_second_run_writes_nothing(
    partner: str, world: Sandbox, warehouse_url: str, tmp_path: Path
) -> None:
    # Small pages, so that TradeTracker's paging has something to do.
    mine = account(world, partner, page_rows=7)
    context = stage_context(warehouse_url, tmp_path, mine)
    day = NOW.date()
    new, rows = ingest(context, world, mine, day)
    expected = {
        row.transaction_id
        for row in folder.load_rows(world.directory, partner)
        if (state := row.state_at(NOW)) is not None
        and not state.is_vanished
        and (row.processed_at if partner == "rakuten" else row.occurred_at).date() < day
    }
    assert len(expected) > 20
    found = parsed_ids(context)
    assert set(found) == expected
    assert set(found.values()) == {1}
    assert rows == sum(found.values())
    assert count_of(context, "ops.reject") == 0
    assert new == count_of(context, "ops.delivery") == count_of(context, "ops.parse") > 0
    assert ingest(context, world, mine, day) == (0, 0)
    assert new == count_of(context, "ops.delivery")


@pytest.mark.parametrize("partner", PARTNERS)
def test_a_wrong_secret_stops_and_is_not_shown(
    partner: str, world: Sandbox, warehouse_url: str, tmp_path: Path
) -> None:
    mine = account(world, partner)
    right = credentials(world, partner).values
    name = {"awin": "token", "tradetracker": "passphrase", "rakuten": "password"}[partner]
    wrong = Credentials({**right, name: "not-the-secret-at-all"})
    window = Window(FROM_ON, FROM_ON + timedelta(days=2))
    context = stage_context(warehouse_url, tmp_path, mine)
    with pytest.raises(Stop) as caught:
        fetch(context, mine, connector_for(partner), wrong, window)
    assert "not-the-secret-at-all" not in str(caught.value)
    assert mine.connection in str(caught.value)


@pytest.mark.parametrize("partner", PARTNERS)
def test_no_secret_is_in_a_log_whatever_its_level_or_in_what_was_landed(
    partner: str, world: Sandbox, warehouse_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    caplog.set_level(logging.DEBUG)
    mine, secrets = account(world, partner), credentials(world, partner)
    context = stage_context(warehouse_url, tmp_path, mine)
    connector = connector_for(partner)
    window = Window(FROM_ON, FROM_ON + timedelta(days=2))
    land(context, mine, connector, fetch(context, mine, connector, secrets, window))
    logging.getLogger("test").debug("the log is read")
    printed = capfd.readouterr()
    told = caplog.text + printed.out + printed.err + repr(secrets) + repr(mine)
    assert "the log is read" in told
    hidden = [value for name, value in secrets.values.items() if name in ("token", "passphrase", "password")]
    assert len(hidden) == 1
    assert not [value for value in hidden if value in told]
    landed = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert landed
    assert not [content for content in landed if hidden[0].encode() in content]


def test_a_long_window_of_awin_is_asked_in_pieces_that_cover_it(
    world: Sandbox, warehouse_url: str, tmp_path: Path
) -> None:
    mine = account(world, "awin")
    context = stage_context(warehouse_url, tmp_path, mine)
    window = Window(date(2026, 8, 1), date(2026, 10, 12))
    answers = fetch(context, mine, connector_for("awin"), credentials(world, "awin"), window)
    assert [str(answer.window) for answer in answers] == [
        "2026-08-01..2026-09-01", "2026-09-01..2026-10-02", "2026-10-02..2026-10-12",
    ]  # fmt: skip


def test_a_day_of_rakuten_that_is_not_published_yet_is_tried_later(
    world: Sandbox, warehouse_url: str, tmp_path: Path
) -> None:
    mine = account(world, "rakuten")
    context = stage_context(warehouse_url, tmp_path, mine)
    with pytest.raises(Retry, match="20261012"):
        window = Window(NOW.date() - timedelta(days=1), NOW.date() + timedelta(days=1))
        fetch(context, mine, connector_for("rakuten"), credentials(world, "rakuten"), window)


def test_the_account_must_say_what_the_partner_needs(world: Sandbox, warehouse_url: str, tmp_path: Path) -> None:
    window = Window(FROM_ON, UNTIL_ON)
    for partner, changed, named in (
        ("awin", {"publisher_id": ""}, "publisher_id"),
        ("rakuten", {"networks": "2"}, "network 2"),
        ("tradetracker", {"site_ids": ""}, "site_ids"),
    ):
        mine = account(world, partner, **changed)
        context = stage_context(warehouse_url, tmp_path, mine)
        with pytest.raises(Stop, match=named):
            fetch(context, mine, connector_for(partner), credentials(world, partner), window)
