"""What remittances pay for and what they should have in the ledger: facts in, allocations and flows out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from etl.core.configuration import Configuration
from etl.core.engine import DoesNotFit, Parameter, Relation, SqlEngine
from etl.core.errors import Stop
from etl.core.exchange import currency_units, usable_rates
from etl.core.receivable_item import Items
from etl.core.schemas import TEXT
from etl.core.target import PAYMENT, POSTED, Facts, row_states
from etl.core.told import Told
from etl.core.write_off import given_up, write_off_target, written

ALLOCATION = pa.schema(
    [
        pa.field("partner_account", TEXT, nullable=False),
        pa.field("remittance_id", TEXT, nullable=False),
        pa.field("line_no", pa.int32(), nullable=False),
        pa.field("transaction_id", TEXT, nullable=False),
        pa.field("line_id", TEXT, nullable=False),
        pa.field("currency", TEXT, nullable=False),
        pa.field("amount_minor", pa.int64(), nullable=False),
        pa.field("rule", TEXT, nullable=False),
        pa.field("received_on", pa.date32(), nullable=False),
        pa.field("funded_on", pa.date32()),
    ]
)
SALE_OUTCOME = pa.schema(
    [
        ("sale_id", TEXT),
        ("currency", TEXT),
        ("partner_account", TEXT),
        ("transaction_id", TEXT),
        ("approved_on", pa.date32()),
        ("due_on", pa.date32()),
        ("approved_minor", pa.int64()),
        ("paid_minor", pa.int64()),
        ("carried_minor", pa.int64()),
        ("written_minor", pa.int64()),
        ("open_minor", pa.int64()),
        ("outcome", TEXT),
    ]
)
"""What is approved of a sale against what was paid for it, whatever day it is."""

ACCOUNT_OPEN = pa.schema([("partner_account", TEXT), ("currency", TEXT), ("open_minor", pa.int64())])
_ACCOUNT_TERM = pa.schema(
    [
        ("partner_account", TEXT),
        ("partner", TEXT),
        ("payment_days", pa.int32()),
        ("payment_threshold_minor", pa.int64()),
    ]
)
_PROMISE = pa.schema([("partner_account", TEXT), ("transaction_id", TEXT), ("due_on", pa.date32())])


@dataclass(frozen=True, slots=True)
class Allocated:
    """What came of it: remittances as they stand, what each line pays, the same by sale, and the states of all rows.

    `write_off` is what write-offs should have in the ledger, as signed flows (schema POSTED). States stay with the
    engine where nothing but its queries asks for them.
    """

    standing: pa.Table
    allocation: pa.Table
    payment: pa.Table
    row_state: Relation
    write_off: pa.Table


def allocated(engine: SqlEngine, facts: Facts, told: Told, day: date) -> Allocated:
    """Return what remittances pay as of `day`; a function of the facts, whatever came first.

    Lines that name a transaction or a payment pay it. Then, in the order their money came, lump sums pay what sums to
    them. Last, where the house or a person says so, money that nothing fits pays the oldest. What a person wrote off is
    paid only by name. `facts.payment` is not read: what is paid follows from the remittances alone. What an opening
    holds of a partner's debt is paid like a sale that was approved on the day of the opening.
    """
    currencies = [pc.unique(each["currency"]).to_pylist() for each in (told.remittance, facts.version, told.items.item)]
    units = currency_units({currency for each in currencies for currency in each})
    relations: dict[str, Relation] = {
        "remittance": told.remittance,
        "remittance_line": told.line,
        "remittance_decision": told.decision,
        "known_row": told.known_row,
        "referenced_row": told.referenced_row,
        "currency_unit": units,
    }
    standing = relations["standing"] = engine.run("remit/standing", relations)
    direct = engine.run("remit/direct", relations).cast(ALLOCATION)
    payment = _payments(engine, facts, direct)
    found = row_states(engine, replace(facts, payment=payment), day)
    lumps = list(_lump_sums(standing, told, direct))
    if not lumps and not told.items.item.num_rows:
        lost = write_off_target(engine, facts, told.write_off, found, payment)
        return Allocated(standing, direct, payment, found, lost)
    states = engine.table(found)
    of_items = told.items.states(states.schema)
    with_items = told.items.added_to(facts)
    whole = direct
    if lumps:
        told_states = _as_told(engine, replace(facts, payment=payment), states, told.late_row, day)
        told_states = pa.concat_tables([told_states, of_items])
        closed = given_up(told.write_off, told_states)
        whole = _allocate_lumps(engine, told_states, units, lumps, direct, told.items, closed)
    if lumps or of_items.num_rows:
        payment = _payments(engine, with_items, whole)
    rows = pa.concat_tables([states, of_items])
    lost = write_off_target(engine, facts, told.write_off, rows, payment)
    return Allocated(standing, whole, payment, rows, lost)


def remittance_target(engine: SqlEngine, facts: Facts, told: Told, made: Allocated) -> pa.Table:
    """Return the signed flows (schema POSTED) that all remittances should have in the ledger."""
    needed: set[tuple[date, str, str]] = set()
    currencies = {facts.base_currency}
    for row in made.standing.to_pylist():
        if row["received_on"] is not None:
            currencies |= {row["currency"], row["bank_currency"]}
            needed |= rates_of_receipt(row, facts.base_currency)
    relations: dict[str, Relation] = {
        "standing": made.standing,
        "remittance_line": told.line,
        "allocation": made.allocation,
        "currency_unit": currency_units(currencies),
        "conversion_rate": usable_rates(facts.fx_rate, needed),
    }
    try:
        return engine.run("remit/target", relations, {"base_currency": facts.base_currency}).cast(POSTED)
    except DoesNotFit as error:
        raise Stop(f"an amount of a remittance is too large to be booked ({error}): look for a wrong one") from error


def rates_of_receipt(remittance: Mapping[str, Any], base_currency: str) -> set[tuple[date, str, str]]:
    """Return the factors (day, from, to) that a remittance that was received is booked with."""
    on, currency, of_bank = (remittance[name] for name in ("received_on", "currency", "bank_currency"))
    return {(on, currency, of_bank), (on, currency, base_currency), (on, of_bank, base_currency)}


def sale_outcomes(
    engine: SqlEngine, facts: Facts, told: Told, made: Allocated, configuration: Configuration
) -> pa.Table:
    """Return what is approved against what was paid of every sale (sql/remit/sale_outcome.sql; schema SALE_OUTCOME).

    What an opening holds is one, too: its document stands for the sale.
    """
    facts = told.items.added_to(facts)
    relations: dict[str, Relation] = {
        "row_state": made.row_state,
        "sale": facts.sale,
        "payment": made.payment,
        "written": written(made.write_off),
        "promise": _promises(made.standing, told.line),
        "account_term": _account_terms(configuration),
        "currency_unit": currency_units(
            {*pc.unique(facts.version["currency"]).to_pylist(), *pc.unique(made.payment["currency"]).to_pylist()}
        ),
    }
    return engine.run("remit/sale_outcome", relations).cast(SALE_OUTCOME)


def account_open(engine: SqlEngine, found: pa.Table) -> pa.Table:
    """Return what each account leaves open in all of the sales `found` (schema ACCOUNT_OPEN)."""
    return engine.run("remit/account_open", {"sale_outcome": found}).cast(ACCOUNT_OPEN)


def aged(engine: SqlEngine, found: pa.Table, whole_open: pa.Table, configuration: Configuration, day: date) -> pa.Table:
    """Return outcomes of sales with their age as of `day`; `whole_open` is what their accounts leave open in all."""
    relations: dict[str, Relation] = {
        "sale_outcome": found,
        "account_open": whole_open,
        "account_term": _account_terms(configuration),
        "currency_unit": currency_units(pc.unique(found["currency"]).to_pylist()),
    }
    return engine.run("remit/outcome", relations, {"day": day})


def outcomes(
    engine: SqlEngine, facts: Facts, told: Told, made: Allocated, configuration: Configuration, day: date
) -> pa.Table:
    """Return the outcome of every sale, with its age as of `day` (sql/remit/outcome.sql)."""
    found = sale_outcomes(engine, facts, told, made, configuration)
    return aged(engine, found, account_open(engine, found), configuration, day)


def _account_terms(configuration: Configuration) -> pa.Table:
    terms = [
        (account.name, account.partner, account.payment_days, account.payment_threshold_minor)
        for account in configuration.accounts
    ]
    columns = zip(*terms, strict=True) if terms else [[], [], [], []]
    return pa.table([list(column) for column in columns], schema=_ACCOUNT_TERM)


def breaks(engine: SqlEngine, told: Told, made: Allocated, outcome: pa.Table, *, is_told: bool) -> pa.Table:
    """Return the open breaks of remittances and of sales (sql/remit/break.sql); `is_told`: of any remittance at all."""
    relations: dict[str, Relation] = {
        "standing": made.standing,
        "remittance_line": told.line,
        "allocation": made.allocation,
        "outcome": outcome,
    }
    return engine.run("remit/break", relations, {"is_told": is_told})


def _payments(engine: SqlEngine, facts: Facts, allocation: pa.Table) -> pa.Table:
    relations: dict[str, Relation] = {"allocation": allocation, "version": facts.version, "sale": facts.sale}
    return engine.run("remit/payment", relations).cast(PAYMENT)


@dataclass(frozen=True, slots=True)
class _LumpSum:
    partner_account: str
    remittance_id: str
    line_no: int
    currency: str
    net_minor: int
    received_on: date
    funded_on: date | None
    period_from: date | None
    period_until: date | None
    is_oldest_first: bool


def _lump_sums(standing: pa.Table, told: Told, direct: pa.Table) -> Iterator[_LumpSum]:
    """Yield the commission lines that name nothing that is known, in the order their money came."""
    paid = set(
        zip(*(direct[name].to_pylist() for name in ("partner_account", "remittance_id", "line_no")), strict=True)
    )
    heads = {(row["partner_account"], row["remittance_id"], row["revision"]): row for row in standing.to_pylist()}
    found = []
    for line in told.line.to_pylist():
        head = heads.get((line["partner_account"], line["remittance_id"], line["revision"]))
        if head is None or not head["is_allocated"] or line["kind"] != "commission" or line["transaction_id"]:
            continue
        if (line["partner_account"], line["remittance_id"], line["line_no"]) in paid:
            continue
        is_oldest_first = told.is_oldest_first or head["is_oldest_first"]
        if head["period_from"] is None and not is_oldest_first:
            continue
        found.append(
            _LumpSum(
                line["partner_account"],
                line["remittance_id"],
                line["line_no"],
                line["currency"],
                line["amount_minor"],
                head["received_on"],
                head["funded_on"],
                head["period_from"],
                head["period_until"],
                is_oldest_first,
            )
        )
    yield from sorted(found, key=lambda one: (one.received_on, one.partner_account, one.remittance_id, one.line_no))


def _as_told(engine: SqlEngine, facts: Facts, states: pa.Table, late_row: pa.Table, day: date) -> pa.Table:
    """Return `states` (of `facts`) by when the partner knew of it: what it told late is in a later statement."""
    relations: dict[str, Relation] = {"late_row": late_row, "version": facts.version}
    late = engine.run("remit/late_version", relations).cast(facts.version.schema)
    if not late.num_rows:
        return states
    is_late = pc.is_in(states["sale_id"], pc.unique(late["sale_id"]))
    late_states = engine.table(row_states(engine, replace(facts, version=late), day))
    return pa.concat_tables([states.filter(pc.invert(is_late)), late_states])


def _allocate_lumps(
    engine: SqlEngine,
    states: pa.Table,
    units: pa.Table,
    lumps: list[_LumpSum],
    direct: pa.Table,
    items: Items,
    closed: pa.Table,
) -> pa.Table:
    """Return `direct` and what each lump sum pays of what those before it left and nobody had written off."""
    changes = engine.run("remit/transaction_change", {"row_state": states})
    unit_of = dict(zip(units["currency"].to_pylist(), units["unit_minor"].to_pylist(), strict=True))
    whole = direct
    for lump in lumps:
        relations: dict[str, Relation] = {
            "transaction_change": changes,
            "allocation": items.paid_by(whole),
            "given_up": closed,
        }
        paid = None
        if lump.period_from is not None and lump.period_until is not None:
            named: dict[str, Parameter] = {"period_from": lump.period_from, "unit_minor": unit_of[lump.currency]}
            paid = _paid_by(engine, "remit/lump", relations, lump, lump.period_until, named)
        if (paid is None or not paid.num_rows) and lump.is_oldest_first:
            paid = _paid_by(engine, "remit/oldest", relations, lump, lump.received_on + timedelta(days=1), {})
        if paid is not None and paid.num_rows:
            whole = pa.concat_tables([whole, _as_allocation(lump, paid)])
    keys = ("partner_account", "remittance_id", "line_no", "transaction_id", "line_id")
    return whole.sort_by([(key, "ascending") for key in keys])


def _paid_by(
    engine: SqlEngine,
    rule: str,
    relations: Mapping[str, Relation],
    lump: _LumpSum,
    before_on: date,
    named: Mapping[str, Parameter],
) -> pa.Table:
    """Return what the money pays by `rule` of what was open before `before_on`."""
    whose: dict[str, Parameter] = {
        "partner_account": lump.partner_account,
        "currency": lump.currency,
        "before_on": before_on,
        "received_on": lump.received_on,
    }
    still_open = engine.run("remit/open_transaction", relations, whose)
    return engine.run(rule, {"open_transaction": still_open}, {**named, "net_minor": lump.net_minor})


def _as_allocation(lump: _LumpSum, paid: pa.Table) -> pa.Table:
    constants = {
        **{name: getattr(lump, name) for name in ALLOCATION.names if hasattr(lump, name)},
        "line_id": "",
    }
    columns = [
        pa.repeat(pa.scalar(constants[item.name], item.type), paid.num_rows)
        if item.name in constants
        else paid[item.name]
        for item in ALLOCATION
    ]
    return pa.table(columns, names=ALLOCATION.names).cast(ALLOCATION)


def _promises(standing: pa.Table, line: pa.Table) -> pa.Table:
    """Return the day on which what was told and has not come is due, by the transactions its lines name."""
    due = {
        (row["partner_account"], row["remittance_id"], row["revision"]): row["due_on"]
        for row in standing.to_pylist()
        if row["received_on"] is None and row["due_on"] is not None
    }
    found: dict[tuple[str, str], date] = {}
    for row in line.to_pylist():
        on = due.get((row["partner_account"], row["remittance_id"], row["revision"]))
        if on is not None and row["transaction_id"] is not None:
            key = (row["partner_account"], row["transaction_id"])
            found[key] = min(on, found.get(key, on))
    rows = [
        {"partner_account": account, "transaction_id": transaction, "due_on": on}
        for (account, transaction), on in sorted(found.items())
    ]
    return pa.Table.from_pylist(rows, schema=_PROMISE)
