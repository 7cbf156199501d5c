"""How many of a table's real orders a warehouse knows, and whether each cancellation is in the amounts of its sale."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

import psycopg

from sandbox.house import Place
from sandbox.instants import midnight
from sandbox.model import ACCOUNTS, AWIN, RAKUTEN, TRADETRACKER, Placing, Sale, World
from sandbox.truth import net_at

RowKey = tuple[str, str]
"""Partner account and transaction id."""


@dataclass(slots=True)
class Seen:
    """Counts of a table's rows: orders and how many of them are known; cancellations, booked, and booked late."""

    orders: int = 0
    known: int = 0
    cancellations: int = 0
    booked: int = 0
    late: int = 0
    changed: int = 0
    rejected: int = 0
    signed: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether every row of the table is in the warehouse."""
        return self.known == self.orders and self.booked == self.cancellations

    @property
    def lines(self) -> list[str]:
        """Return what was found as lines for a person."""
        return [
            f"{self.orders + self.cancellations:,} orders of the table: {self.orders:,} bought, {self.known:,} of them "
            f"known as sales; {self.cancellations:,} cancelled, {self.booked:,} of them in the amounts of their sale, "
            f"{self.late:,} in a later month than it",
            f"Cancellations came as {self.changed:,} rows that became less or were declined (Awin), {self.rejected:,} "
            f"that became less or were rejected (TradeTracker) and {self.signed:,} signed rows (Rakuten)",
        ]


def seen(place: Place, world: World, as_of: datetime) -> Seen:
    """Return how much of the table the warehouse of `place` knows at `as_of` (naive UTC)."""
    with psycopg.connect(place.postgres.url(f"tallyback_{place.name}")) as connection:
        rows = connection.execute(_NEWEST).fetchall()
        reduced = {str(partner): int(str(count)) for partner, count in connection.execute(_REDUCED).fetchall()}
    net_of = {(str(account), str(transaction)): Decimal(str(net)) for account, transaction, net in rows}
    rows_of = defaultdict(list)
    for row in world.rows:
        rows_of[row.sale_key].append(row)
    sale_of: dict[str, Sale] = {}
    for sale in world.sales:
        sale_of.setdefault(sale.order_key, sale)
    corrections = [row for row in world.rows if row.partner == RAKUTEN and row.row_kind == "correction"]
    result = Seen(
        changed=reduced.get(AWIN, 0),
        rejected=reduced.get(TRADETRACKER, 0),
        signed=sum((ACCOUNTS[RAKUTEN], row.transaction_id) in net_of for row in corrections),
    )
    alone = {one.order_key for one in world.cancellations if one.placing is Placing.ALONE}
    for key, sale in sale_of.items():
        if not key.startswith("o-") or key in alone:
            continue
        result.orders += 1
        result.known += (ACCOUNTS[sale.partner], sale.original_transaction_id) in net_of
    for one in world.cancellations:
        sale = sale_of[one.order_key]
        keys = [(ACCOUNTS[row.partner], row.transaction_id) for row in rows_of[sale.sale_key]]
        net = net_at(rows_of[sale.sale_key], as_of)
        is_known = all(key in net_of for key in keys)
        true_net = None if net is None else Decimal(0) if net.is_declined else net.sale
        is_booked = is_known and true_net == sum((net_of[key] for key in keys), Decimal(0))
        result.cancellations += 1
        result.booked += is_booked
        result.late += is_booked and one.at >= _next_month(sale.occurred_at)
    return result


def _next_month(instant: datetime) -> datetime:
    day = instant.date()
    return midnight(day.replace(year=day.year + day.month // 12, month=day.month % 12 + 1, day=1))


# What stands of each row as the warehouse knows it last.
_NEWEST = """
SELECT partner_account, transaction_id, sum(CASE WHEN status = 'declined' THEN 0 ELSE sale_amount END)
FROM (
    SELECT DISTINCT ON (partner_account, transaction_id, line_id) partner_account, transaction_id, status, sale_amount
    FROM ops.transaction_version
    ORDER BY partner_account, transaction_id, line_id, version_no DESC
) AS newest
GROUP BY partner_account, transaction_id
"""
# Rows that say less than they did before, or were declined.
_REDUCED = """
SELECT partner, count(DISTINCT (transaction_id, line_id))
FROM (
    SELECT partner, transaction_id, line_id, status, sale_amount,
        lag(sale_amount) OVER known AS amount_before, lag(status, 1, '') OVER known AS status_before
    FROM ops.transaction_version
    WINDOW known AS (PARTITION BY partner_account, transaction_id, line_id ORDER BY version_no)
) AS stepped
WHERE sale_amount < amount_before OR (status = 'declined' AND status_before <> 'declined')
GROUP BY partner
ORDER BY partner
"""
