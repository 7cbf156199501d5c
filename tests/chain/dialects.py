"""Reports of small worlds as the bytes their partners would send, for the real parsers to read."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from tests.chain.reported import AWIN, CJ, KELKOO, KELKOO_DAYS, NETWORKS, RAKUTEN, Report
from tests.parse.answers import (
    awin_row,
    cj_answer,
    cj_row,
    kelkoo_answer,
    kelkoo_row,
    rakuten_answer,
    tradetracker_answer,
    tradetracker_row,
)
from tests.reconcile.naive import Row

ZONES = {
    "awin": "Europe/Berlin",
    "cj": "UTC",
    "clocked": "UTC",
    "kelkoo": "Europe/Paris",
    "rakuten": "UTC",
    "tradetracker": "Europe/Amsterdam",
}


def content_of(report: Report) -> tuple[bytes, str]:
    """Return the bytes of an answer and their media type."""
    partner = report.account.removesuffix("_main")
    if partner == AWIN:
        return json.dumps([_awin(told) for told in report.rows]).encode(), "application/json"
    if partner == RAKUTEN:
        rows = [_rakuten(told) for told in report.rows]
        return rakuten_answer(*rows or ["No Results Found"]), f"text/csv;network={report.network}"
    if partner == CJ:
        content = cj_answer(*(_cj(told) for told in report.rows))
        return content, f"application/json;currency={NETWORKS[report.network]}"
    if partner == KELKOO:
        content = kelkoo_answer(*(_kelkoo(told) for told in report.rows))
        return content, f"text/xml;country=fr;currency={NETWORKS[report.network]}"
    return tradetracker_answer(*(_tradetracker(told) for told in report.rows)), "text/xml;site=1"


def _local(instant: datetime | None, partner: str) -> datetime | None:
    return None if instant is None else instant.replace(tzinfo=UTC).astimezone(ZoneInfo(ZONES[partner]))


def _wall(instant: datetime | None) -> str | None:
    local = _local(instant, AWIN)
    return None if local is None else local.replace(tzinfo=None).isoformat()


def _awin(told: Row) -> dict[str, object]:
    # The shortest text of a float with so few digits is the amount itself.
    amounts = {
        name: {"amount": float(told[column]), "currency": told["currency"]}
        for name, column in (("saleAmount", "sale_amount"), ("commissionAmount", "commission_amount"))
    }
    out = awin_row(
        id=told["transaction_id"],
        advertiserId=told["partner_program_id"],
        commissionStatus=told["status"],
        clickRefs={"clickRef": told["click_ref"]} if told["click_ref"] else None,
        clickDate=_wall(told["partner_clicked_at"]),
        transactionDate=_wall(told["occurred_at"]),
        validationDate=_wall(told["processed_at"]),
        type="Lead" if told["kind"] == "lead" else "Commission group transaction",
        declineReason=told["reason"],
        amendReason=None,
        orderRef=told["order_ref"],
        paidToPublisher=told["partner_paid"],
        **amounts,
    )
    if told["fault"] == "amount":
        out["saleAmount"] = {"amount": "1_000", "currency": told["currency"]}
    elif told["fault"] == "key":
        out["id"] = None
    return out


def _tradetracker(told: Row) -> str:
    def offset(instant: datetime | None) -> str | None:
        local = _local(instant, "tradetracker")
        return None if local is None else local.isoformat()

    return tradetracker_row(
        ID=None if told["fault"] == "key" else told["transaction_id"],
        reference=told["click_ref"] or "",
        transactionType=told["kind"],
        transactionStatus={"pending": "pending", "approved": "accepted", "declined": "rejected"}[told["status"]],
        description=told["order_ref"],
        currency=told["currency"],
        commission=_amount(told["commission_amount"]),
        orderAmount="1e999990" if told["fault"] == "amount" else _amount(told["sale_amount"]),
        registrationDate=offset(told["occurred_at"]),
        assessmentDate=offset(told["processed_at"]),
        originatingClickDate=offset(told["partner_clicked_at"]),
        rejectionReason=told["reason"],
        paidOut=str(told["partner_paid"]).lower(),
    )


def _cj(told: Row) -> dict[str, object]:
    def stamp(instant: datetime | None) -> str | None:
        return None if instant is None else f"{instant.isoformat()}Z"

    return cj_row(
        commissionId=None if told["fault"] == "key" else told["transaction_id"],
        originalActionId=told["original_transaction_id"],
        original=told["kind"] != "adjustment",
        actionStatus=told["raw_status"],
        actionType="item_lead" if told["kind"] == "lead" else "item_sale",
        validationStatus=None,
        advertiserId=told["partner_program_id"],
        orderId=told["order_ref"],
        shopperId=told["click_ref"],
        eventDate=stamp(told["occurred_at"]),
        postingDate=stamp(told["processed_at"]),
        clickDate=stamp(told["partner_clicked_at"]),
        saleAmountPubCurrency="1e999990" if told["fault"] == "amount" else _amount(told["sale_amount"]),
        pubCommissionAmountPubCurrency=_amount(told["commission_amount"]),
    )


def _kelkoo(told: Row) -> str:
    day = next(day for day, begin in KELKOO_DAYS.items() if begin == told["occurred_at"])
    return kelkoo_row(
        day=None if told["fault"] == "key" else day,
        Custom1=told["click_ref"],
        revenue="1e999990" if told["fault"] == "amount" else _amount(told["commission_amount"]),
    )


def _rakuten(told: Row) -> str:
    def stamp(instant: datetime) -> str:
        return f"{instant.month}/{instant.day}/{instant:%y},{instant.hour}:{instant:%M:%S}"

    sale = "NaN" if told["fault"] == "amount" else f'"{_amount(told["sale_amount"], ",")}"'
    key = "" if told["fault"] == "key" else told["transaction_id"]
    return (
        f'"{told["click_ref"] or "null"}",{told["partner_program_id"]},"Shop",{told["order_ref"] or "null"},'
        f'{stamp(told["occurred_at"])},"ABC",{sale},1,{_amount(told["commission_amount"])},'
        f'{stamp(told["processed_at"])},"{key}","null"'
    )


def _amount(value: Decimal, grouped: str = "") -> str:
    plain = value.quantize(Decimal("0.0001")).normalize()
    return f"{plain:{grouped}f}"
