"""TradeTracker's pages while the set they are of moves: whole, or tried again, and never with a row missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from pathlib import Path
from typing import BinaryIO

import pytest

from connectors.partners import connector_for
from connectors.transport.xml import iterate_elements
from etl.core.connector import Credentials, FetchPlace, Window
from etl.core.errors import Retry, Stop
from tests.connectors.transport.web_server import Request, answer, serving
from tests.parse.answers import account, tradetracker_answer, tradetracker_row

PAGE_ROWS = 2
LOGGED_IN = (
    b'<SOAP-ENV:Envelope xmlns:SOAP-ENV="http://schemas.xmlsoap.org/soap/envelope/"><SOAP-ENV:Body>'
    b"<authenticateResponse/></SOAP-ENV:Body></SOAP-ENV:Envelope>"
)


@dataclass(slots=True)
class Partner:
    """A partner that lists `ids` in pages; `moves` says what happens to them just before which call."""

    ids: list[int]
    moves: dict[int, Callable[[list[int]], None]] = field(default_factory=dict)
    calls: int = 0
    limit_max: int = 1_000

    def __call__(self, request: Request, out: BinaryIO) -> None:
        if move := self.moves.get(self.calls):
            move(self.ids)
        self.calls += 1
        limit, offset = (_number(request, name) for name in ("limit", "offset"))
        shown = sorted(self.ids)[offset : offset + min(limit, self.limit_max)]
        body = LOGGED_IN if limit == 0 else tradetracker_answer(*(tradetracker_row(ID=str(each)) for each in shown))
        answer(body, Content_Type="text/xml", Date="Thu, 01 Oct 2026 06:00:00 GMT")(request, out)


def _number(request: Request, name: str) -> int:
    found = [element.text for element in iterate_elements(request.body, f"{{*}}{name}")]
    return int(found[0] or 0) if found else 0


def fetched_ids(partner: Partner, folder: Path, page_rows: int = PAGE_ROWS) -> list[int]:
    """Return the ids of the only answer of a fetch, page after page."""
    with serving(partner) as server:
        mine = account("tradetracker", site_ids=("1",), page_rows=page_rows, url=server.url)
        connector = connector_for("tradetracker")
        secrets = Credentials({"customer_id": "1", "passphrase": "hush-hush-hush"})
        window = Window(date(2026, 9, 1), date(2026, 10, 1))
        (whole,) = connector.fetch(mine, secrets, window, FetchPlace(folder, folder / "budget"))
    flat = [batch for part in whole.parts for batch in connector.flatten((part.path,))]
    return [int(value) for batch in flat for value in batch.column("id").to_pylist()]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 6])
def test_a_set_at_rest_is_read_whole(count: int, tmp_path: Path) -> None:
    assert fetched_ids(Partner(list(range(count))), tmp_path) == list(range(count))


@pytest.mark.parametrize("count", [0, 1, 3, 4, 6, 7])
def test_a_service_that_gives_fewer_rows_than_it_was_asked_for_is_read_whole(count: int, tmp_path: Path) -> None:
    partner = Partner(list(range(count)), limit_max=3)
    assert fetched_ids(partner, tmp_path, page_rows=500) == list(range(count))


def test_a_service_that_ignores_the_limit_stops(tmp_path: Path) -> None:
    class Deaf(Partner):
        def __call__(self, request: Request, out: BinaryIO) -> None:
            shown = tradetracker_answer(*(tradetracker_row(ID=str(each)) for each in self.ids))
            body = shown if _number(request, "limit") else LOGGED_IN
            answer(body, Content_Type="text/xml", Date="Thu, 01 Oct 2026 06:00:00 GMT")(request, out)

    with pytest.raises(Stop, match="more than the 2 rows"):
        fetched_ids(Deaf([1, 2, 3]), tmp_path)
    with pytest.raises(Retry, match="stands on two pages"):
        fetched_ids(Deaf([1, 2, 3]), tmp_path, page_rows=3)


def _take(taken: int, ids: list[int]) -> None:
    ids.remove(taken)


def test_a_row_that_is_registered_meanwhile_comes_last_or_next_time(tmp_path: Path) -> None:
    for call in range(1, 5):
        found = fetched_ids(Partner([1, 2, 3], {call: lambda ids: ids.append(9)}), tmp_path)
        assert found[:3] == [1, 2, 3]


def test_a_row_that_comes_in_between_makes_the_fetch_be_tried_again(tmp_path: Path) -> None:
    with pytest.raises(Retry, match="stands on two pages"):
        fetched_ids(Partner([1, 2, 3], {2: lambda ids: ids.append(0)}), tmp_path)


def test_a_row_taken_out_at_any_moment_never_takes_another_with_it(tmp_path: Path) -> None:
    retries = 0
    for taken in (1, 2, 4, 6):
        for call in range(1, 8):
            partner = Partner([1, 2, 3, 4, 5, 6, 7], {call: partial(_take, taken)})
            try:
                found = fetched_ids(partner, tmp_path)
            except Retry as error:
                assert "moved between pages" in str(error)
                retries += 1
                continue
            assert set(found) >= set(partner.ids), f"{taken} was taken out before call {call}"
    assert 4 < retries < 4 * 7
