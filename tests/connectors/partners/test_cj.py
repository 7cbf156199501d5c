"""CJ's commission records over HTTP: page after page to the end, and never an error taken for a page."""

from __future__ import annotations

import json
from datetime import date, datetime
from pathlib import Path
from typing import BinaryIO

import pytest

from connectors.partners import connector_for
from etl.core.configuration import PartnerAccount
from etl.core.connector import Answer, Credentials, FetchPlace, Window
from etl.core.errors import Stop
from tests.connectors.transport.web_server import Request, Script, answer, serving
from tests.parse.answers import account, cj_answer, cj_row

TOKEN = "hush-hush-hush"
WINDOW = Window(date(2026, 3, 1), date(2026, 3, 11))


def fetched(script: Script, folder: Path, window: Window = WINDOW, **changed: object) -> tuple[list[Answer], list[str]]:
    """Return the answers of a fetch and the queries the partner was asked."""
    with serving(script) as server:
        plain = account("cj", url=server.url, publisher_ids=("123", "124"))
        fields = {name: getattr(plain, name) for name in PartnerAccount.__dataclass_fields__}
        mine = PartnerAccount(**{**fields, "currency": "EUR", **changed})
        place = FetchPlace(folder / "fetch", folder / "budget")
        answers = list(connector_for("cj").fetch(mine, Credentials({"token": TOKEN}), window, place))
        assert {(each.method, each.target) for each in server.requests} == {("POST", "/query")}
        assert {each.headers["authorization"] for each in server.requests} == {f"Bearer {TOKEN}"}
        return answers, [json.loads(each.body)["query"] for each in server.requests]


def pages(*bodies: bytes) -> Script:
    """Return a partner that gives one page after the other."""
    left = list(bodies)

    def script(request: Request, out: BinaryIO) -> None:
        body = left.pop(0) if len(left) > 1 else left[0]
        answer(body, Date=f"Thu, 12 Mar 2026 06:00:{10 + len(left):02} GMT")(request, out)

    return script


def test_pages_are_read_to_the_end_each_after_the_last_record_of_the_one_before(tmp_path: Path) -> None:
    first = cj_answer(cj_row(commissionId="7"), cj_row(commissionId="9"), complete=False)
    (whole,), asked = fetched(pages(first, cj_answer(cj_row(commissionId="12"))), tmp_path)
    assert [query.partition(") {")[0] for query in asked] == [
        '{ publisherCommissions(forPublishers: ["123", "124"], sincePostingDate: "2026-03-01T00:00:00Z",'
        ' beforePostingDate: "2026-03-11T00:00:00Z"',
        '{ publisherCommissions(forPublishers: ["123", "124"], sincePostingDate: "2026-03-01T00:00:00Z",'
        ' beforePostingDate: "2026-03-11T00:00:00Z", sinceCommissionId: "9"',
    ]
    # The whole is as old as its oldest page.
    assert whole.observed_at == datetime.fromisoformat("2026-03-12T06:00:11")
    assert [part.media_type for part in whole.parts] == ["application/json;currency=EUR"] * 2
    batches = list(connector_for("cj").flatten([part.path for part in whole.parts]))
    assert [value for batch in batches for value in batch.column("commission_id").to_pylist()] == ["7", "9", "12"]


def test_a_long_window_is_asked_in_pieces_and_days_are_those_of_the_account(tmp_path: Path) -> None:
    window = Window(date(2026, 3, 1), date(2026, 4, 2))
    answers, asked = fetched(pages(cj_answer()), tmp_path, window, zone="Europe/Berlin")
    assert [str(each.window) for each in answers] == ["2026-03-01..2026-03-29", "2026-03-29..2026-04-02"]
    assert 'sincePostingDate: "2026-03-28T23:00:00Z", beforePostingDate: "2026-04-01T22:00:00Z"' in asked[1]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"errors": [{"message": "unauthorised for publisher"}]}', "unauthorised for publisher"),
        (cj_answer(cj_row(), count=9), "not whole"),
        (cj_answer(complete=False), "does not say after which"),
        (cj_answer(cj_row(commissionId="9"), complete=False), "does not say after which"),
    ],
)
def test_what_is_no_page_or_does_not_go_on_stops(body: bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(Stop, match=said):
        fetched(pages(body), tmp_path)


def test_without_a_currency_nothing_is_asked_and_an_echoed_token_is_blanked(tmp_path: Path) -> None:
    with pytest.raises(Stop, match="no currency"):
        fetched(pages(cj_answer()), tmp_path, currency=None)
    (whole,), _ = fetched(pages(cj_answer(cj_row(orderId=TOKEN))), tmp_path)
    assert whole.is_secret_blanked
    assert TOKEN.encode() not in whole.parts[0].path.read_bytes()
