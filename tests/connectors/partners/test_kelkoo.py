"""Kelkoo's statistics over HTTP: one call a country, whole or not at all, and the password nowhere."""

from __future__ import annotations

import logging
from datetime import date, datetime
from pathlib import Path
from typing import BinaryIO
from urllib.parse import parse_qs, urlsplit

import pytest

from connectors.partners import connector_for
from etl.core.configuration import PartnerAccount
from etl.core.connector import Answer, Credentials, FetchPlace, Window
from etl.core.errors import Retry, Stop
from tests.connectors.transport.web_server import Request, Script, answer, serving
from tests.parse.answers import account, kelkoo_answer, kelkoo_row

PASSWORD = "hush/hush hush"
WINDOW = Window(date(2026, 3, 1), date(2026, 4, 5))


def mine(url: str, **changed: object) -> PartnerAccount:
    """Return an account that asks a server for two countries in euro."""
    plain = account("kelkoo", url=url, countries=("fr", "de"))
    fields = {name: getattr(plain, name) for name in PartnerAccount.__dataclass_fields__}
    return PartnerAccount(**{**fields, "currency": "EUR", **changed})


def fetched(script: Script, folder: Path, window: Window = WINDOW) -> tuple[list[Answer], list[dict[str, list[str]]]]:
    """Return the answers of a fetch and what the partner was asked."""
    with serving(script) as server:
        secrets = Credentials({"username": "shop", "password": PASSWORD})
        place = FetchPlace(folder / "fetch", folder / "budget")
        answers = list(connector_for("kelkoo").fetch(mine(server.url), secrets, window, place))
        assert {urlsplit(each.target).path for each in server.requests} == {"/statsSelectionService.xml"}
        return answers, [parse_qs(urlsplit(each.target).query) for each in server.requests]


def telling(body: bytes, status: int = 200, **headers: str) -> Script:
    return answer(body, status, **{"Content_Type": "text/xml", "Date": "Wed, 15 Apr 2026 06:00:00 GMT", **headers})


def test_each_country_is_asked_for_days_of_both_ends_and_is_a_part_of_one_answer(tmp_path: Path) -> None:
    times = iter(("06:00:01", "06:00:00", "06:00:03", "06:00:02"))

    def partner(request: Request, out: BinaryIO) -> None:
        (country,) = parse_qs(urlsplit(request.target).query)["countries"]
        body = kelkoo_answer(*[kelkoo_row(Custom1=f"{country}-{number}") for number in range(3)])
        telling(body, Date=f"Wed, 15 Apr 2026 {next(times)} GMT")(request, out)

    answers, asked = fetched(partner, tmp_path)
    assert [str(each.window) for each in answers] == ["2026-03-01..2026-04-01", "2026-04-01..2026-04-05"]
    # The whole is as old as its oldest part.
    assert [each.observed_at for each in answers] == [
        datetime.fromisoformat("2026-04-15T06:00:00"), datetime.fromisoformat("2026-04-15T06:00:02"),
    ]  # fmt: skip
    assert [part.media_type for part in answers[0].parts] == [
        "text/xml;country=fr;currency=EUR", "text/xml;country=de;currency=EUR",
    ]  # fmt: skip
    common = {"pageType": ["custom"], "split": ["daily"], "currency": ["EUR"], "username": ["shop"]}
    days = [("2026-03-01", "2026-03-31"), ("2026-04-01", "2026-04-04")]
    assert asked == [
        common | {"password": [PASSWORD], "from": [begin], "to": [end], "countries": [country]}
        for begin, end in days
        for country in ("fr", "de")
    ]
    batches = list(connector_for("kelkoo").flatten([part.path for part in answers[0].parts]))
    assert [value for batch in batches for value in batch.column("custom1").to_pylist()] == [
        "fr-0", "fr-1", "fr-2", "de-0", "de-1", "de-2",
    ]  # fmt: skip
    assert batches[-1].column("row_number").to_pylist()[-1] == 6


def test_the_password_is_in_no_log_no_message_and_nothing_that_lands(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    echo = kelkoo_answer(kelkoo_row(Custom1=PASSWORD))
    answers, _ = fetched(telling(echo), tmp_path, Window(date(2026, 3, 1), date(2026, 3, 2)))
    assert [each.is_secret_blanked for each in answers] == [True]
    assert PASSWORD.encode() not in b"".join(part.path.read_bytes() for part in answers[0].parts)
    with pytest.raises(Stop) as caught:
        fetched(telling(b"no", status=403), tmp_path)
    told = f"{caplog.text} {caught.value}"
    assert not [each for each in (PASSWORD, "hush%2Fhush", "hush+hush", "hush%20hush") if each in told]


@pytest.mark.parametrize(
    ("script", "kind", "named"),
    [
        (telling(b"<error>wrong password</error>"), Stop, "wrong password"),
        (telling(kelkoo_answer(kelkoo_row())[:-20]), Retry, "cut off"),
        (telling(b"<html><body>Log in</body></html>", Content_Type="text/html"), Stop, "kelkoo"),
        (answer(kelkoo_answer(), Content_Type="text/xml"), Stop, "Date"),
    ],
)
def test_what_is_not_a_whole_answer_is_none(script: Script, kind: type[Exception], named: str, tmp_path: Path) -> None:
    with pytest.raises(kind, match=named):
        fetched(script, tmp_path)


def test_an_account_without_currency_or_with_a_country_that_is_none_is_told_so(tmp_path: Path) -> None:
    secrets = Credentials({"username": "shop", "password": PASSWORD})
    place = FetchPlace(tmp_path, tmp_path)
    wrong = account("kelkoo", countries=("All",)).options
    for changed, named in (({"currency": None}, "no currency"), ({"options": wrong}, "'All'")):
        with pytest.raises(Stop, match=named):
            connector_for("kelkoo").fetch(mine("http://127.0.0.1:9", **changed), secrets, WINDOW, place)
