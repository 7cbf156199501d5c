"""A warehouse with a small world in it: facts written as the stages before accrue would, and the books read back."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg

from etl.accrue import accrue
from etl.core.configuration import Configuration, Entity, PartnerAccount
from etl.core.context import Context, StageResult
from etl.core.lake import FolderLake
from etl.core.warehouse import Warehouse
from tests.accrue.naive import Books, Program, Rule, Sale, Term, Version, World
from tests.engine import ENGINE

NOON = datetime.fromisoformat("2026-03-01T12:00")
BEGIN = datetime.fromisoformat("2025-01-01T00:00")
ENTITY = Entity("house", "EUR", "Europe/Berlin")
ACCOUNTS = {"shop_a": "approval", "shop_b": "partner_paid", "shop_c": "funded"}


def context(
    url: str, folder: Path, run_id: str = "run-1", known_at: datetime = NOON, entity: Entity = ENTITY
) -> Context:
    """Return the context of a run on the warehouse at `url`."""
    accounts = tuple(
        PartnerAccount(name, "awin", ENTITY.name, name, "UTC", None, payable_on)
        for name, payable_on in ACCOUNTS.items()
    )
    configuration = Configuration(entity, accounts, (), (), "0" * 64)
    return Context(run_id, known_at, configuration, Warehouse(url), FolderLake(folder / "lake"), ENGINE, folder, "test")


def sale(sale_id: str = "shop_a:1", **changes: Any) -> Sale:
    """Return a matched sale of the first account on the first of March."""
    plain = Sale(
        sale_id, sale_id.partition(":")[0], "p1", datetime.fromisoformat("2026-03-01T10:00"), date(2026, 3, 1),
        datetime.fromisoformat("2026-03-01T09:00"), "member-1",
    )  # fmt: skip
    return dataclasses.replace(plain, **changes)


def version(commission: str, status: str | None = "pending", **changes: Any) -> Version:
    """Return the first version of the one row of the plain sale, its sale amount ten times the commission."""
    amount = Decimal(commission)
    plain = Version("shop_a:1", "1", "", 1, date(2026, 3, 1), status, amount * 10, amount)
    return dataclasses.replace(plain, **changes)


def rule(value: str = "0.5", **changes: Any) -> Rule:
    """Return the rule of the plain program: a share of the commission, half even, in euro."""
    plain = Rule("r1", "p1", "commission_share", Decimal(value), None, "EUR", "half_even", BEGIN, None)
    return dataclasses.replace(plain, **changes)


def term(value: str = "0.1", **changes: Any) -> Term:
    """Return the contract term of the plain program: a tenth of the sale, for all groups and customers."""
    plain = Term("c1", "p1", None, None, "rate", Decimal(value), "EUR", BEGIN, None)
    return dataclasses.replace(plain, **changes)


def world(versions: Iterable[Version], **changes: Any) -> World:
    """Return a world of the plain sale, program and rule with these versions."""
    plain = World(tuple(versions), (sale(),), (Program("p1", Decimal("0.1"), 30),), (rule(),), {}, dict(ACCOUNTS))
    return dataclasses.replace(plain, **changes)


def write(url: str, facts: World) -> None:
    """Replace the facts of the warehouse by these; the ledger stays as it is."""
    with psycopg.connect(url) as connection:
        connection.execute(
            "TRUNCATE ref.program, ref.cashback_rule, ref.contract_term, ref.fx_rate, ops.sale, ops.transaction_version"
        )
        connection.execute("DELETE FROM ops.remittance_allocation WHERE remittance_id = 'told'")
        with connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO ref.program VALUES (%s, 'm', 'awin', %s, 'Shop', 'EUR', %s, 30, %s, %s, NULL)",
                [(p.program_id, p.program_id, p.commission_rate, p.validation_days, BEGIN) for p in facts.programs],
            )
            cursor.executemany(
                "INSERT INTO ref.cashback_rule VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
                [dataclasses.astuple(each) for each in facts.rules],
            )
            cursor.executemany(
                "INSERT INTO ref.contract_term VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
                [dataclasses.astuple(each) for each in facts.terms],
            )
            cursor.executemany(
                "INSERT INTO ref.fx_rate VALUES (%s, 'EUR', %s, %s, 'ecb')",
                [(on, currency, rate) for (currency, on), rate in facts.rates.items()],
            )
            cursor.executemany(
                "INSERT INTO ops.sale (sale_id, partner, partner_account, program_id, occurred_at, sale_on, clicked_at,"
                " member_id, outcome, earns_cashback, is_payout_held) VALUES (%s, 'awin', %s, %s, %s, %s, %s, %s, %s,"
                " %s, false)",
                [dataclasses.astuple(each) for each in facts.sales],
            )
            cursor.executemany(
                "INSERT INTO ops.transaction_version (partner, partner_account, transaction_id, line_id, kind,"
                " occurred_at, occurred_precision_seconds, status, partner_paid, sale_amount, commission_amount,"
                " currency, delivery_id, row_number, content_hash, observed_at, version_no, is_absent, sale_id,"
                " effective_on, payment_ref, processed_at, commission_group, customer_type) VALUES ('awin', %s, %s, %s,"
                " %s, %s, 0, %s, %s, %s, %s, %s, 'd', 1, 'h', %s, %s, %s, %s, %s, %s, %s, %s, %s)",
                [
                    (
                        v.partner_account or v.sale_id.partition(":")[0], v.transaction_id, v.line_id, v.kind, NOON,
                        v.status, v.partner_paid, v.sale_amount, v.commission_amount, v.currency, NOON, v.version_no,
                        v.is_absent, v.sale_id, v.effective_on, v.payment_ref, v.processed_on, v.commission_group,
                        v.customer_type,
                    )
                    for v in facts.versions
                ],
            )  # fmt: skip
            cursor.executemany(
                "INSERT INTO ops.remittance_allocation VALUES (%s, 'told', %s, %s, %s, %s, %s, %s, %s, %s)",
                [
                    (
                        p.sale_id.partition(":")[0], place, p.transaction_id, p.line_id, p.currency, p.amount_minor,
                        "transaction" if p.is_named else "period", p.received_on, p.funded_on,
                    )
                    for place, p in enumerate(facts.payments)
                ],
            )  # fmt: skip


def book(url: str, folder: Path, facts: World, day: date = date(2026, 3, 20)) -> StageResult:
    """Write the facts and accrue them."""
    write(url, facts)
    return accrue(context(url, folder), day)


def read(url: str, document_kind: str = "sale") -> Books:
    """Return the sums of the ledger per document, account and effective day; zero sums are left out."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT document_id, kind, owner, currency || '/' || scale, effective_for, sum(amount_minor)::bigint"
            " FROM mart.movement WHERE document_kind = %s GROUP BY 1, 2, 3, 4, 5 HAVING sum(amount_minor) <> 0",
            (document_kind,),
        ).fetchall()
    return {(row[0], row[1], row[2], row[3], row[4]): row[5] for row in rows}


def balances(books: Books) -> Mapping[tuple[str, str], int]:
    """Return the balance of each (kind, asset) of books; zero balances are left out."""
    out: dict[tuple[str, str], int] = {}
    for (_, kind, _, asset, _), amount in books.items():
        out[kind, asset] = out.get((kind, asset), 0) + amount
    return {key: amount for key, amount in out.items() if amount}


def empty_the_books(url: str) -> None:
    """Take out all that was posted, as if nothing had been."""
    with psycopg.connect(url) as connection:
        kept = ("ledger.posting", "ledger.journal_entry", "ledger.account", "ops.opening_approval", "ops.opening_line")
        for table in (*kept, "ops.opening"):
            connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER refuse_change")
            connection.execute(f"TRUNCATE {table} CASCADE")
