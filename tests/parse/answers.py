"""Answers of the shapes that partners were seen to send, with made-up values, and how a test parses them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pyarrow as pa

from connectors.partners import connector_for
from etl.core.configuration import PartnerAccount
from etl.core.engine import Engine
from etl.core.judgement import REJECT, Delivery, Source, parsed_groups

MEDIA = {
    "awin": "application/json",
    "cj": "application/json;currency=EUR",
    "kelkoo": "text/xml;country=fr;currency=EUR",
    "rakuten": "text/csv;network=3",
    "tradetracker": "text/xml;site=1",
}
ZONES = {
    "awin": "Europe/Berlin",
    "cj": "UTC",
    "kelkoo": "Europe/Paris",
    "rakuten": "UTC",
    "tradetracker": "Europe/Amsterdam",
}
HEADER = (
    "Member ID (U1),MID,Advertiser Name,Order ID,Transaction Date,Transaction Time,SKU,Sales,# of Items,"
    "Total Commission,Process Date,Process Time,Transaction ID,Referrer URL"
)
RAKUTEN_ROW = (
    '"c-7f3a",41000,"Shop",W-5512,3/1/26,9:31:12,"ABC\\10",40,1,2.025,'
    '3/1/26,9:31:16,"00AA11BB22CC33DD44EE55FF66007788","null"'
)


def account(partner: str, **options: str | int | tuple[str, ...]) -> PartnerAccount:
    """Return an account at a partner in its usual zone."""
    return PartnerAccount(
        f"{partner}_main", partner, "shop", f"{partner}_test", ZONES[partner], None, "approval", options
    )


def awin_row(**changed: Any) -> dict[str, Any]:
    """Return an Awin transaction; a value given replaces the one it has, `...` takes the key out."""
    row: dict[str, Any] = {
        "id": 700123456, "url": "https://shop.example/", "advertiserId": 9001, "publisherId": 50123,
        "commissionStatus": "approved", "commissionAmount": {"amount": 3.1, "currency": "GBP"},
        "saleAmount": {"amount": 62.0, "currency": "GBP"}, "ipHash": "-123", "clickRefs": {"clickRef": "c-7f3a"},
        "clickDate": "2026-03-01T09:14:00", "transactionDate": "2026-03-01T09:31:00",
        "validationDate": "2026-04-02T00:00:00", "type": "Commission group transaction", "declineReason": None,
        "lapseTime": 1042, "amended": True, "amendReason": "partial return",
        "oldSaleAmount": {"amount": 80.0, "currency": "GBP"}, "orderRef": None, "customParameters": [],
        "paidToPublisher": False, "paymentId": 0, "basketProducts": None,
    }  # fmt: skip
    row |= changed
    return {name: value for name, value in row.items() if value is not ...}


def awin_answer(*rows: dict[str, Any]) -> bytes:
    """Return the JSON array of rows."""
    return json.dumps(rows).encode()


def tradetracker_row(**changed: str | None) -> str:
    """Return a conversion transaction's element; None makes a value nil, `''` leaves it empty."""
    values: dict[str, str | None] = {
        "ID": "41000107", "reference": "c-7f3a", "transactionType": "sale", "transactionStatus": "accepted",
        "description": "W-5512", "currency": "EUR", "commission": "3.10", "orderAmount": "62.00", "IP": "192.0.2.7",
        "registrationDate": "2026-09-01T10:15:22+02:00", "assessmentDate": None, "clickToConversion": "PT17M",
        "originatingClickDate": "2026-09-01T09:58:22+02:00", "rejectionReason": None, "paidOut": "false",
    }  # fmt: skip
    values |= changed
    inner = "".join(
        f'<{name} xsi:nil="true"/>' if value is None else f"<{name}>{escape(value)}</{name}>"
        for name, value in values.items()
    )
    campaign = (
        "<campaign><ID>777</ID><name>Shop</name><URL>https://shop.example/</URL><info xsi:nil='true'/></campaign>"
    )
    return f"<item>{campaign}<campaignProduct><ID>1</ID><name>Default</name></campaignProduct>{inner}</item>"


def tradetracker_answer(*rows: str, declared: int | None = None, prolog: str = "") -> bytes:
    """Return the SOAP envelope of rows; `declared` is how many the array says it has."""
    count = len(rows) if declared is None else declared
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>{prolog}'
        '<SOAP-ENV:Envelope xmlns:SOAP-ENV="http://schemas.xmlsoap.org/soap/envelope/" '
        'xmlns:SOAP-ENC="http://schemas.xmlsoap.org/soap/encoding/" '
        'xmlns:ns1="https://ws.tradetracker.com/soap/affiliate" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><SOAP-ENV:Body><ns1:getConversionTransactionsResponse>'
        f'<conversionTransactions SOAP-ENC:arrayType="ns1:ConversionTransaction[{count}]">'
        f"{''.join(rows)}</conversionTransactions></ns1:getConversionTransactionsResponse>"
        "</SOAP-ENV:Body></SOAP-ENV:Envelope>"
    ).encode()


def rakuten_answer(*rows: str) -> bytes:
    """Return a report with a byte order mark and the usual header."""
    return ("\ufeff" + "\n".join([HEADER, *rows]) + "\n").encode()


def cj_row(**changed: Any) -> dict[str, Any]:
    """Return a commission record; a value given replaces the one it has, `...` takes the key out."""
    row: dict[str, Any] = {
        "commissionId": "3001000007", "originalActionId": "880042", "original": True, "correctionReason": None,
        "actionStatus": "new", "actionType": "item_sale", "validationStatus": "PENDING", "advertiserId": "41000",
        "orderId": "W-5512", "shopperId": "c-7f3a", "eventDate": "2026-03-01T09:31:12Z",
        "postingDate": "2026-03-01T18:00:03Z", "clickDate": "2026-03-01T09:14:40Z", "saleAmountPubCurrency": "62.0",
        "pubCommissionAmountPubCurrency": "3.105", "items": [],
    }  # fmt: skip
    row |= changed
    return {name: value for name, value in row.items() if value is not ...}


def cj_answer(*rows: dict[str, Any], complete: bool = True, count: int | None = None) -> bytes:
    """Return a page of commission records."""
    page = {
        "count": len(rows) if count is None else count,
        "maxCommissionId": rows[-1].get("commissionId") if rows else None,
        "payloadComplete": complete,
        "records": list(rows),
    }
    return json.dumps({"data": {"publisherCommissions": page}}).encode()


def kelkoo_row(**changed: str | None) -> str:
    """Return the element of one sum; a value given replaces the one it has, None takes the element out."""
    values: dict[str, str | None] = {"day": "2026-03-01", "Custom1": "c-7f3a", "clicks": "7", "revenue": "1.26"}
    values |= changed
    inner = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in values.items() if value is not None)
    return f"<tracking>{inner}</tracking>"


def kelkoo_answer(*rows: str) -> bytes:
    """Return the statistics that hold these sums."""
    return f'<?xml version="1.0" encoding="UTF-8"?><trackings>{"".join(rows)}</trackings>'.encode()


def parsed(partner: str, folder: Path, *contents: bytes, media_type: str | None = None) -> tuple[pa.Table, pa.Table]:
    """Return the transactions and the rejects of an answer whose parts hold `contents`."""
    sources = []
    for number, content in enumerate(contents):
        path = folder / f"part-{number}"
        path.write_bytes(content)
        sources.append(Source(path, media_type or MEDIA[partner]))
    delivery = Delivery("d1", sources)
    groups = list(parsed_groups(Engine(), connector_for(partner), account(partner), [delivery]))
    if delivery.error is not None:
        raise delivery.error
    some = [rows for group in groups for each in group for rows in each.rows]
    good = [each.transactions for each in some]
    bad = [each.rejects for each in some]
    return pa.concat_tables(good) if good else pa.table({}), pa.concat_tables(bad) if bad else REJECT.empty_table()
