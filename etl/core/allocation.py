"""What remittances pay for and what they should have in the ledger: facts in, allocations and flows out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from etl.core.configuration import Configuration
from etl.core.engine import DoesNotFit, Parameter, Relation, SqlEngine
from etl.core.errors import Stop
from etl.core.exchange import currency_units, usable_rates
from etl.core.schemas import TEXT
from etl.core.target import PAYMENT, POSTED, Facts, row_states
from etl.core.told import Told
from etl.core.write_off import GIVEN_UP, given_up, write_off_target, written

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
    """What remittances pay: each as it stands, what lines pay that name something, and that with what sums pay.

    `promise` is when what is told and not received is due, by the transactions its lines name.
    """

    standing: pa.Table
    direct: pa.Table
    allocation: pa.Table
    promise: pa.Table


@dataclass(frozen=True, slots=True)
class Settled:
    """What came of it for some sales: what they are paid, what is approved against that, and what is given up.

    `payment` has schema PAYMENT, `outcome` SALE_OUTCOME; `write_off` are signed flows (schema POSTED).
    """

    payment: pa.Table
    outcome: pa.Table
    write_off: pa.Table


def allocated(engine: SqlEngine, parts: Callable[[], Iterable[Facts]], told: Told, day: date) -> Allocated:
    """Return what remittances pay as of `day`; a function of the facts, whatever came first.

    Lines that name a transaction or a payment pay it. Then, in the order their money came, lump sums pay what sums to
    them. Last, where the house or a person says so, money that nothing fits pays the oldest. What a person wrote off is
    paid only by name. What an opening holds of a partner's debt is paid like a sale that was approved on the day of the
    opening. Facts of sales are asked for only if there are lump sums, in one part or more: of all sales of their
    accounts. Their payments are not read, as what is paid follows from the remittances alone.
    """
    currencies = [pc.unique(each["currency"]).to_pylist() for each in (told.remittance, told.line)]
    relations: dict[str, Relation] = {
        "remittance": told.remittance,
        "remittance_line": told.line,
        "remittance_decision": told.decision,
        "known_row": told.known_row,
        "referenced_row": told.referenced_row,
        "currency_unit": currency_units({currency for each in currencies for currency in each}),
    }
    standing = relations["standing"] = engine.run("remit/standing", relations)
    direct = engine.run("remit/direct", relations).cast(ALLOCATION)
    lumps = list(_lump_sums(standing, told, direct))
    whole = _allocate_lumps(engine, parts(), told, direct, lumps, day) if lumps else direct
    return Allocated(standing, direct, whole, _promises(standing, told.line))


def settled(
    engine: SqlEngine, facts: Facts, told: Told, made: Allocated, configuration: Configuration, day: date
) -> Settled:
    """Return what came of the remittances for the sales of `facts`, and for what of an opening is `told`."""
    named = payment = _payments(engine, facts, made.direct)
    states = row_states(engine, replace(facts, payment=named), day)
    with_items = facts
    if told.items.item.num_rows:
        with_items = told.items.added_to(facts)
        of_sales = engine.table(states)
        states = pa.concat_tables([of_sales, told.items.states(of_sales.schema)])
    if with_items is not facts or made.allocation is not made.direct:
        payment = _payments(engine, with_items, made.allocation)
    of_sales = pc.is_in(told.write_off["sale_id"], pc.unique(facts.sale["sale_id"]))
    lost = write_off_target(engine, facts, told.write_off.filter(of_sales), states, payment)
    relations: dict[str, Relation] = {
        "row_state": states,
        "sale": with_items.sale,
        "payment": payment,
        "written": written(lost),
        "promise": made.promise,
        "account_term": _account_terms(configuration),
        "currency_unit": currency_units(
            {*pc.unique(with_items.version["currency"]).to_pylist(), *pc.unique(payment["currency"]).to_pylist()}
        ),
    }
    outcome = engine.run("remit/sale_outcome", relations).cast(SALE_OUTCOME)
    return Settled(payment, outcome, lost)


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
    if allocation.num_rows == 0:
        return PAYMENT.empty_table()
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


def _told_states(
    engine: SqlEngine, parts: Iterable[Facts], told: Told, direct: pa.Table, day: date
) -> Iterator[pa.Table]:
    """Yield the states of some rows at a time by when the partner knew of them, last those of what an opening holds."""
    for facts in parts:
        paid = replace(facts, payment=_payments(engine, facts, direct))
        states = engine.table(row_states(engine, paid, day))
        yield _as_told(engine, paid, states, told.late_row, day)
        engine.release()
    yield told.items.states(states.schema)


def _allocate_lumps(
    engine: SqlEngine, parts: Iterable[Facts], told: Told, direct: pa.Table, lumps: list[_LumpSum], day: date
) -> pa.Table:
    """Return `direct` and what each lump sum pays of what those before it left and nobody had written off.

    Of all sales what is kept is a row for each day on which the approved commission of a transaction changed.
    """
    accounts = pa.array(sorted({lump.partner_account for lump in lumps}), TEXT)
    changes, closed = [], [GIVEN_UP.empty_table()]
    for states in _told_states(engine, parts, told, direct, day):
        closed.append(given_up(told.write_off, states))
        found = engine.run("remit/transaction_change", {"row_state": states})
        changes.append(found.filter(pc.is_in(found["partner_account"], accounts)))
    relations: dict[str, Relation] = {
        "transaction_change": pa.concat_tables(changes),
        "given_up": pa.concat_tables(closed),
    }
    units = currency_units({lump.currency for lump in lumps})
    unit_of = dict(zip(units["currency"].to_pylist(), units["unit_minor"].to_pylist(), strict=True))
    whole = direct
    for lump in lumps:
        relations["allocation"] = told.items.paid_by(whole)
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
