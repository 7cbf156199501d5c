"""Books written by hand: postings, sales, deliveries, breaks and payouts, each an SQL row."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import psycopg

from etl.core.configuration import Configuration, Entity
from etl.core.context import Context
from etl.core.engine import Engine
from etl.core.lake import FolderLake
from etl.core.warehouse import Warehouse

ENTITY = "acme"
NOW = datetime(2026, 11, 5, 8, 30)  # all instants here are naive UTC


def context(url: str, folder: Path, run_id: str = "run-7") -> Context:
    """Return the context of a report over the warehouse at `url`."""
    configuration = Configuration(Entity(ENTITY, "EUR", "Europe/Berlin"), (), (), (), "c0ffee")
    return Context(
        run_id=run_id,
        known_at=NOW,
        configuration=configuration,
        warehouse=Warehouse(url),
        lake=FolderLake(folder / "lake"),
        engine=Engine(),
        temporary=folder / "temporary",
        actor="clerk",
    )


@dataclass
class Books:
    """A warehouse one writes to as its owner."""

    connection: psycopg.Connection
    accounts: dict[tuple[str, str, str], int] = field(default_factory=dict)
    entries: dict[tuple[str, str], int] = field(default_factory=dict)
    number: int = 0

    def account(self, kind: str, owner: str, asset: str) -> int:
        """Return the ledger account, made at its first use."""
        key = (kind, owner, asset)
        if key not in self.accounts:
            query = (
                "INSERT INTO ledger.account (entity, kind, owner, asset) VALUES (%s, %s, %s, %s) RETURNING account_id"
            )
            row = self.connection.execute(query, (ENTITY, *key)).fetchone()
            assert row is not None
            self.accounts[key] = row[0]
        return self.accounts[key]

    def entry(self, kind: str, document: str, booked_on: str, *legs: Leg) -> None:
        """Write one journal entry with its postings."""
        self.number += 1
        self.entries[kind, document] = entry_no = self.entries.get((kind, document), 0) + 1
        self.connection.execute(
            "INSERT INTO ledger.journal_entry VALUES (%s, 2026, %s, %s, %s, %s, %s, %s, 'r', 'test', '', %s)",
            (ENTITY, self.number, kind, document, entry_no, booked_on, NOW, str(self.number)),
        )
        for place, leg in enumerate(legs, start=1):
            scale = int(leg.asset[-1])
            base = Decimal(leg.base) if leg.base is not None else None
            self.connection.execute(
                "INSERT INTO ledger.posting (document_kind, document_id, entry_no, year, number, leg, entity, debit,"
                " credit, amount, effective_for, booked_on, component, base_amount, rate)"
                " VALUES (%s, %s, %s, 2026, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
                (
                    *(kind, document, entry_no, self.number, place, ENTITY),
                    *(self.account(*leg.debit, leg.asset), self.account(*leg.credit, leg.asset)),
                    *(int(Decimal(leg.amount).scaleb(scale)), leg.effective_for or booked_on, booked_on),
                    *(leg.component, base, None if base is None else base / Decimal(leg.amount)),
                ),
            )

    def sale(
        self, sale_id: str, program_id: str, rows: int = 1, account: str = "awin_main", text: str = "approved"
    ) -> None:
        """Write a sale with the rows a partner reported for it, in one delivery of the account."""
        self.connection.execute(
            "INSERT INTO ops.sale VALUES (%s, 'awin', %s, %s, 'm', %s, '2026-10-01', '2026-10-01', 'matched',"
            " 'click_ref', 'k', '2026-10-01', 'member', true, false)",
            (sale_id, account, program_id, sale_id),
        )
        for line in range(1, rows + 1):
            self.connection.execute(
                "INSERT INTO ops.transaction_version (partner, partner_account, transaction_id, line_id, kind,"
                " program_id, occurred_at, occurred_precision_seconds, status, partner_paid, sale_amount,"
                " commission_amount, currency, delivery_id, row_number, content_hash, observed_at, version_no,"
                " is_absent, sale_id, effective_on)"
                " VALUES ('awin', %s, %s, %s, 'sale', %s, '2026-10-01', 60, %s, false, 100, 10, 'EUR', %s, %s, 'h',"
                " '2026-10-02', 1, false, %s, '2026-10-01')",
                (account, sale_id, str(line), program_id, text, f"{account}-october", line, sale_id),
            )

    def program(self, program_id: str, name: str) -> None:
        """Write a program."""
        self.connection.execute(
            "INSERT INTO ref.program VALUES (%s, 'm', 'awin', %s, %s, 'EUR', 0.1, 30, 30, '2020-01-01', NULL)",
            (program_id, program_id, name),
        )

    def delivery(self, account: str, rows: int, rejects: tuple[str, ...] = (), month: int = 10) -> None:
        """Write a delivery of a month, parsed and validated, with the value of each reject."""
        name = f"{account}-{date(2026, month, 1):%B}".lower()
        window = (date(2026, month, 1), date(2026, month + 1, 1))
        run = self.connection.execute
        run(
            "INSERT INTO ops.delivery VALUES (%s, 'awin', %s, %s, %s, '2026-11-01', %s, 10, true, false, 'r')",
            (name, account, *window, f"{name:0<64}"),
        )
        good = rows - len(rejects)
        run(
            "INSERT INTO ops.parse VALUES (%s, 1, %s, %s, %s, 0, 'p', 'r')",
            (name, rows, good, len(rejects)),
        )
        run("INSERT INTO ops.validation VALUES (%s, 1, 'passed', %s, %s, 0, 'p', 'r')", (name, good, good))
        for place, value in enumerate(rejects, start=1):
            run(
                "INSERT INTO ops.reject VALUES (%s, 1, %s, 'parse', 't', '', 'money', 'amount', %s, 'not an amount',"
                " 'raw')",
                (name, place, value),
            )

    def open_break(self, kind: str, sale_id: str, amount: str, opened_on: str, currency: str = "EUR") -> None:
        """Write a break about the first row of a sale of awin_main."""
        self.connection.execute(
            "INSERT INTO ops.break VALUES ('awin', 'awin_main', %s, '1', %s, %s, 'a click', 'none', %s, %s, 'e', %s,"
            " 'r')",
            (sale_id, kind, sale_id, Decimal(amount), currency, opened_on),
        )

    def batch(
        self, batch_id: str, day: str, state: str, *payouts: tuple[str, str, int, tuple[tuple[str, int], ...]]
    ) -> None:
        """Write a batch of payouts, each (payout_id, member, minor units, lines of (sale, minor units))."""
        run = self.connection.execute
        run(
            "INSERT INTO payout.batch VALUES (%s, %s, 'sepa', 'house', 'EUR', %s, %s, %s, %s, %s, %s, 'maker', 'f00d',"
            " 'o', 'n')",
            (batch_id, ENTITY, day, day, NOW, len(payouts), sum(p[2] for p in payouts), state),
        )
        run("INSERT INTO payout.approval VALUES (%s, 'f00d', 'checker', %s)", (batch_id, NOW))
        for payout_id, member, minor, lines in payouts:
            run(
                "INSERT INTO payout.payout VALUES (%s, %s, %s, 'EUR', %s, 1, %s, 'in_flight')",
                (payout_id, batch_id, member, minor, payout_id),
            )
            run(
                "INSERT INTO payout.event VALUES (%s, 1, 'reserved', %s, 'p'), (%s, 2, 'transmitted', %s, 'p')",
                (payout_id, day, payout_id, day),
            )
            for sale_id, part in lines:
                run("INSERT INTO payout.payout_line VALUES (%s, 'sale', %s, %s)", (payout_id, sale_id, part))


@dataclass(frozen=True, slots=True)
class Leg:
    """One posting."""

    debit: tuple[str, str]
    credit: tuple[str, str]
    amount: str
    asset: str = "EUR/4"
    effective_for: str | None = None
    base: str | None = None
    component: str = "commission"


def commission(
    kind: str, account: str, amount: str, currency: str = "EUR", base: str | None = None, back: bool = False
) -> Leg:
    """Return the commission leg of a pending ('expected') or approved ('receivable') sale, or its reversal."""
    pair = (
        (("commission_expected", account), ("commission_expected_contra", account))
        if kind == "expected"
        else (("commission_receivable", account), ("commission_income", account))
    )
    return Leg(*(pair[::-1] if back else pair), amount, f"{currency}/4", base=base)


def cashback(kind: str, account: str, member: str, amount: str, back: bool = False) -> tuple[Leg, Leg]:
    """Return the two cashback legs through the border of a pending or confirmed sale, or their reversal."""
    cost = ("cashback_expected_cost" if kind == "pending" else "cashback_cost", account)
    ends = (cost, ("border", "")), (("border", ""), (f"cashback_{kind}", member))
    first, second = ((pair[::-1] if back else pair) for pair in ends)
    return Leg(*first, amount, "EUR/4", component="cashback"), Leg(*second, amount, "EUR/2", component="cashback")
