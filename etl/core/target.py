"""What sales should have in the ledger: facts of the warehouse in, the target and its difference from the books out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from itertools import chain

import pyarrow as pa
import pyarrow.compute as pc

from etl.core.configuration import Configuration
from etl.core.context import Context
from etl.core.engine import DoesNotFit, Relation, SqlEngine
from etl.core.errors import Stop
from etl.core.exchange import currency_units, usable_rates
from etl.core.ledger import PostedCounts, post
from etl.core.sale_range import ALL, Some, is_among
from etl.core.schemas import (
    COMMISSION_TOLERANCE,
    CONTRACT_TERM,
    INSTANT,
    TEXT,
    VERSION,
)
from etl.core.warehouse import Connection, fetch

VERSION_FACT = pa.schema(
    [
        VERSION.field(name)
        for name in (
            "sale_id partner_account transaction_id line_id version_no is_absent kind status partner_paid sale_amount"
            " commission_amount currency commission_group customer_type effective_on"
        ).split()
    ]
)
SALE_FACT = pa.schema(
    [
        pa.field("sale_id", TEXT, nullable=False),
        pa.field("partner_account", TEXT, nullable=False),
        pa.field("program_id", TEXT),
        pa.field("occurred_at", INSTANT, nullable=False),
        pa.field("sale_on", pa.date32(), nullable=False),
        pa.field("outcome", TEXT, nullable=False),
        pa.field("clicked_at", INSTANT),
        pa.field("member_id", TEXT),
        pa.field("earns_cashback", pa.bool_(), nullable=False),
    ]
)
POSTED = pa.schema(
    [
        pa.field("document_id", TEXT, nullable=False),
        pa.field("debit_kind", TEXT, nullable=False),
        pa.field("debit_owner", TEXT, nullable=False),
        pa.field("credit_kind", TEXT, nullable=False),
        pa.field("credit_owner", TEXT, nullable=False),
        pa.field("asset", TEXT, nullable=False),
        pa.field("amount", pa.int64(), nullable=False),
        pa.field("effective_for", pa.date32(), nullable=False),
        pa.field("component", TEXT, nullable=False),
        pa.field("rate", pa.decimal128(18, 12)),
    ]
)
PAYMENT = pa.schema(
    [
        pa.field("sale_id", TEXT, nullable=False),
        pa.field("transaction_id", TEXT, nullable=False),
        # '' pays the transaction as a whole.
        pa.field("line_id", TEXT, nullable=False),
        pa.field("currency", TEXT, nullable=False),
        pa.field("amount_minor", pa.int64(), nullable=False),
        pa.field("received_on", pa.date32(), nullable=False),
        pa.field("funded_on", pa.date32()),
        pa.field("is_named", pa.bool_(), nullable=False),
    ]
)
ACCOUNT_SETTING = pa.schema([("partner_account", TEXT), ("cashback_payable_on", TEXT)])
"""When cashback is payable at an account."""

PROGRAM_SETTING = pa.schema([("partner_account", TEXT), ("program_id", TEXT), ("cashback_payable_on", TEXT)])
"""When cashback is payable at programs that differ from their account."""


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a target follows from: Arrow tables of the canonical columns, and what the configuration says."""

    version: pa.Table
    sale: pa.Table
    program: pa.Table
    cashback_rule: pa.Table
    fx_rate: pa.Table
    account_setting: pa.Table
    base_currency: str
    payment: pa.Table = field(default_factory=PAYMENT.empty_table)
    contract_term: pa.Table = field(default_factory=CONTRACT_TERM.empty_table)
    commission_tolerance: pa.Table = field(default_factory=COMMISSION_TOLERANCE.empty_table)
    program_setting: pa.Table = field(default_factory=PROGRAM_SETTING.empty_table)


@dataclass(frozen=True, slots=True)
class Target:
    """The signed flows all sales should have, and how many sales have cashback that waits for a rate or a person.

    The flows stay with the engine: what a stage wants of them is their `difference` from the books.
    """

    flows: Relation
    waiting_count: int


@dataclass(frozen=True, slots=True)
class Due:
    """Flows for `etl.core.ledger.post`, in any order: the journal has its own; and how many sales wait, as above."""

    flows: pa.Table
    waiting_count: int


def conversion_rates(engine: SqlEngine, facts: Facts) -> pa.Table:
    """Return the usable factors between the currencies each sale may need, on its own day."""
    targets = {facts.base_currency, *pc.unique(facts.cashback_rule["currency"]).to_pylist()}
    told: dict[str, Relation] = {"version": facts.version, "sale": facts.sale}
    needed: set[tuple[date, str, str]] = set()
    for row in engine.run("accrue/sale_currency", told).to_pylist():
        for target in targets:
            for source in (row["currency"], *targets):
                needed |= {(row["sale_on"], source, target), (row["sale_on"], target, source)}
    return usable_rates(facts.fx_rate, needed)


def row_states(engine: SqlEngine, facts: Facts, day: date) -> Relation:
    """Return what each row of a sale says after every day on which the sale changed (sql/accrue/row_state.sql)."""
    relations: dict[str, Relation] = {
        "version": facts.version,
        "sale": facts.sale,
        "program": facts.program,
        "payment": facts.payment,
    }
    try:
        return engine.derive("accrue/row_state", relations, {"day": day})
    except DoesNotFit as error:
        raise Stop(f"an amount of a sale is too large to be booked ({error}): look for a wrong version") from error


def row_terms(engine: SqlEngine, facts: Facts) -> Relation:
    """Return the contract term that holds for each row of a sale (sql/accrue/row_term.sql)."""
    named: dict[str, Relation] = {"version": facts.version, "sale": facts.sale, "contract_term": facts.contract_term}
    return engine.derive("accrue/row_term", named)


def contracted(engine: SqlEngine, facts: Facts, states: Relation, terms: Relation) -> Relation:
    """Return what each sale reports and what its contract says of it, day by day (sql/accrue/contracted.sql)."""
    named: dict[str, Relation] = {
        "row_state": states,
        "row_term": terms,
        "sale": facts.sale,
        "commission_tolerance": facts.commission_tolerance,
    }
    return engine.derive("accrue/contracted", named)


def target(engine: SqlEngine, facts: Facts, day: date) -> Target:
    """Return the target of every sale in `facts` as of `day`; Stop if an amount is too large to be counted."""
    currencies = {
        *pc.unique(facts.version["currency"]).to_pylist(),
        *pc.unique(facts.cashback_rule["currency"]).to_pylist(),
    }
    relations: dict[str, Relation] = {
        "sale": facts.sale,
        "program": facts.program,
        "payment": facts.payment,
        "currency_unit": currency_units(currencies),
        "cashback_rule": facts.cashback_rule,
        "account_setting": facts.account_setting,
        "program_setting": facts.program_setting,
        "conversion_rate": conversion_rates(engine, facts),
    }
    states = row_states(engine, facts, day)
    relations["row_state"] = states
    try:
        relations["contracted"] = contracted(engine, facts, states, row_terms(engine, facts))
        relations["cashback"] = engine.derive("accrue/cashback", relations)
        relations["share"] = engine.derive("accrue/share", relations)
        flows = engine.derive("accrue/target", relations, {"base_currency": facts.base_currency})
        waiting = engine.run("accrue/waiting", {"cashback": relations["cashback"]})
    except DoesNotFit as error:
        raise Stop(f"an amount of a sale is too large to be booked ({error}): look for a wrong version") from error
    return Target(flows, waiting["sale_count"][0].as_py())


def difference(engine: SqlEngine, wanted: Relation, posted: Relation) -> pa.Table:
    """Return target minus posted as flows for `etl.core.ledger.post`; empty if the books are as they should be."""
    signed = engine.derive("accrue/difference", {"target": wanted, "posted": posted})
    return engine.run("accrue/flow", {"signed_flow": signed})


def due(engine: SqlEngine, facts: Facts, posted: pa.Table, day: date) -> Due:
    """Return what sales should have in the ledger as of `day` beyond what is posted; Stop as `target` does.

    The engine joins and groups by the number of a sale, its place here, which costs less than by its name. It then lets
    go of all that it kept.
    """
    named = [each["sale_id"] for each in (facts.sale, facts.version, facts.payment)]
    names = pc.unique(pa.chunked_array([*chain(*(each.chunks for each in (*named, posted["document_id"])))], TEXT))
    version, sale, payment = (_numbered(each, "sale_id", names) for each in (facts.version, facts.sale, facts.payment))
    wanted = target(engine, replace(facts, version=version, sale=sale, payment=payment), day)
    signed = wanted.flows
    if posted.num_rows:
        booked = _numbered(posted, "document_id", names)
        signed = engine.derive("accrue/difference", {"target": signed, "posted": booked})
    flows = engine.run("accrue/flow", {"signed_flow": signed}, is_ordered=False)
    engine.release()
    return Due(_with(flows, "document_id", names.take(flows["document_id"])), wanted.waiting_count)


def _numbered(table: pa.Table, column: str, names: pa.Array) -> pa.Table:
    """Return the table with the place of each name of a column among `names` instead."""
    return _with(table, column, pc.index_in(table[column], names))


def _with(table: pa.Table, column: str, values: pa.ChunkedArray) -> pa.Table:
    return table.set_column(table.schema.get_field_index(column), column, values)


def post_difference(
    context: Context, connection: Connection, document_kind: str, wanted: Relation, posted: pa.Table
) -> PostedCounts:
    """Post target minus posted for documents of a kind; whoever calls holds the lock of the entity's books."""
    return post(
        connection,
        context.entity.name,
        document_kind,
        difference(context.engine, wanted, posted),
        run_id=context.run_id,
        created_by=context.actor,
        posted_at=context.known_at,
    )


def commission_tolerance(configuration: Configuration) -> pa.Table:
    """Return by how much commission may differ from the contract, for each account (schema COMMISSION_TOLERANCE)."""
    rows = [
        {
            "partner_account": account.name,
            "amount": Decimal(account.commission_tolerance),
            "share": Decimal(account.commission_tolerance_share),
        }
        for account in configuration.accounts
    ]
    return pa.Table.from_pylist(rows, schema=COMMISSION_TOLERANCE)


def read_posted(connection: Connection, entity: str, documents: Some | None = None, kind: str = "sale") -> pa.Table:
    """Return what documents have in the ledger: one signed sum a pair of accounts, day, component and rate."""
    which, parameters = is_among("j.document_id", ALL if documents is None else documents)
    # Summed by account number first: names are wide, and there are many postings for each account. OFFSET 0 has
    # postings looked up by the numbers of entries and accounts by theirs, also after a bulk that PostgreSQL has no
    # statistics of yet: else it reads all of them.
    query = f"""
        WITH posted AS (
            SELECT j.document_id, p.debit, p.credit, p.effective_for, p.component, p.rate,
                sum(p.amount)::bigint AS amount
            FROM ledger.journal_entry AS j
            CROSS JOIN LATERAL (
                SELECT debit, credit, effective_for, component, rate, amount
                FROM ledger.posting
                WHERE entity = j.entity AND year = j.year AND number = j.number
                OFFSET 0
            ) AS p
            WHERE j.document_kind = %(kind)s AND j.entity = %(entity)s AND {which}
            GROUP BY j.document_id, p.debit, p.credit, p.effective_for, p.component, p.rate
        )
        SELECT p.document_id, d.kind, d.owner, c.kind, c.owner, d.asset, p.amount, p.effective_for, p.component, p.rate
        FROM posted AS p
        CROSS JOIN LATERAL (SELECT kind, owner, asset FROM ledger.account WHERE account_id = p.debit OFFSET 0) AS d
        CROSS JOIN LATERAL (SELECT kind, owner FROM ledger.account WHERE account_id = p.credit OFFSET 0) AS c
    """
    return fetch(connection, query, POSTED, {"kind": kind, "entity": entity, **parameters})
