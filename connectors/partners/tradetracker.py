"""TradeTracker: SOAP; a session by cookie, then the conversion transactions of each site, page after page.

API: ws.tradetracker.com/soap/affiliate and its WSDL, read 2026-11-23. rpc/encoded, SOAP 1.1.
Auth: `authenticate(customerID, passphrase)` sets a session cookie. Paging: limit and offset, sorted by ID, so that what
is registered meanwhile comes last; at the end the last row of every page is asked for again with the one after it, to
see that nothing was taken out meanwhile and that nothing follows (a service may cap the limit it was asked for).
Window: by registration date, both ends inclusive; filters without an offset are clock readings at the partner
(Europe/Amsterdam, the account's zone). Amounts: xsd:decimal. Times: xsd:dateTime, usually with an offset.
Reversals: mutating (the same ID becomes `rejected`, with a reason). Paid is the flag `paidOut`.
Quirks: fields appear over the years (all are read by name); `reference` is '' if missing; a value may be nil, or an
`href` to one told before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
from lxml import etree
from pydantic import SecretStr

from connectors.partners.account_settings import (
    NO_CLOCK,
    secret,
    setting,
    several,
    split_window,
    whole_setting,
)
from connectors.partners.rows import Broken, Values, batches
from connectors.partners.written_parts import WrittenPart, whole_answer, write_part
from connectors.partners.xml_rows import xml_rows
from connectors.transport import answer as transport
from connectors.transport.http import HttpClient, HttpSettings
from connectors.transport.soap import SOAP_ENCODING, SoapClient
from connectors.transport.xml import iterate_elements
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
from etl.core.errors import Retry, Stop

if TYPE_CHECKING:
    from etl.core.configuration import PartnerAccount

WSDL = Path(__file__).with_name("tradetracker.wsdl")
PAGES_MAX = 2_000
_URL = "https://ws.tradetracker.com/soap/affiliate"
_PAGE_ROWS = 500
_PAGE_ROWS_MAX = 10_000
_NIL = "{http://www.w3.org/2001/XMLSchema-instance}nil"
_ROW = "{*}item"
_ARRAY = "{*}conversionTransactions"
_ARRAY_TYPE = f"{{{SOAP_ENCODING}}}arrayType"

_ELEMENTS = {
    "id": "ID",
    "campaign_id": "campaign",
    "campaign_product_id": "campaignProduct",
    "reference": "reference",
    "transaction_type": "transactionType",
    "transaction_status": "transactionStatus",
    "description": "description",
    "currency": "currency",
    "commission": "commission",
    "order_amount": "orderAmount",
    "registration_date": "registrationDate",
    "assessment_date": "assessmentDate",
    "originating_click_date": "originatingClickDate",
    "rejection_reason": "rejectionReason",
    "paid_out": "paidOut",
}
_WANTED = frozenset(_ELEMENTS.values())
_NAMED = frozenset({"campaign", "campaignProduct"})
"""Elements that hold an id among others; of these the id is taken."""


class TradeTracker:
    """The connector for TradeTracker's affiliate service."""

    facts = ConnectorFacts(
        partner="tradetracker",
        parse_version=2,
        version_clock=VersionClock.OBSERVED,
        clock_precision_seconds=1,
        reversal_model=ReversalModel.MUTATING,
        change_feed=ChangeFeed.ROLLING_REREAD,
        states_scope=True,
        longest_window_days=92,
    )

    def fetch(
        self, account: PartnerAccount, credentials: Credentials, window: Window, place: FetchPlace
    ) -> Sequence[Answer]:
        """Return one answer whose parts are the pages of every site; Retry if a page set moved while it was read."""
        passphrase = SecretStr(secret(account, credentials, "passphrase"))
        settings = HttpSettings(
            base_url=setting(account, credentials, "url", _URL),
            connection=account.connection,
            credential="passphrase",
            other_secrets=(passphrase,),
        )
        page_rows = whole_setting(account, credentials, "page_rows", 1, _PAGE_ROWS_MAX, _PAGE_ROWS)
        sites = several(account, "site_ids")
        _check_sites(account, sites)
        with HttpClient(settings, clock=lambda: NO_CLOCK) as http:
            service = SoapClient(WSDL, http)
            service.call(
                "authenticate",
                customerID=_customer(account, credentials),
                passphrase=passphrase.get_secret_value(),
                sandbox=False,
                locale=setting(account, credentials, "locale", "en_GB"),
                demo=False,
            )
            pages = [
                page
                for site in sites
                for page in _Site(service, http, account.name, site, window, page_rows).pages(place)
            ]
        return (whole_answer(window, [each.written for each in pages], f"{account.name}: TradeTracker's answer"),)

    def flatten(self, parts: Sequence[Path]) -> Iterator[pa.RecordBatch]:
        """Yield the transactions of the SOAP answers as text columns."""
        return batches(tuple(_ELEMENTS), _rows(parts))


def _customer(account: PartnerAccount, credentials: Credentials) -> int:
    text = secret(account, credentials, "customer_id")
    if not (text.isascii() and text.isdecimal()):
        # It is half of a credential, so it is not shown.
        raise Stop(
            f"{account.name}: the customer_id in the connection {account.connection} is no number; enter the one "
            "TradeTracker gave you."
        )
    return int(text)


def _check_sites(account: PartnerAccount, sites: Sequence[str]) -> None:
    wrong = [site for site in sites if not (site.isascii() and site.isdecimal())]
    if wrong:
        raise Stop(
            f"{account.name}: the site {wrong[0][:40]!r} of the option site_ids is no number; correct it in "
            f"config/partners/{account.name}.yaml."
        )


@dataclass(frozen=True, slots=True)
class _Page:
    """A page on local disk, with the ids on it in order."""

    written: WrittenPart
    ids: Sequence[str | None]


class _Site:
    """The transactions of one site in one window."""

    def __init__(
        self, service: SoapClient, http: HttpClient, account: str, site: str, window: Window, page_rows: int
    ) -> None:
        self._service = service
        self._http = http
        self._who = f"{account}, site {site}, {window}"
        self._site = site
        self._window = window
        self._page_rows = page_rows

    def pages(self, place: FetchPlace) -> list[_Page]:
        """Return all pages, whose ids are all different and still the same at the end.

        A page with fewer rows than were asked for is not yet the end: a service may give fewer than that at once. The
        end is where nothing follows the last row.
        """
        pages: list[_Page] = []
        seen: set[str] = set()
        full = self._page_rows
        while True:
            if len(pages) == PAGES_MAX:
                raise Stop(f"{self._who}: more than {PAGES_MAX:,} pages of {full}; fetch shorter windows.")
            page = self._page(len(pages), sum(len(each.ids) for each in pages), place)
            if len(page.ids) > self._page_rows:
                raise Stop(f"{self._who}: a page has more than the {self._page_rows} rows asked for; set page_rows.")
            told = [each for each in page.ids if each is not None]
            if len(set(told)) != len(told) or not seen.isdisjoint(told):
                raise Retry(f"{self._who}: a transaction stands on two pages, so the set moved; fetch it again.")
            seen.update(told)
            if page.ids or not pages:
                pages.append(page)
            if len(page.ids) < full:
                if self._is_end(pages):
                    return pages
                full = len(page.ids) or full

    def _is_end(self, pages: Sequence[_Page]) -> bool:
        """Return whether nothing follows the pages; Retry if what was read stands elsewhere by now.

        Sorted by ID, what is taken out of a page after it was read shifts all that follows, and what stood first on
        the next one is read by nobody. The page's last row has then left its place.
        """
        read_count = 0
        following: list[str | None] = []
        for page in pages:
            if page.ids:
                read_count += len(page.ids)
                following = _ids(self._ask(read_count - 1, 2).content, self._who)
                if following[:1] != page.ids[-1:]:
                    raise Retry(f"{self._who}: transactions moved between pages while they were read; fetch it again.")
        return len(following) < 2

    def _page(self, number: int, offset: int, place: FetchPlace) -> _Page:
        answer = self._ask(offset, self._page_rows)
        name = f"site-{self._site}-{self._window.from_on:%Y%m%d}-page-{number + 1:04d}.xml"
        written = write_part(answer, self._http, place, name, f"text/xml;site={self._site}")
        return _Page(written, _ids(written.part.path, self._who))

    def _ask(self, offset: int, limit: int) -> transport.Answer:
        last_day = split_window(self._window, 1)[-1].from_on
        return self._service.call(
            "getConversionTransactions",
            affiliateSiteID=int(self._site),
            options={
                # Clock readings at the partner: a naive time is written without an offset.
                "registrationDateFrom": datetime.combine(self._window.from_on, time.min),
                "registrationDateTo": datetime.combine(last_day, time(23, 59, 59)),
                "limit": limit,
                "offset": offset,
                "sort": "ID",
                "sortDirection": "ascending",
            },
        )


def _ids(content: bytes | Path, what: str) -> list[str | None]:
    return [_text(each.find("{*}ID")) for each in _items(content, what)]


def _items(source: bytes | Path, what: str) -> Iterator[etree._Element]:
    """Yield the transactions of an answer; Stop as `_whole`."""
    return _whole(iterate_elements(source, _ROW, what=what), source, what)


def _whole(
    items: Iterator[etree._Element | pa.RecordBatch], source: bytes | Path, what: str
) -> Iterator[etree._Element | pa.RecordBatch]:
    """Yield the transactions among the items, and Stop at the end unless they are as many as their array says."""
    count, declared = 0, None
    for item in items:
        if isinstance(item, pa.RecordBatch):
            count += item.num_rows
            yield item
        elif (parent := _transactions(item)) is not None:
            declared = parent.get(_ARRAY_TYPE, declared)
            count += 1
            yield item
    if count == 0:
        arrays = [each.get(_ARRAY_TYPE, "[0]") for each in iterate_elements(source, _ARRAY, what=what)]
        if len(arrays) != 1:
            raise Stop(f"{what} holds no conversionTransactions: it is no answer to this question; look at the bytes.")
        declared = arrays[0]
    if declared is not None and not declared.endswith((f"[{count}]", "[]")):
        raise Stop(f"{what} declares {declared} but holds {count} rows: it is not whole; fetch the window again.")


def _transactions(item: etree._Element) -> etree._Element | None:
    """Return the array of transactions in which an item stands; None if it is no transaction."""
    parent = item.getparent()
    return None if parent is None or str(parent.tag).rpartition("}")[2] != "conversionTransactions" else parent


def _is_transaction(item: etree._Element) -> bool:
    return _transactions(item) is not None


def _rows(parts: Sequence[Path]) -> Iterator[Values | Broken | pa.RecordBatch]:
    for part in parts:
        what = f"the TradeTracker answer {part.name[:40]}"
        # An element may stand once, with an id, and be referred to after that.
        row = partial(_row, told={})
        for item in _whole(xml_rows(part, "item", row, _is_transaction, what=what), part, what):
            yield item if isinstance(item, pa.RecordBatch) else row(item)


def _row(element: etree._Element, told: dict[str, str | None]) -> Values | Broken:
    if element.get("href") is not None:
        return Broken("the row is told elsewhere (href), which is not followed", _shown(element))
    values: dict[str, str | None] = {}
    for child in element:
        name = child.tag.rpartition("}")[2]
        if name not in _WANTED:
            continue
        if name in values:
            return Broken(f"{name} stands twice in the row", _shown(element))
        if name in _NAMED:
            values[name] = _id(child, told)
        elif len(child) or child.get("href") is not None:
            return Broken(f"{name} holds elements or a reference where a value was expected", _shown(element))
        else:
            values[name] = _text(child)
    return tuple([values.get(name) for name in _ELEMENTS.values()])


def _shown(element: etree._Element) -> str:
    return etree.tostring(element, encoding="unicode", with_tail=False)


def _id(element: etree._Element, told: dict[str, str | None]) -> str | None:
    reference = element.get("href")
    if reference is not None:
        return told.get(reference.removeprefix("#"))
    found = _text(element.find("{*}ID"))
    name = element.get("id")
    if name is not None:
        told[name] = found
    return found


def _text(element: etree._Element | None) -> str | None:
    """Return the text of an element, None where it is absent or nil."""
    if element is None or element.get(_NIL) in ("true", "1"):
        return None
    return element.text or ""
