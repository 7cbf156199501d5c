"""TradeTracker's affiliate service: a session by cookie, transactions per site with limit and offset."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal
from hmac import compare_digest
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from zoneinfo import ZoneInfo

from sandbox import credentials, folder
from sandbox.instants import from_zone, in_zone, parsed
from sandbox.model import TRADETRACKER, TRADETRACKER_CUSTOMER_ID, TRADETRACKER_SITE_IDS, Program, Row, State
from sandbox.servers import soap, wsdl
from sandbox.servers.soap import Call, Record
from sandbox.servers.web import Reply, Request

PATH = "/soap/affiliate"
ZONE = ZoneInfo("Europe/Amsterdam")
LIMIT_DEFAULT = 100
LIMIT_MAX = 500
SESSION_SECONDS = 1800.0
CENT = Decimal("0.01")
_COOKIE = "PHPSESSID"
_STATUS = {"pending": "pending", "approved": "accepted", "declined": "rejected"}
_NOT_AUTHENTICATED = "Not authenticated"


class Refused(Exception):
    """A call that is answered with a fault of the client; the message is its text."""


class TradeTracker:
    """Answers calls of one customer."""

    def __init__(self, directory: Path) -> None:
        self._passphrase = credentials.load(directory).tradetracker_passphrase
        self._programs = {program.program_id: program for program in folder.load_programs(directory)}
        self._rows = folder.load_rows(directory, TRADETRACKER)
        self._sessions: dict[str, float] = {}
        self._lock = threading.Lock()
        self.address = ""

    def answer(self, request: Request) -> Reply:
        """Return the service description, or the answer to a call."""
        path, _, query = request.target.partition("?")
        if path != PATH:
            return Reply(404, "text/plain", b"there is no such service\n")
        if request.method == "GET":
            if query.lower() == "wsdl":
                return Reply(200, "text/xml; charset=utf-8", wsdl.described(self.address))
            return Reply(405, "text/plain", b"call the service by POST, or read its description with ?wsdl\n")
        try:
            call = soap.parsed(request.body)
            if call.operation == "authenticate":
                return self._authenticated(call)
            return _xml(200, self._called(call, request))
        except (soap.NotSoap, Refused) as error:
            return _xml(500, soap.fault("Client", str(error)))

    def _authenticated(self, call: Call) -> Reply:
        is_customer = call.values.get("customerID") == TRADETRACKER_CUSTOMER_ID
        given = call.values.get("passphrase", "")
        if not (compare_digest(given.encode(), self._passphrase.encode()) and is_customer):
            raise Refused("Authentication failed")
        if call.values.get("locale", "en_GB") not in wsdl.ENUMERATIONS["Locale"]:
            raise Refused("Unknown locale")
        session = secrets.token_hex(16)
        with self._lock:
            self._sessions[session] = time.monotonic() + SESSION_SECONDS
        reply = _xml(200, soap.answered("authenticate"))
        return Reply(reply.status, reply.media_type, reply.body, (("Set-Cookie", f"{_COOKIE}={session}; path=/"),))

    def _called(self, call: Call, request: Request) -> bytes:
        if not self._has_session(request):
            raise Refused(_NOT_AUTHENTICATED)
        match call.operation:
            case "getAffiliateSites":
                return soap.answered(call.operation, "affiliateSites", "AffiliateSites", _sites())
            case "getClickTransactions":
                # Commission per click is not sold here, so there are none; the clicks are in our own tracker.
                _site(call)
                return soap.answered(call.operation, "clickTransactions", "ClickTransactions")
            case "getConversionTransactions":
                site_id = _site(call)
                found = _page(self._matching(site_id, call.options, request.now), call.options)
                records = (self._record(row, state) for row, state in found)
                return soap.answered(call.operation, "conversionTransactions", "ConversionTransactions", records)
            case _:
                raise Refused(f"Function ({call.operation}) is not a valid method for this service")

    def _has_session(self, request: Request) -> bool:
        try:
            cookie = SimpleCookie(request.headers.get("cookie", "")).get(_COOKIE)
        except CookieError:
            return False
        with self._lock:
            return cookie is not None and self._sessions.get(cookie.value, 0.0) > time.monotonic()

    def _matching(self, site_id: str, options: dict[str, str], now: datetime) -> Iterable[tuple[Row, State]]:
        registered = _bounds(options, "registrationDate")
        assessed = _bounds(options, "assessmentDate")
        for row in self._rows:
            state = row.state_at(now)
            if state is None or state.is_vanished or self._programs[row.program_id].site_id != site_id:
                continue
            is_wanted = (
                _within(row.occurred_at, registered)
                and _within(state.validated_at, assessed)
                and options.get("ID", row.transaction_id) == row.transaction_id
                and options.get("transactionType", "sale") == "sale"
                and options.get("transactionStatus", _status(state)) == _status(state)
                and options.get("reference", row.click_ref or "") == (row.click_ref or "")
            )
            if is_wanted:
                yield row, state

    def _record(self, row: Row, state: State) -> Record:
        program = self._programs[row.program_id]
        clicked_at = row.clicked_at
        return {
            "ID": row.transaction_id,
            "campaign": _campaign(program),
            "campaignProduct": {"ID": str(int(program.partner_program_id) + 50_000), "name": "Default"},
            "reference": row.click_ref or "",
            "transactionType": "sale",
            "transactionStatus": _status(state),
            "description": row.order_ref,
            "currency": state.currency,
            "commission": f"{state.commission_amount.quantize(CENT):f}",
            "orderAmount": f"{state.sale_amount.quantize(CENT):f}",
            "IP": f"192.0.2.{int(row.transaction_id) % 256}",
            "registrationDate": _shown(row.occurred_at),
            "assessmentDate": None if state.validated_at is None else _shown(state.validated_at),
            "clickToConversion": None if clicked_at is None else duration(row.occurred_at - clicked_at),
            "originatingClickDate": None if clicked_at is None else _shown(clicked_at),
            "rejectionReason": state.reason if state.status == "declined" else None,
            "paidOut": "true" if state.payment_number is not None else "false",
        }


def duration(span: timedelta) -> str:
    """Return a span as xsd:duration, such as P1DT2H3M4S."""
    minutes, seconds = divmod(int(span.total_seconds()) % 86_400, 60)
    hours, minutes = divmod(minutes, 60)
    days = int(span.total_seconds()) // 86_400
    time_part = "".join(f"{value}{unit}" for value, unit in ((hours, "H"), (minutes, "M"), (seconds, "S")) if value)
    if not days and not time_part:
        return "PT0S"
    return f"P{f'{days}D' if days else ''}{f'T{time_part}' if time_part else ''}"


def _sites() -> list[Record]:
    return [
        {
            "ID": site_id,
            "name": f"Cashback site {number}",
            "URL": "https://cashback.example/",
            "info": {
                "type": {"ID": "11", "name": "Cashback"},
                "category": {"ID": "7", "name": "Shopping"},
                "description": None,
                "creationDate": "2020-01-15",
                "status": "accepted",
            },
        }
        for number, site_id in enumerate(TRADETRACKER_SITE_IDS, start=1)
    ]


def _site(call: Call) -> str:
    site_id = call.values.get("affiliateSiteID", "")
    if site_id not in TRADETRACKER_SITE_IDS:
        raise Refused("Unknown affiliate site")
    return site_id


def _campaign(program: Program) -> Record:
    name = program.name.partition(" (")[0]
    url = f"https://shop-{program.partner_program_id}.example/"
    return {"ID": program.partner_program_id, "name": name, "URL": url, "info": None}


def _page(found: Iterable[tuple[Row, State]], options: dict[str, str]) -> list[tuple[Row, State]]:
    field = options.get("sort", "registrationDate")
    if field not in wsdl.ENUMERATIONS["TransactionConversionSort"]:
        raise Refused("Unknown sort")

    def place(entry: tuple[Row, State]) -> tuple[bool, datetime | None, int]:
        """Return what orders a row: the time it is sorted by, after all others where there is none; then its number."""
        row, state = entry
        at = {"ID": None, "assessmentDate": state.validated_at}.get(field, row.occurred_at)
        return at is None, at, int(row.transaction_id)

    ordered = sorted(found, key=place, reverse=options.get("sortDirection") == "descending")
    offset = _count(options, "offset", 0)
    limit = min(_count(options, "limit", LIMIT_DEFAULT), LIMIT_MAX)
    return ordered[offset : offset + limit]


def _count(options: dict[str, str], name: str, default: int) -> int:
    text = options.get(name, str(default)).strip()
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise Refused(f"{name} is not a nonNegativeInteger")
    return int(text)


def _bounds(options: dict[str, str], field: str) -> tuple[datetime | None, datetime | None]:
    return _instant(options.get(f"{field}From")), _instant(options.get(f"{field}To"))


def _instant(text: str | None) -> datetime | None:
    """Return the instant of an xsd:dateTime; without an offset it is the network's local time."""
    if not text:
        return None
    try:
        value = datetime.fromisoformat(text.strip())
        return from_zone(value, ZONE) if value.tzinfo is None else parsed(text.strip())
    except ValueError:
        raise Refused("a date is not an xsd:dateTime") from None


def _within(instant: datetime | None, bounds: tuple[datetime | None, datetime | None]) -> bool:
    start, end = bounds
    if start is None and end is None:
        return True
    if instant is None:
        return False
    whole = instant.replace(microsecond=0)
    return (start is None or start <= whole) and (end is None or whole <= end)


def _status(state: State) -> str:
    return _STATUS[state.status or "pending"]


def _shown(instant: datetime) -> str:
    return in_zone(instant, ZONE).replace(microsecond=0).isoformat()


def _xml(status: int, body: bytes) -> Reply:
    return Reply(status, "text/xml; charset=utf-8", body)
