"""However a span is cut into windows, each of its sales is told in one of them: at midnight, when clocks change too."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from connectors.partners import connector_for
from etl.core.configuration import PartnerAccount
from etl.core.connector import Answer, Credentials, FetchPlace, Window
from etl.core.engine import Engine
from etl.core.judgement import Delivery, Source, parsed_groups
from sandbox import clock, credentials, folder
from sandbox.model import AWIN_PUBLISHER_ID, TRADETRACKER_CUSTOMER_ID, Program, Row, State
from sandbox.servers import web
from sandbox.servers.awin import Awin
from sandbox.servers.tradetracker import PATH, TradeTracker
from sandbox.world import build_world

SPANS = [date(2026, 3, 27), date(2026, 10, 23)]
SPAN_DAYS = 5
"""Around the nights in which the clocks of Europe change: 29 March and 25 October 2026."""
NOW = datetime.fromisoformat("2026-12-01T06:00:00")
ZONES = {"awin": ["UTC", "Europe/London", "Europe/Berlin", "US/Pacific"], "tradetracker": ["Europe/Amsterdam"]}


class Shop:
    """One partner's server in this process, whose sales a test says anew for each example."""

    def __init__(self, application: Awin | TradeTracker, partner: str, url: str, place: Path) -> None:
        self._application = application
        self._programs = [each for each in application._programs.values() if each.partner == partner]
        self._engine = Engine()
        self._secrets = credentials.load(place / "world")
        self._partner, self._url, self._place = partner, url, place

    def sell(self, instants: list[datetime]) -> dict[str, datetime]:
        """Have one sale at each instant, and return them by the id that the partner gives them."""
        rows = tuple(
            _row(self._partner, str(1000 + number), self._programs[number % len(self._programs)], at)
            for number, at in enumerate(instants)
        )
        self._application._rows = rows
        return {row.transaction_id: row.occurred_at for row in rows}

    def account(self, zone: str) -> PartnerAccount:
        sites = tuple(sorted({each.site_id for each in self._programs if each.site_id is not None}))
        options: dict[str, str | int | tuple[str, ...]] = {"url": self._url, "publisher_id": AWIN_PUBLISHER_ID}
        options |= {"calls_per_minute": 100_000, "page_rows": 3, "site_ids": sites}
        return PartnerAccount("main", self._partner, "shop", "partner", zone, None, "approval", options)

    def fetched(self, zone: str, window: Window) -> list[Answer]:
        secrets = {
            "token": self._secrets.awin_token,
            "customer_id": TRADETRACKER_CUSTOMER_ID,
            "passphrase": self._secrets.tradetracker_passphrase,
        }
        place = FetchPlace(self._place / f"{window}", self._place / "budget")
        connector = connector_for(self._partner)
        return list(connector.fetch(self.account(zone), Credentials(secrets), window, place))

    def parsed(self, zone: str, answers: list[Answer]) -> list[tuple[Window, dict[str, Any]]]:
        """Return the transactions of the answers, each with its window, and assert that no row is rejected."""
        deliveries = [
            Delivery(str(number), [Source(part.path, part.media_type) for part in answer.parts])
            for number, answer in enumerate(answers)
        ]
        groups = parsed_groups(self._engine, connector_for(self._partner), self.account(zone), deliveries)
        some = [rows for group in groups for each in group for rows in each.rows]
        assert sum(each.rejects.num_rows for each in some) == 0
        rows = [row for each in some for row in each.transactions.to_pylist()]
        return [(answers[int(row["delivery_id"])].window, row) for row in rows]


def _row(partner: str, transaction_id: str, program: Program, at: datetime) -> Row:
    state = State(at, "pending", Decimal("62.00"), Decimal("3.10"), program.currency)
    return Row(
        partner, transaction_id, "s", "sale", program.program_id, program.partner_program_id, None, "c-7f3a", 1,
        at - timedelta(minutes=5), at, at, None, 1, None, (state,),
    )  # fmt: skip


@contextmanager
def _open(partner: str, place: Path) -> Iterator[Shop]:
    world = place / "world"
    folder.save(build_world(3, "tiny" if partner == "awin" else "small", date(2026, 9, 1), date(2026, 10, 1)), world)
    clock.move_to(world, NOW)
    application = Awin(world, 0) if partner == "awin" else TradeTracker(world)
    server = web.server(application, world)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        path = "" if partner == "awin" else PATH
        yield Shop(application, partner, f"http://127.0.0.1:{server.server_port}{path}", place)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def awin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with _open("awin", tmp_path_factory.mktemp("awin")) as shop:
        yield shop


@pytest.fixture(scope="module")
def tradetracker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with _open("tradetracker", tmp_path_factory.mktemp("tradetracker")) as shop:
        yield shop


def midnight(day: date, zone: str) -> datetime:
    return datetime.combine(day, time(), ZoneInfo(zone)).astimezone(UTC).replace(tzinfo=None)


@st.composite
def spans(draw: st.DrawFn, partner: str) -> tuple[str, date, list[int], list[datetime]]:
    """Return a zone, a first day, where the span is cut, and instants, most of them near a midnight or a change."""
    zone = draw(st.sampled_from(ZONES[partner]))
    first = draw(st.sampled_from(SPANS))
    cuts = sorted(draw(st.sets(st.integers(1, SPAN_DAYS - 1))))
    near = st.sampled_from([0, -1, 1, 59, -59, 60, -60, 3599, 3600, 5399, 5400, 7199, 7200, 10_800])
    shift = st.one_of(near, st.integers(-90_000, 90_000))
    places = draw(st.lists(st.tuples(st.integers(0, SPAN_DAYS), shift), min_size=1, max_size=12))
    instants = [midnight(first + timedelta(days=day), zone) + timedelta(seconds=by) for day, by in places]
    return zone, first, cuts, instants


def holds(shop: Shop, span: tuple[str, date, list[int], list[datetime]]) -> None:
    """Assert that the windows together tell each sale of the span once, each within its own window."""
    zone, first, cuts, instants = span
    sold = shop.sell(instants)
    bounds = [first + timedelta(days=days) for days in (0, *cuts, SPAN_DAYS)]
    begin, end = midnight(bounds[0], zone), midnight(bounds[-1], zone)
    told: Counter[str] = Counter()
    windows = [Window(one, other) for one, other in pairwise(bounds)]
    answers = [answer for window in windows for answer in shop.fetched(zone, window)]
    assert [answer.window for answer in answers] == windows
    for window, row in shop.parsed(zone, answers):
        told[row["transaction_id"]] += 1
        at = sold[row["transaction_id"]]
        assert midnight(window.from_on, zone) <= at < midnight(window.until_on, zone)
        # Of an hour that the clock showed twice the earlier is meant; in no other way is an instant another.
        read_at = row["occurred_at"]
        exact = at.replace(second=0) if row["partner"] == "awin" else at
        assert exact - read_at in (timedelta(0), timedelta(hours=1))
        assert midnight(window.from_on, zone) <= read_at < midnight(window.until_on, zone)
    assert told == Counter(each for each, at in sold.items() if begin <= at < end)


BORDERS = [
    midnight(date(2026, 10, day), "Europe/Amsterdam") + timedelta(seconds=by)
    for day in (24, 25, 26)
    for by in (-1, 0, 1, -60, 5399, 7200, 9000)
]
few = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@few
@given(spans("awin"))
@example(("Europe/Berlin", SPANS[1], [1, 2, 3], BORDERS))
@example(("US/Pacific", SPANS[1], [2], BORDERS))
def test_awin_tells_every_sale_in_one_window(awin: Shop, span: tuple[str, date, list[int], list[datetime]]) -> None:
    holds(awin, span)


@few
@given(spans("tradetracker"))
@example(("Europe/Amsterdam", SPANS[1], [1, 2, 3], BORDERS))
def test_tradetracker_tells_every_sale_in_one_window(
    tradetracker: Shop, span: tuple[str, date, list[int], list[datetime]]
) -> None:
    holds(tradetracker, span)
