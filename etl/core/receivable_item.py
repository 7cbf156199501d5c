"""What partners owe that no sale says, such as an opening: items that remittances pay like sales that are approved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, time
from decimal import Decimal

import pyarrow as pa

from etl.core.money import PARTNER_SCALE, from_minor
from etl.core.schemas import TEXT
from etl.core.target import SALE_FACT, VERSION_FACT, Facts
from etl.core.warehouse import Connection, fetch

ITEM = pa.schema(
    [
        ("partner_account", TEXT),
        # The name a remittance pays it by.
        ("transaction_id", TEXT),
        ("document_id", TEXT),
        ("currency", TEXT),
        ("amount_minor", pa.int64()),
        ("as_of", pa.date32()),
    ]
)
OPENED_TRANSACTION = pa.schema(
    [("partner_account", TEXT), ("transaction_id", TEXT), ("item_id", TEXT), ("document_id", TEXT)]
)
NOT_OPENED = """NOT EXISTS (
    SELECT 1 FROM ops.opened_transaction AS o
    WHERE o.partner_account = v.partner_account AND o.transaction_id = v.transaction_id AND o.item_id IS NULL
)"""
"""Of rows `v`: not those of an opened sale that no item stands for. What the opening did not count is not paid."""


@dataclass(frozen=True, slots=True)
class Items:
    """Items (schema ITEM), and which of them stands for each transaction of a sale that an opening holds."""

    item: pa.Table = field(default_factory=ITEM.empty_table)
    opened_transaction: pa.Table = field(default_factory=OPENED_TRANSACTION.empty_table)

    def states(self, schema: pa.Schema) -> pa.Table:
        """Return the items as sales (sql/accrue/row_state.sql) that are approved since the day they are as of."""
        rows = [
            {
                **_plain(row),
                "step_on": row["as_of"],
                "sale_on": row["as_of"],
                "commission_amount": from_minor(row["amount_minor"], PARTNER_SCALE),
                "commission_minor": row["amount_minor"],
            }
            for row in self.item.to_pylist()
        ]
        return pa.Table.from_pylist(rows, schema=schema)

    def added_to(self, facts: Facts) -> Facts:
        """Return the facts with the items as sales; transactions of opened sales are rows of what stands for them."""
        if not self.item.num_rows:
            return facts
        items = self.item.to_pylist()
        first = {row["document_id"]: row for row in reversed(items)}
        stood_for = [
            first[row["document_id"]] | {"transaction_id": row["transaction_id"]}
            for row in self.opened_transaction.to_pylist()
            if row["document_id"] is not None
        ]
        versions = [
            {**_plain(row), "version_no": 1, "is_absent": False, "effective_on": row["as_of"]}
            for row in (*items, *stood_for)
        ]
        sales = [
            {
                "sale_id": document_id,
                "partner_account": row["partner_account"],
                "occurred_at": datetime.combine(row["as_of"], time()),
                "sale_on": row["as_of"],
                "earns_cashback": False,
            }
            for document_id, row in sorted(first.items())
        ]
        return replace(
            facts,
            version=pa.concat_tables([facts.version, pa.Table.from_pylist(versions, schema=VERSION_FACT)]),
            sale=pa.concat_tables([facts.sale, pa.Table.from_pylist(sales, schema=SALE_FACT)]),
        )

    def paid_by(self, allocation: pa.Table) -> pa.Table:
        """Return allocations by the item that stands for their transaction, where one does."""
        item_of = dict(self._standing())
        if not item_of:
            return allocation
        keys = zip(allocation["partner_account"].to_pylist(), allocation["transaction_id"].to_pylist(), strict=True)
        names = pa.array([item_of.get(key, key[1]) for key in keys], TEXT)
        return allocation.set_column(allocation.schema.get_field_index("transaction_id"), "transaction_id", names)

    def _standing(self) -> Iterator[tuple[tuple[str, str], str]]:
        for row in self.opened_transaction.to_pylist():
            if row["item_id"] is not None:
                yield (row["partner_account"], row["transaction_id"]), row["item_id"]


def read_items(connection: Connection, accounts: Sequence[str] | None = None) -> Items:
    """Return the items there are, or those of some accounts."""
    named = None if accounts is None else list(accounts)
    return Items(
        fetch(connection, _ITEMS, ITEM, (named, named)),
        fetch(connection, _OPENED_TRANSACTIONS, OPENED_TRANSACTION, (named, named)),
    )


def _plain(row: dict[str, object]) -> dict[str, object]:
    """Return what an item says in the columns that rows of sales share."""
    return {
        "sale_id": row["document_id"],
        "partner_account": row["partner_account"],
        "transaction_id": row["transaction_id"],
        "line_id": "",
        "kind": "sale",
        "status": "approved",
        "partner_paid": False,
        "sale_amount": Decimal(0),
        "commission_amount": Decimal(0),
        "currency": row["currency"],
    }


_ITEMS = """
SELECT partner_account, transaction_id, document_id, currency, (amount * 10000)::bigint, as_of
FROM ops.receivable_item
WHERE %s::text[] IS NULL OR partner_account = ANY(%s)
ORDER BY partner_account, transaction_id, currency, document_id
"""
_OPENED_TRANSACTIONS = """
SELECT partner_account, transaction_id, item_id, document_id FROM ops.opened_transaction
WHERE %s::text[] IS NULL OR partner_account = ANY(%s)
ORDER BY partner_account, transaction_id, document_id
"""
