"""Adjustments in force: what each kind moves between which accounts, and what all should have in the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

import pyarrow as pa

from etl.core.money import member_asset, partner_asset, to_minor
from etl.core.opening import read_rates
from etl.core.schemas import TEXT
from etl.core.target import POSTED, Rates
from etl.core.warehouse import Connection, fetch


class AdjustmentKind(StrEnum):
    """What a person may book by hand."""

    GOODWILL = "goodwill"
    BONUS = "bonus"
    REFERRAL = "referral"
    RELEASE = "release"
    DECLINE = "decline"
    RECEIVABLE = "receivable"


GIVEN = (AdjustmentKind.GOODWILL, AdjustmentKind.BONUS, AdjustmentKind.REFERRAL)
"""What a member is given at our cost; each is its own component."""

OF_OPENING = (AdjustmentKind.RELEASE, AdjustmentKind.DECLINE)
"""What becomes of a member's opened balance that was not payable yet."""

_LINE = pa.schema(
    [
        ("adjustment_id", TEXT),
        ("kind", TEXT),
        ("owner", TEXT),
        ("account", TEXT),
        ("currency", TEXT),
        ("amount", pa.decimal128(18, 4)),
        ("effective_on", pa.date32()),
    ]
)
Side = tuple[str, str]


def sides(kind: AdjustmentKind, owner: str, account: str | None) -> tuple[Side, Side]:
    """Return the accounts (kind, owner) that an amount above zero debits and credits."""
    member = (account or "", owner)
    if kind in GIVEN:
        return ("goodwill_cost", ""), member
    if kind is AdjustmentKind.RELEASE:
        return member, ("cashback_payable", owner)
    if kind is AdjustmentKind.DECLINE:
        return member, ("opening", "")
    return ("commission_receivable", owner), ("commission_income", owner)


def adjustment_target(connection: Connection, base_currency: str) -> pa.Table:
    """Return the signed flows (schema POSTED) that all adjustments in force should have, each on its effective day."""
    lines = fetch(connection, _LINES, _LINE).to_pylist()
    if not lines:
        return POSTED.empty_table()
    return pa.Table.from_pylist(list(_flows(lines, read_rates(connection), base_currency)), schema=POSTED)


def _flows(lines: list[dict[str, object]], rates: Rates, base_currency: str) -> Iterator[dict[str, object]]:
    for line in lines:
        kind, currency = AdjustmentKind(str(line["kind"])), str(line["currency"])
        is_receivable = kind is AdjustmentKind.RECEIVABLE
        asset = partner_asset(currency) if is_receivable else member_asset(currency)
        account = None if line["account"] is None else str(line["account"])
        (debit_kind, debit_owner), (credit_kind, credit_owner) = sides(kind, str(line["owner"]), account)
        yield {
            "document_id": line["adjustment_id"],
            "debit_kind": debit_kind,
            "debit_owner": debit_owner,
            "credit_kind": credit_kind,
            "credit_owner": credit_owner,
            "asset": str(asset),
            "amount": to_minor(line["amount"], asset.scale),  # type: ignore[arg-type]  # the schema says decimal
            "effective_for": line["effective_on"],
            "component": str(kind) if kind in GIVEN else "commission" if is_receivable else "cashback",
            "rate": rates.factor(currency, base_currency, line["effective_on"]),  # type: ignore[arg-type]  # a date
        }


_LINES = """
SELECT adjustment_id, kind, owner, account, currency, amount, effective_on FROM ops.adjustment_in_force
ORDER BY adjustment_id
"""
