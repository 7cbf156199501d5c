"""The facts that targets of sales follow from, read from the warehouse: of all sales, or of some at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from etl.core.context import Context
from etl.core.errors import Stop
from etl.core.sale_range import Some, in_parts, is_among
from etl.core.schemas import CASHBACK_RULE, CONTRACT_TERM, FX_RATE, PROGRAM, TEXT
from etl.core.target import (
    ACCOUNT_SETTING,
    PAYMENT,
    PROGRAM_SETTING,
    SALE_FACT,
    VERSION_FACT,
    Facts,
    commission_tolerance,
)
from etl.core.warehouse import Connection, fetch

_SALE_ID = pa.schema([("sale_id", TEXT)])


class FactReader:
    """What all sales share, read once, and the facts of some of them whenever they are asked for.

    `shared` are facts without sales.
    """

    def __init__(self, context: Context, connection: Connection) -> None:
        accounts = context.configuration.accounts
        settings = {
            "partner_account": [account.name for account in accounts],
            "cashback_payable_on": [account.cashback_payable_on for account in accounts],
        }
        programs = [
            {"partner_account": account.name, "program_id": program, "cashback_payable_on": payable_on}
            for account in accounts
            for program, payable_on in sorted(account.program_payable_on.items())
        ]
        self.connection, self._sales_at_once = connection, context.engine.sales_at_once
        # What an opening holds is not counted a second time.
        opened = fetch(connection, "SELECT sale_id FROM ops.sale_in_opening ORDER BY sale_id", _SALE_ID)
        self._opened = opened["sale_id"]
        self.shared = Facts(
            version=VERSION_FACT.empty_table(),
            sale=SALE_FACT.empty_table(),
            program=_all(connection, "ref.program", PROGRAM),
            cashback_rule=_all(connection, "ref.cashback_rule_in_force", CASHBACK_RULE),
            fx_rate=_all(connection, "ref.fx_rate", FX_RATE),
            account_setting=pa.table(settings, schema=ACCOUNT_SETTING),
            base_currency=context.entity.base_currency,
            contract_term=_all(connection, "ref.contract_term_in_force", CONTRACT_TERM),
            commission_tolerance=commission_tolerance(context.configuration),
            program_setting=pa.Table.from_pylist(programs, schema=PROGRAM_SETTING),
        )

    def parts(self, sales: Sequence[str] | None = None) -> Iterator[Some]:
        """Yield all sales, or the named ones, as many at a time as are worth the engine's while."""
        return in_parts(self.connection, sales, self._sales_at_once)

    def unpaid(self, sales: Sequence[str] | None = None) -> Iterator[Facts]:
        """Yield facts without payments of all sales, or of the named ones, some at a time, and last `shared`.

        So there is a part even where there are no sales.
        """
        yield from (self.of(some, is_paid=False) for some in self.parts(sales))
        yield self.shared

    def of(self, some: Some, *, is_paid: bool = True) -> Facts:
        """Return the facts of those of some sales that no opening holds; Stop if an account is not configured.

        Payments are left out unless `is_paid`, for those who find out what is paid.
        """
        sale = self._read("ops.sale", SALE_FACT, some)
        configured = self.shared.account_setting["partner_account"].to_pylist()
        if unknown := set(pc.unique(sale["partner_account"]).to_pylist()) - set(configured):
            raise Stop(
                f"sales of accounts that are not configured: {', '.join(sorted(unknown))}: put"
                " config/partners/<name>.yaml back; without it their books would be taken to zero"
            )
        version = self._read("ops.transaction_version", VERSION_FACT, some)
        payment = self._payments(some) if is_paid else PAYMENT.empty_table()
        return replace(self.shared, version=version, sale=sale, payment=payment)

    def _payments(self, some: Some) -> pa.Table:
        is_some, parameters = is_among("v.sale_id", some)
        is_paid, _ = is_among("o.sale_id", some)
        query = _PAYMENTS.format(is_some=is_some, is_paid=is_paid)
        return self._without_opened(fetch(self.connection, query, PAYMENT, parameters))

    def _read(self, table: str, schema: pa.Schema, some: Some) -> pa.Table:
        which, parameters = is_among("sale_id", some)
        query = f"SELECT {', '.join(schema.names)} FROM {table} WHERE {which}"
        return self._without_opened(fetch(self.connection, query, schema, parameters))

    def _without_opened(self, table: pa.Table) -> pa.Table:
        return table.filter(pc.invert(pc.is_in(table["sale_id"], self._opened))) if len(self._opened) else table


@contextlib.contextmanager
def reader_beside(context: Context, connection: Connection, part_count: int) -> Iterator[FactReader]:
    """Yield a reader for a thread that reads the next of so many parts while `connection` writes what the last gave.

    It sees what `connection` sees now. Where there is no next part it reads by that one.
    """
    if part_count <= 1:
        yield FactReader(context, connection)
        return
    with context.warehouse.beside(connection) as second:
        yield FactReader(context, second)


def _all(connection: Connection, table: str, schema: pa.Schema) -> pa.Table:
    return fetch(connection, f"SELECT {', '.join(schema.names)} FROM {table}", schema)


# A transaction is of one sale with all its lines, and a sale may have been regrouped since the money was allocated.
_PAYMENTS = """
WITH paid AS (
    SELECT DISTINCT v.partner_account, v.transaction_id
    FROM ops.transaction_version AS v
    JOIN ops.remittance_allocation AS a
        ON a.partner_account = v.partner_account AND a.transaction_id = v.transaction_id
    WHERE {is_some}
),
of_sale AS (
    SELECT v.partner_account, v.transaction_id, min(v.sale_id) AS sale_id
    FROM paid AS p
    JOIN ops.transaction_version AS v ON v.partner_account = p.partner_account AND v.transaction_id = p.transaction_id
    GROUP BY v.partner_account, v.transaction_id
)
SELECT o.sale_id, a.transaction_id, a.line_id, a.currency, a.amount_minor, a.received_on, a.funded_on,
    a.rule IN ('transaction', 'payment_ref') AS is_named
FROM of_sale AS o
JOIN ops.remittance_allocation AS a ON a.partner_account = o.partner_account AND a.transaction_id = o.transaction_id
WHERE {is_paid}
ORDER BY a.partner_account, a.remittance_id, a.line_no, a.transaction_id, a.line_id
"""
