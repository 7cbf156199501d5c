"""Awin: one REST call per window answers all transactions of it as one JSON array.

API: help.awin.com/apidocs/returns-a-list-of-transactions-for-a-given-publisher, read 2026-11-23.
Auth: a token of the user, `Authorization: Bearer`. Paging: none. Window: 31 days at most, longer ones are split here;
both ends are inclusive. Rate: 20 calls a minute for the *user*, over all accounts; 429 without Retry-After.
Amounts: JSON numbers, kept as text. Zone: naive times in the zone asked for, cut to the minute.
Reversals: mutating (the same id changes; declined rows keep their amounts; `amended` says the amounts did).
Quirks: `clickRefs` holds only the references that were set, or is null, or only the second is set. `transactionParts`
names the commission group of each part.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
from pydantic import SecretStr

from connectors.partners.account_settings import NO_CLOCK, secret, setting, split_window, whole_setting
from connectors.partners.json_blocks import Json
from connectors.partners.json_elements import array_rows
from connectors.partners.rows import RAW_CHARACTERS_MAX, Broken, Values, batches
from connectors.partners.written_parts import whole_answer, write_part
from connectors.transport.answer import Expects
from connectors.transport.budget import Budget
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

_URL = "https://api.awin.com"
_CALLS_PER_MINUTE = 20
_CALLS_PER_MINUTE_MAX = 100_000
_ZONES = frozenset(
    {f"Europe/{city}" for city in ("Berlin", "Paris", "London", "Dublin")}
    | {f"{land}/{name}" for land in ("Canada", "US") for name in ("Eastern", "Central", "Mountain", "Pacific")}
    | {"UTC"}
)

_FLAG = "paid_to_publisher"
"""The one column that is a truth value; one anywhere else is no text."""

# Column, and where it stands in a row: a key, or an object's key and the key in it.
_PATHS: Mapping[str, tuple[str, ...]] = {
    "id": ("id",),
    "advertiser_id": ("advertiserId",),
    "commission_status": ("commissionStatus",),
    "commission_amount": ("commissionAmount", "amount"),
    "commission_currency": ("commissionAmount", "currency"),
    "sale_amount": ("saleAmount", "amount"),
    "sale_currency": ("saleAmount", "currency"),
    "click_ref": ("clickRefs", "clickRef"),
    "click_ref2": ("clickRefs", "clickRef2"),
    "click_date": ("clickDate",),
    "transaction_date": ("transactionDate",),
    "validation_date": ("validationDate",),
    "type": ("type",),
    "decline_reason": ("declineReason",),
    "amend_reason": ("amendReason",),
    "order_ref": ("orderRef",),
    "paid_to_publisher": ("paidToPublisher",),
    "payment_id": ("paymentId",),
    "customer_acquisition": ("customerAcquisition",),
}
_PARTS = "transactionParts"
SEVERAL = "several"
"""The commission group of a transaction whose parts are of different ones."""


class Awin:
    """The connector for Awin's publisher API."""

    facts = ConnectorFacts(
        partner="awin",
        parse_version=2,
        version_clock=VersionClock.OBSERVED,
        clock_precision_seconds=1,
        reversal_model=ReversalModel.MUTATING,
        change_feed=ChangeFeed.ROLLING_REREAD,
        states_scope=True,
        longest_window_days=31,
    )

    def fetch(
        self, account: PartnerAccount, credentials: Credentials, window: Window, place: FetchPlace
    ) -> Sequence[Answer]:
        """Return one answer for each 31 days of `window`; errors as `HttpClient.get`."""
        if account.zone not in _ZONES:
            raise Stop(
                f"{account.name}: Awin answers in {', '.join(sorted(_ZONES))} only, not in {account.zone}; "
                "UTC is safest, as its clock never goes back."
            )
        publisher = setting(account, credentials, "publisher_id")
        settings = HttpSettings(
            base_url=setting(account, credentials, "url", _URL),
            connection=account.connection,
            authorization=SecretStr(f"Bearer {secret(account, credentials, 'token')}"),
        )
        budget = Budget(
            directory=place.budget_directory,
            # Awin counts calls of the user, whose token the connection holds, over all accounts.
            credential=f"awin/{account.connection}",
            calls=whole_setting(account, credentials, "calls_per_minute", 1, _CALLS_PER_MINUTE_MAX, _CALLS_PER_MINUTE),
            window_seconds=60.0,
            clock=time.time,
            sleep=time.sleep,
        )
        with HttpClient(settings, clock=lambda: NO_CLOCK, budget=budget) as client:
            return [
                self._window(client, account.name, publisher, account.zone, each, place)
                for each in split_window(window, self.facts.longest_window_days)
            ]

    def _window(
        self, client: HttpClient, account_name: str, publisher: str, zone: str, window: Window, place: FetchPlace
    ) -> Answer:
        last_day = split_window(window, 1)[-1].from_on
        parameters = {
            "startDate": f"{window.from_on.isoformat()}T00:00:00",
            "endDate": f"{last_day.isoformat()}T23:59:59",
            "timezone": zone,
        }
        answer = client.get(f"publishers/{publisher}/transactions/", parameters, expects=Expects.JSON)
        name = f"transactions-{window.from_on:%Y%m%d}-{last_day:%Y%m%d}.json"
        written = write_part(answer, client, place, name, "application/json")
        what = f"{account_name}: Awin's answer for {window}"
        # Read once to its end before it counts: an error under status 200, or an array that is not whole, is no answer.
        for _ in array_rows(written.part.path, what, _row):
            pass
        return whole_answer(window, [written], what)

    def flatten(self, parts: Sequence[Path]) -> Iterator[pa.RecordBatch]:
        """Yield the transactions of the JSON arrays as text columns."""
        return batches((*_PATHS, "commission_group"), _rows(parts))


def _rows(parts: Sequence[Path]) -> Iterator[Values | Broken | pa.RecordBatch]:
    for part in parts:
        yield from array_rows(part, f"the Awin answer {part.name[:40]}", _row)


def _row(element: dict[str, Json]) -> Values | Broken:
    values: list[str | None] = []
    for column, path in _PATHS.items():
        value: Json = element
        for key in path:
            # Absent, null and an absent object are one to Awin: a reference or amount that was not set.
            value = value.get(key) if isinstance(value, dict) else value
        if column == _FLAG and isinstance(value, bool):
            value = "true" if value else "false"
        if isinstance(value, bool | dict | list) or (
            len(path) > 1 and not isinstance(element.get(path[0]), dict | None)
        ):
            return Broken(
                f"{column} is not where Awin's documentation puts it ({'.'.join(path)})",
                str(element)[:RAW_CHARACTERS_MAX],
            )
        values.append(value)
    return (*values, _commission_group(element.get(_PARTS)))


def _commission_group(parts: Json) -> str | None:
    """Return the code of the one commission group of all parts, SEVERAL if there are more, None if none is told."""
    told = parts if isinstance(parts, list) else []
    codes = {
        part.get("commissionGroupCode") or part.get("commissionGroupId") for part in told if isinstance(part, dict)
    }
    groups = {code for code in codes if isinstance(code, str) and code.strip()}
    return SEVERAL if len(groups) > 1 else next(iter(groups), None)
