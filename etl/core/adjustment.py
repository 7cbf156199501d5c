"""Adjustments in force: what each kind moves between which accounts, and what all should have in the ledger."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum

import pyarrow as pa
from psycopg.rows import class_row

from etl.core.flow import Flow, Side, flow_target
from etl.core.money import exponent, member_asset, partner_asset, to_minor
from etl.core.opening import PAYABLE, RECEIVABLE
from etl.core.warehouse import Connection


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


@dataclass(frozen=True, slots=True)
class _Line:
    """A row of `ops.adjustment_in_force`."""

    adjustment_id: str
    kind: str
    owner: str
    account: str | None
    currency: str
    amount: Decimal
    effective_on: date

    def sides(self) -> tuple[Side, Side]:
        """Return the accounts that an amount above zero debits and credits."""
        member = (self.account or "", self.owner)
        if self.kind in GIVEN:
            return ("goodwill_cost", ""), member
        if self.kind == AdjustmentKind.RELEASE:
            return member, (PAYABLE, self.owner)
        if self.kind == AdjustmentKind.DECLINE:
            return member, ("opening", "")
        return (RECEIVABLE, self.owner), ("commission_income", self.owner)

    def flow(self) -> Flow:
        is_receivable = self.kind == AdjustmentKind.RECEIVABLE
        asset = partner_asset(self.currency) if is_receivable else member_asset(self.currency)
        component = self.kind if self.kind in GIVEN else "commission" if is_receivable else "cashback"
        amount_minor = to_minor(self.amount, asset.scale)
        return Flow(self.adjustment_id, *self.sides(), asset, amount_minor, self.effective_on, component)


def adjustment_target(connection: Connection, base_currency: str) -> pa.Table:
    """Return the signed flows (schema POSTED) that all adjustments in force should have, each on its effective day."""
    return flow_target(connection, (line.flow() for line in _lines(connection)), base_currency)


def left_of_opening(connection: Connection, member_id: str, account: str, currency: str) -> Decimal:
    """Return what openings in force, and adjustments in force of them, leave a member in an account, booked or not."""
    own = (account, member_id)
    row = connection.execute(_OPENED, (member_id, account, currency)).fetchone()
    assert row is not None and isinstance(row[0], Decimal)
    left = row[0]
    for line in _lines(connection, member_id):
        if line.currency == currency:
            debit, credit = line.sides()
            left += line.amount * ((credit == own) - (debit == own))
    return left.quantize(Decimal(1).scaleb(-exponent(currency)))


def _lines(connection: Connection, owner: str | None = None) -> list[_Line]:
    with connection.cursor(row_factory=class_row(_Line)) as cursor:
        return cursor.execute(_LINES, (owner, owner)).fetchall()


_LINES = f"""
SELECT {", ".join(_Line.__dataclass_fields__)} FROM ops.adjustment_in_force
WHERE %s::text IS NULL OR owner = %s
ORDER BY adjustment_id
"""
_OPENED = """
SELECT coalesce(sum(amount), 0) FROM ops.opening_in_force WHERE owner = %s AND kind = %s AND currency = %s
"""
