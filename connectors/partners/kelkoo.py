"""Kelkoo: what clicks earned, as one sum a day, country and Custom1; no ids, no orders, no status (aggregate).

API: partner.kelkoo.com, statsSelectionService.xml with `pageType=custom` and `split=daily`, as publishers' clients call
it, read 2026-11-25; the partner publishes no schema. Auth: user name and password in the URL. Paging: none. Window:
days, both ends inclusive; 31 at a time here. One call a country, because a sum does not say of which it is.
Amounts: `revenue` with a point, in the currency that was asked for. Zone: a day is the account's zone's.
Reversals: aggregate: a day is told anew as a whole, and what an answer leaves out is zero.
Quirks: one `<tracking>` or many; Custom1 absent, empty or blank is one and the same; the password stands in the URL.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
from lxml import etree
from pydantic import SecretStr

from connectors.partners.account_settings import NO_CLOCK, secret, setting, several, split_window
from connectors.partners.rows import Broken, Values, batches
from connectors.partners.written_parts import whole_answer, write_part
from connectors.partners.xml_rows import xml_rows
from connectors.transport.answer import Expects
from connectors.transport.http import HttpClient, HttpSettings
from etl.core.connector import (
    Answer,
    ChangeFeed,
    ConnectorFacts,
    Credentials,
    FetchPlace,
    ReversalModel,
    VersionClock,
    Window,
)
from etl.core.errors import Stop

if TYPE_CHECKING:
    from etl.core.configuration import PartnerAccount

_URL = "https://partner.kelkoo.com"
_SERVICE = "statsSelectionService.xml"
_ELEMENTS = {"day": "day", "custom1": "Custom1", "revenue": "revenue"}
_WANTED = frozenset(_ELEMENTS.values())
_SHOWN_CHARACTERS = 200


class Kelkoo:
    """The connector for Kelkoo's statistics of clicks."""

    facts = ConnectorFacts(
        partner="kelkoo",
        parse_version=1,
        version_clock=VersionClock.OBSERVED,
        clock_precision_seconds=1,
        reversal_model=ReversalModel.AGGREGATE,
        change_feed=ChangeFeed.ROLLING_REREAD,
        states_scope=True,
        longest_window_days=31,
        has_status=False,
    )

    def fetch(
        self, account: PartnerAccount, credentials: Credentials, window: Window, place: FetchPlace
    ) -> Sequence[Answer]:
        """Return one answer for each 31 days, whose parts are the countries; errors as `HttpClient.get`."""
        password = SecretStr(secret(account, credentials, "password"))
        countries = several(account, "countries")
        unknown = [each for each in countries if not re.fullmatch("[a-z]{2}", each)]
        currency = account.currency
        if unknown or currency is None:
            told = f"the country {unknown[0][:40]!r}" if unknown else "no currency"
            wanted = "a country is two small letters such as fr" if unknown else "amounts come in the one asked for"
            raise Stop(f"{account.name}: config/partners/{account.name}.yaml has {told}; {wanted}.")
        settings = HttpSettings(
            base_url=setting(account, credentials, "url", _URL),
            connection=account.connection,
            credential="password",
            other_secrets=(password,),
        )
        with HttpClient(settings, clock=lambda: NO_CLOCK) as client:
            asked: dict[str, str | SecretStr] = {
                "pageType": "custom",
                "split": "daily",
                "currency": currency,
                "username": secret(account, credentials, "username"),
                "password": password,
            }
            return [
                _answer(client, account.name, asked, countries, each, place)
                for each in split_window(window, self.facts.longest_window_days)
            ]

    def flatten(self, parts: Sequence[Path]) -> Iterator[pa.RecordBatch]:
        """Yield the sums of the answers as text columns."""
        return batches(tuple(_ELEMENTS), _rows(parts))


def _answer(
    client: HttpClient,
    account_name: str,
    asked: dict[str, str | SecretStr],
    countries: Sequence[str],
    window: Window,
    place: FetchPlace,
) -> Answer:
    last_day = split_window(window, 1)[-1].from_on
    days = {"from": window.from_on.isoformat(), "to": last_day.isoformat()}
    what = f"{account_name}: Kelkoo's answer for {window}"
    parts = []
    for country in countries:
        told = client.get(_SERVICE, {**asked, **days, "countries": country}, expects=Expects.XML)
        name = f"tracking-{country}-{window.from_on:%Y%m%d}-{last_day:%Y%m%d}.xml"
        written = write_part(told, client, place, name, f"text/xml;country={country};currency={asked['currency']}")
        # Read once to its end before it counts: what is left out is zero, so half an answer would take money back.
        for _ in _trackings(written.part.path, f"{what}, {country}"):
            pass
        parts.append(written)
    return whole_answer(window, parts, what)


def _trackings(path: Path, what: str) -> Iterator[etree._Element | pa.RecordBatch]:
    """Yield the sums of an answer; Stop if anything else is in it: that would be an error and no empty day."""
    # What has been looked at is freed, inner elements before the outer one: so first the form alone, then the values.
    for element in xml_rows(path, "tracking", _row, _is_tracking, tag="{*}*", what=what):
        if isinstance(element, pa.RecordBatch):
            continue
        parent, name = element.getparent(), etree.QName(element).localname
        if parent is None and ((element.text or "").strip() or "error" in name.lower()):
            raise _other(what, f"<{name}> says {(element.text or '').strip()[:_SHOWN_CHARACTERS]!a}")
        if parent is not None and parent.getparent() is None and name != "tracking":
            raise _other(what, f"<{name}> says {(element.text or '').strip()[:_SHOWN_CHARACTERS]!a}")
    for element in xml_rows(path, "tracking", _row, _is_tracking, what=what):
        if isinstance(element, pa.RecordBatch) or _is_tracking(element):
            yield element


def _is_tracking(element: etree._Element) -> bool:
    parent = element.getparent()
    return parent is not None and parent.getparent() is None


def _other(what: str, said: str) -> Stop:
    return Stop(
        f"{what} is no list of sums: {said}. What an answer leaves out would be taken back, so nothing of it is used; "
        "look at the landed bytes, check the credential, and fetch the window again."
    )


def _rows(parts: Sequence[Path]) -> Iterator[Values | Broken | pa.RecordBatch]:
    for part in parts:
        for told in _trackings(part, f"the Kelkoo answer {part.name[:40]}"):
            yield told if isinstance(told, pa.RecordBatch) else _row(told)


def _row(element: etree._Element) -> Values | Broken:
    values: dict[str, str | None] = {}
    for child in element:
        name = etree.QName(child).localname
        if name not in _WANTED:
            continue
        if name in values or len(child):
            wrong = "stands twice in the row" if name in values else "holds elements where a value was expected"
            return Broken(f"{name} {wrong}", etree.tostring(element, encoding="unicode", with_tail=False))
        values[name] = child.text or ""
    return tuple([values.get(name) for name in _ELEMENTS.values()])
