"""CJ Affiliate: commission records by a GraphQL query over POST, page after page; corrections are records of their own.

API: docs.cj.com/docs/graphql-api and the schema as the service tells it, read 2026-11-23. Auth: personal access
token, `Authorization: Bearer`. Paging: until `payloadComplete`, each page after the `maxCommissionId` of the one
before. Window: days by *posting* date, begin included and end not; 28 at most here, no limit is published. Rate: none
published.
Amounts: decimal text in the publisher's currency, which no field names: the account says it. Zone: UTC on the wire.
Reversals: signed rows, joined by `originalActionId`; a restatement is two new records, the full reversal and the new
state. Quirks: an error has status 200 and `errors`; a status changes on a record without any date of change.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pyarrow as pa
from pydantic import SecretStr

from connectors.partners.account_settings import NO_CLOCK, secret, setting, several, split_window
from connectors.partners.json_blocks import DoubledKey, Json, text_column, values_of, with_texts
from connectors.partners.json_elements import whole_object
from connectors.partners.rows import RAW_CHARACTERS_MAX, Broken, Values, batches
from connectors.partners.written_parts import WrittenPart, whole_answer, write_part
from connectors.transport.http import HttpClient, HttpSettings
from etl.core.connector import (
    Answer,
    ChangeFeed,
    ConnectorFacts,
    Credentials,
    FetchPlace,
    ReversalModel,
    SignedRowLink,
    VersionClock,
    Window,
)
from etl.core.errors import Stop

if TYPE_CHECKING:
    from etl.core.configuration import PartnerAccount

PAGES_MAX = 10_000
_URL = "https://commissions.api.cj.com"
_SHOWN_CHARACTERS = 300
_FLAG = "original"
# Column, and the field of a record.
_FIELDS: Mapping[str, str] = {
    "commission_id": "commissionId",
    "original_action_id": "originalActionId",
    "original": "original",
    "correction_reason": "correctionReason",
    "action_status": "actionStatus",
    "action_type": "actionType",
    "validation_status": "validationStatus",
    "advertiser_id": "advertiserId",
    "order_id": "orderId",
    "shopper_id": "shopperId",
    "event_date": "eventDate",
    "posting_date": "postingDate",
    "click_date": "clickDate",
    "sale_amount": "saleAmountPubCurrency",
    "commission_amount": "pubCommissionAmountPubCurrency",
}


class Cj:
    """The connector for CJ's commission detail API."""

    facts = ConnectorFacts(
        partner="cj",
        parse_version=1,
        version_clock=VersionClock.OBSERVED,
        clock_precision_seconds=1,
        reversal_model=ReversalModel.SIGNED_ROWS,
        change_feed=ChangeFeed.ROLLING_REREAD,
        # An answer holds what was posted in its days: a sale of those days that is not in it has not vanished.
        states_scope=False,
        longest_window_days=28,
        signed_row_link=SignedRowLink.ORIGINAL,
    )

    def fetch(
        self, account: PartnerAccount, credentials: Credentials, window: Window, place: FetchPlace
    ) -> Sequence[Answer]:
        """Return one answer for each 28 days, whose parts are its pages; errors as `HttpClient.post`."""
        if account.currency is None:
            raise Stop(
                f"{account.name}: config/partners/{account.name}.yaml has no currency, and no field of CJ's tells the "
                "one you are paid in; enter that of your CJ account."
            )
        publishers = several(account, "publisher_ids")
        settings = HttpSettings(
            base_url=setting(account, credentials, "url", _URL),
            connection=account.connection,
            authorization=SecretStr(f"Bearer {secret(account, credentials, 'token')}"),
        )
        with HttpClient(settings, clock=lambda: NO_CLOCK) as client:
            return [
                _answer(client, account, account.currency, publishers, each, place)
                for each in split_window(window, self.facts.longest_window_days)
            ]

    def flatten(self, parts: Sequence[Path]) -> Iterator[pa.RecordBatch]:
        """Yield the records of the pages as text columns."""
        return batches(tuple(_FIELDS), _rows(parts))


def _answer(
    client: HttpClient,
    account: PartnerAccount,
    currency: str,
    publishers: Sequence[str],
    window: Window,
    place: FetchPlace,
) -> Answer:
    what = f"{account.name}: CJ's answer for {window}"
    parts: list[WrittenPart] = []
    after: Json = None
    while True:
        if len(parts) == PAGES_MAX:
            raise Stop(f"{what} has more than {PAGES_MAX:,} pages; fetch shorter windows.")
        body = json.dumps({"query": _query(publishers, window, account.zone, after)}).encode()
        told = client.post("query", body, content_type="application/json", repeatable=True)
        name = f"commissions-{window.from_on:%Y%m%d}-{window.until_on:%Y%m%d}-page-{len(parts) + 1:04d}.json"
        written = write_part(told, client, place, name, f"application/json;currency={currency}")
        parts.append(written)
        page = _page(written.part.path, what)
        if page["payloadComplete"] is True:
            return whole_answer(window, parts, what)
        before, after = after, page["maxCommissionId"]
        if not isinstance(after, str) or not after or after == before:
            raise Stop(f"{what} goes on, but does not say after which record ({after!a}); ask CJ.")


def _query(publishers: Sequence[str], window: Window, zone: str, after: Json) -> str:
    asked = {
        "forPublishers": list(publishers),
        "sincePostingDate": _midnight(window.from_on, zone),
        "beforePostingDate": _midnight(window.until_on, zone),
        **({} if after is None else {"sinceCommissionId": after}),
    }
    arguments = ", ".join(f"{name}: {json.dumps(value)}" for name, value in asked.items())
    records = " ".join(_FIELDS.values())
    return (
        f"{{ publisherCommissions({arguments}) {{ count maxCommissionId payloadComplete records {{ {records} }} }} }}"
    )


def _midnight(day: date, zone: str) -> str:
    return f"{datetime.combine(day, time(), ZoneInfo(zone)).astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _page(path: Path, what: str) -> dict[str, Any]:
    """Return what a page holds; Stop if it is an error, or not as many records as it counts."""
    told = whole_object(path, what)
    data = told.get("data")
    page = data.get("publisherCommissions") if isinstance(data, dict) else None
    if told.get("errors") or not isinstance(page, dict):
        said = "".join(each if each.isprintable() else "?" for each in json.dumps(told.get("errors") or told))
        raise Stop(
            f"{what} is no list of commissions; it says {said[:_SHOWN_CHARACTERS]}. See to that, then fetch the window "
            "again."
        )
    records = page.get("records")
    page = {name: with_texts(value) for name, value in page.items() if name != "records"}
    if not isinstance(records, list) or page.get("count") != str(len(records)) or "payloadComplete" not in page:
        raise Stop(f"{what} counts {page.get('count')!a} records and holds others: it is not whole; fetch it again.")
    return {**page, "records": records}


def _rows(parts: Sequence[Path]) -> Iterator[Values | Broken | pa.RecordBatch]:
    for part in parts:
        records = _page(part, f"the CJ answer {part.name[:40]}")["records"]
        assert isinstance(records, list)
        columns = _columns(records)
        if columns is None:
            yield from map(_row, map(with_texts, records))
        else:
            yield columns


def _columns(records: list[Any]) -> pa.RecordBatch | None:
    """Return what `_row` says of each, as columns; None where one of them is not as CJ's schema has it."""
    if not set(map(type, records)) <= {dict}:
        return None
    columns: dict[str, pa.Array] = {}
    for column, values in zip(_FIELDS, values_of(records, tuple(_FIELDS.values())), strict=True):
        texts = text_column(values, is_flag=column == _FLAG)
        if texts is None:
            return None
        columns[column] = texts
    return pa.RecordBatch.from_pydict(columns)


def _row(record: Json) -> Values | Broken:
    if not isinstance(record, dict) or isinstance(record, DoubledKey):
        return Broken("the record is no JSON object, or says a thing twice", str(record)[:RAW_CHARACTERS_MAX])
    values: list[str | None] = []
    for column, name in _FIELDS.items():
        value = record.get(name)
        if column == _FLAG and isinstance(value, bool):
            value = "true" if value else "false"
        if isinstance(value, bool | dict | list):
            return Broken(f"{name} is not a value as CJ's schema has it", str(record)[:RAW_CHARACTERS_MAX])
        values.append(value)
    return tuple(values)
