"""Awin's publisher API: one call, whole windows of at most 31 days, 20 calls a minute, times cut to the minute."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from decimal import Decimal
from hmac import compare_digest
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

from sandbox import credentials, folder
from sandbox.instants import from_zone, in_zone
from sandbox.model import AWIN, AWIN_PUBLISHER_ID, Program, Row, State
from sandbox.servers.web import Reply, Request

PATH = f"/publishers/{AWIN_PUBLISHER_ID}/transactions/"
WINDOW_MAX = timedelta(days=31)
ZONES = frozenset(
    ["UTC", "Europe/Berlin", "Europe/Paris", "Europe/London", "Europe/Dublin"]
    + [f"{country}/{zone}" for country in ("Canada", "US") for zone in ("Eastern", "Central", "Mountain", "Pacific")]
)
_STATUSES = frozenset(["pending", "approved", "declined", "deleted"])
_DATE_TYPES = ("transaction", "validation", "amendment")
_MINUTE_SECONDS = 60.0


class BadRequest(Exception):
    """A request the API refuses; the message is its description."""


class CallBudget:
    """Counts calls of the last minute of real time, for all accounts of the user; 0 allows any number."""

    def __init__(self, calls_per_minute: int, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._limit = calls_per_minute
        self._monotonic = monotonic
        self._calls: deque[float] = deque()
        self._lock = threading.Lock()

    def takes(self) -> bool:
        """Return whether one more call is allowed now, and count it if so."""
        if self._limit == 0:
            return True
        with self._lock:
            now = self._monotonic()
            while self._calls and now - self._calls[0] >= _MINUTE_SECONDS:
                self._calls.popleft()
            if len(self._calls) >= self._limit:
                return False
            self._calls.append(now)
            return True


class Awin:
    """Answers what a publisher may ask about its transactions."""

    def __init__(self, directory: Path, calls_per_minute: int = 20) -> None:
        self._token = credentials.load(directory).awin_token
        self._programs = {program.program_id: program for program in folder.load_programs(directory)}
        self._rows = folder.load_rows(directory, AWIN)
        self._budget = CallBudget(calls_per_minute)

    def answer(self, request: Request) -> Reply:
        """Return transactions, or the documented refusal."""
        parts = urlsplit(request.target)
        query = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        if not self._is_let_in(request, query):
            return _refusal(401, "unauthorized", "the access token is missing or wrong")
        if not self._budget.takes():
            return _refusal(429, "too_many_requests", "more than the allowed number of calls in this minute")
        if request.method != "GET" or parts.path.rstrip("/") != PATH.rstrip("/"):
            return _refusal(404, "not_found", "there is no such resource")
        try:
            zone = _zone(query)
            rows = self._by_id(query, request.now) if "ids" in query else self._in_window(query, zone, request.now)
        except BadRequest as error:
            return _refusal(400, "bad_request", str(error))
        records = [self._record(row, state, zone) for row, state in rows]
        return Reply(200, "application/json;charset=UTF-8", json.dumps(records, ensure_ascii=False).encode())

    def _is_let_in(self, request: Request, query: dict[str, str]) -> bool:
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        given = bearer.strip() if scheme.lower() == "bearer" else query.get("accessToken", "")
        return compare_digest(given.encode(), self._token.encode())

    def _known(self, now: datetime) -> Iterable[tuple[Row, State]]:
        for row in self._rows:
            state = row.state_at(now)
            if state is not None and not state.is_vanished:
                yield row, state

    def _by_id(self, query: dict[str, str], now: datetime) -> list[tuple[Row, State]]:
        wanted = set(query["ids"].split(","))
        return [(row, state) for row, state in self._known(now) if row.transaction_id in wanted]

    def _in_window(self, query: dict[str, str], zone: ZoneInfo, now: datetime) -> list[tuple[Row, State]]:
        start, end = _window(query, zone)
        date_type = query.get("dateType", "transaction")
        if date_type not in _DATE_TYPES:
            raise BadRequest(f"dateType must be one of {', '.join(_DATE_TYPES)}")
        status = query.get("status")
        if status is not None and status not in _STATUSES:
            raise BadRequest("status must be pending, approved, declined or deleted")
        advertisers = set(query["advertiserId"].split(",")) if query.get("advertiserId") else None
        found = []
        for row, state in self._known(now):
            at = {"transaction": row.occurred_at, "validation": state.validated_at, "amendment": state.amended_at}[
                date_type
            ]
            if at is None or not start <= _minute(at) <= end:
                continue
            if status is not None and state.status != status:
                continue
            if advertisers is not None and row.partner_program_id not in advertisers:
                continue
            found.append((row, state))
        return found

    def _record(self, row: Row, state: State, zone: ZoneInfo) -> dict[str, Any]:
        program = self._programs[row.program_id]
        number = int(row.transaction_id)
        clicked_at = row.clicked_at
        sale = _amount(state.sale_amount, state.currency)
        record: dict[str, Any] = {
            "id": number,
            "url": f"https://shop-{row.partner_program_id}.example/",
            "advertiserId": int(row.partner_program_id),
            "publisherId": int(AWIN_PUBLISHER_ID),
            "commissionSharingPublisherId": 0,
            "commissionSharingSelectedRatePublisherId": 0,
            "siteName": "Cashback",
            "publisherUrl": "https://cashback.example/",
            "campaign": None,
            "commissionStatus": state.status,
            "commissionAmount": _amount(state.commission_amount, state.currency),
            "saleAmount": sale,
            "networkFee": {"amount": None, "currency": None},
            "advertiserCost": {"amount": None, "currency": None},
            "ipHash": str(number * 2_654_435_761 % 2**32 - 2**31),
            "customerCountry": _country(program),
            "advertiserCountry": _country(program),
            "clickRefs": _click_refs(row),
            "clickDate": _shown(clicked_at, zone),
            "transactionDate": _shown(row.occurred_at, zone),
            "validationDate": _shown(state.validated_at, zone),
            "type": "Bonus" if row.row_kind == "bonus" else "Commission group transaction",
            "declineReason": state.reason,
            "voucherCodeUsed": row.voucher_code is not None,
            "voucherCode": row.voucher_code or "",
            "lapseTime": int((row.occurred_at - clicked_at).total_seconds()) if clicked_at is not None else 0,
            "amended": state.old_sale_amount is not None,
            "amendReason": "partial return" if state.old_sale_amount is not None else None,
            "oldSaleAmount": _amount_or_none(state.old_sale_amount, state.currency),
            "oldCommissionAmount": _amount_or_none(state.old_commission_amount, state.currency),
            "clickDevice": "Windows" if number % 2 else "iPhone",
            "transactionDevice": "Windows" if number % 2 else "iPhone",
            "customerAcquisition": None,
            "orderRef": row.order_ref,
            "customParameters": None if number % 4 else [],
            "transactionParts": [_part(state, program)],
            "paidToPublisher": state.payment_number is not None,
            "paymentId": state.payment_number or 0,
            "transactionQueryId": 0,
            "trackedCurrencyAmount": None,
            "originalSaleAmount": None,
            "basketProducts": None,
        }
        if row.click_ref is None and number % 3 == 1:
            # Absent altogether is one of the three ways of having no reference.
            del record["clickRefs"]
        return record


def _part(state: State, program: Program) -> dict[str, Any]:
    return {
        "commissionGroupId": int(program.partner_program_id) * 10,
        "amount": _number(state.sale_amount),
        "commissionAmount": _number(state.commission_amount),
        "advertiserCost": None,
        "commissionGroupCode": "DEFAULT",
        "commissionGroupName": "Default commission",
        "trackedParts": [{"code": "DEFAULT", "amount": _number(state.sale_amount), "currency": state.currency}],
    }


def _click_refs(row: Row) -> dict[str, str] | None:
    """Return the references holding only those that were set; without any it is null or, sometimes, empty."""
    if row.click_ref is None:
        return {} if int(row.transaction_id) % 3 == 2 else None
    refs = {"clickRef" if row.ref_slot == 1 else "clickRef2": row.click_ref}
    if row.ref_slot == 1 and int(row.transaction_id) % 5 == 0:
        refs["clickRef3"] = "app"
    return refs


def _window(query: dict[str, str], zone: ZoneInfo) -> tuple[datetime, datetime]:
    bounds = []
    for name, fold in (("startDate", 0), ("endDate", 1)):
        if name not in query:
            raise BadRequest(f"{name} is required")
        try:
            # The zone is a parameter of its own: what is read here is a time on its clocks.
            local = datetime.strptime(f"{query[name]}Z", "%Y-%m-%dT%H:%M:%S%z").replace(tzinfo=None)
        except ValueError:
            raise BadRequest(f"{name} must look like yyyy-MM-ddTHH:mm:ss") from None
        bounds.append((local, from_zone(local, zone, fold=fold)))
    (local_start, start), (local_end, end) = bounds
    if local_end < local_start:
        raise BadRequest("endDate is before startDate")
    if local_end - local_start > WINDOW_MAX:
        raise BadRequest("the date range must not exceed 31 days")
    return start, end


def _zone(query: dict[str, str]) -> ZoneInfo:
    name = query.get("timezone")
    if name is None:
        raise BadRequest("timezone is required")
    if name not in ZONES:
        raise BadRequest(f"timezone must be one of {', '.join(sorted(ZONES))}")
    return ZoneInfo(name)


def _minute(instant: datetime) -> datetime:
    return instant.replace(second=0, microsecond=0)


def _shown(instant: datetime | None, zone: ZoneInfo) -> str | None:
    return None if instant is None else in_zone(_minute(instant), zone).strftime("%Y-%m-%dT%H:%M:%S")


def _number(amount: Decimal) -> float:
    # The wire has JSON numbers. The shortest text of the nearest float of a two-decimal amount is that amount.
    return float(amount)


def _amount(amount: Decimal, currency: str) -> dict[str, Any]:
    return {"amount": _number(amount), "currency": currency}


def _amount_or_none(amount: Decimal | None, currency: str) -> dict[str, Any] | None:
    return None if amount is None else _amount(amount, currency)


def _country(program: Program) -> str:
    return "GB" if program.currency == "GBP" else "DE"


def _refusal(status: int, error: str, description: str) -> Reply:
    body = json.dumps({"error": error, "description": description}).encode()
    return Reply(status, "application/json;charset=UTF-8", body)
