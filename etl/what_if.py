"""What if: the books under other rules, terms or thresholds, computed from the facts; nothing is written."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from etl.core.configuration import Bank
from etl.core.context import Context
from etl.core.correction import Proposal, differing_rows, propose, table_of, write_correction
from etl.core.engine import query_text
from etl.core.errors import Stop
from etl.core.facts import FactReader
from etl.core.ledger import booked_days
from etl.core.money import Asset, from_minor, member_asset
from etl.core.period import closed_through, locked_months, period_states
from etl.core.safe_csv import csv_bytes
from etl.core.schemas import CASHBACK_RULE, COMMISSION_TOLERANCE, CONTRACT_TERM, TEXT
from etl.core.target import Facts, difference, read_posted, target
from etl.core.warehouse import APPROVER, Connection, fetch

_NOBODY_YET = "what if"
_MEMBER_KINDS = ("cashback_pending", "cashback_confirmed", "cashback_payable")
_LINE = pa.schema([("member_id", TEXT), ("amount_minor", pa.int64())])
_COLUMNS = (
    "document_id", "effective_for", "booked_on", "debit_kind", "debit_owner", "credit_kind", "credit_owner", "currency",
    "amount", "component", "base_amount",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of the books in one currency: as the facts say it now, and as they would say it."""

    name: str
    currency: str
    before: Decimal
    after: Decimal


@dataclass(frozen=True, slots=True)
class MemberChange:
    """By how much what a member is owed would change, in one currency, by state."""

    member_id: str
    currency: str
    pending: Decimal
    confirmed: Decimal
    payable: Decimal

    @property
    def total(self) -> Decimal:
        """Return the change over all states."""
        return self.pending + self.confirmed + self.payable


@dataclass(frozen=True, slots=True)
class Effect:
    """What would change: figures, members (the most first), and the very postings (`booked_on` as of now).

    `hash` is of the postings without `booked_on`: it names this effect in a decision. `behind_count` is how many
    postings other facts still wait for, which are not part of it.
    """

    hash: str
    figures: tuple[Figure, ...]
    members: tuple[MemberChange, ...]
    postings: pa.Table
    behind_count: int

    def write(self, path: Path) -> None:
        """Write the postings as Parquet if the name ends so, else as CSV that a spreadsheet opens as it is."""
        if path.suffix == ".parquet":
            pq.write_table(self.postings, path, compression="zstd")
            return
        rows = [[row[name] for name in _COLUMNS] for row in self.postings.to_pylist()]
        path.write_bytes(csv_bytes(_COLUMNS, rows))


@dataclass(frozen=True, slots=True)
class PayoutEffect:
    """Who could be paid today by a bank under its threshold, and under another."""

    currency: str
    before_count: int
    before: Decimal
    after_count: int
    after: Decimal


def of_proposal(context: Context, connection: Connection, day: date, proposal: Proposal) -> Effect:
    """Return the effect of a correction in force from an instant on, or of a decision undone, as of `day`.

    What is needed to look is taken back before this returns.
    """
    reader = FactReader(context, connection)
    with connection.transaction(force_rollback=True):
        connection.execute(f"SET LOCAL ROLE {APPROVER}")
        propose(connection, context, proposal, _NOBODY_YET, "to look", "0" * 64)
        changed = _in_force(connection, reader.shared)
    return _effect(context, connection, day, reader, changed)


def of_file(context: Context, day: date, path: Path, from_at: datetime) -> Effect:
    """Return the effect of the rules or terms of a CSV, if they were in force for clicks from an instant on."""
    relation = table_of(path)
    with context.warehouse.transaction() as connection:
        reader = FactReader(context, connection)
        with connection.transaction(force_rollback=True):
            connection.execute(f"SET LOCAL ROLE {APPROVER}")
            rows = differing_rows(connection, path, relation)
            correction_id = write_correction(connection, context, path, relation, rows, _NOBODY_YET)
            propose(connection, context, Proposal(correction_id, from_at), _NOBODY_YET, "to look", "0" * 64)
            changed = _in_force(connection, reader.shared)
        return _effect(context, connection, day, reader, changed)


def of_tolerance(context: Context, day: date, amount: Decimal | None, share: Decimal | None) -> Effect:
    """Return the effect of other tolerances for commission that differs from the contract, at every account."""
    with context.warehouse.transaction() as connection:
        reader = FactReader(context, connection)
        rows = [
            {
                "partner_account": row["partner_account"],
                "amount": row["amount"] if amount is None else amount,
                "share": row["share"] if share is None else share,
            }
            for row in reader.shared.commission_tolerance.to_pylist()
        ]
        tolerance = pa.Table.from_pylist(rows, schema=COMMISSION_TOLERANCE)
        return _effect(context, connection, day, reader, replace(reader.shared, commission_tolerance=tolerance))


def of_payout_threshold(context: Context, day: date, bank: Bank, threshold_minor: int) -> PayoutEffect:
    """Return what a bank could pay out today under its own threshold and under another."""
    if threshold_minor < 1:
        raise Stop("a payout threshold is at least the smallest unit of the currency")
    with context.warehouse.transaction() as connection:
        found = [_payable(context, connection, bank, day, each) for each in (bank.threshold_minor, threshold_minor)]
    scale = member_asset(bank.currency).scale
    sums = [from_minor(sum(each.values()), scale) for each in found]
    return PayoutEffect(bank.currency, len(found[0]), sums[0], len(found[1]), sums[1])


def _in_force(connection: Connection, facts: Facts) -> Facts:
    rules = fetch(connection, f"SELECT {', '.join(CASHBACK_RULE.names)} FROM ref.cashback_rule_in_force", CASHBACK_RULE)
    terms = fetch(connection, f"SELECT {', '.join(CONTRACT_TERM.names)} FROM ref.contract_term_in_force", CONTRACT_TERM)
    return replace(facts, cashback_rule=rules, contract_term=terms)


def _effect(context: Context, connection: Connection, day: date, reader: FactReader, changed: Facts) -> Effect:
    """Return what would change if what sales share were `changed`; some sales are in hand at a time."""
    engine, entity = context.engine, context.entity.name
    before, after, parts, behind_count = Counter[tuple[str, str]](), Counter[tuple[str, str]](), list[pa.Table](), 0
    for some in reader.parts():
        facts = reader.of(some)
        other = replace(changed, version=facts.version, sale=facts.sale, payment=facts.payment)
        now, then = (engine.rows(target(engine, each, day).flows) for each in (facts, other))
        before.update(_balances(now))
        after.update(_balances(then))
        parts.append(difference(engine, then, now))
        behind_count += difference(engine, now, read_posted(connection, entity, some)).num_rows
        engine.release()
    flows = pa.concat_tables(parts)
    states = period_states(connection, entity)
    days = pc.unique(flows["effective_for"]).to_pylist()
    booked = booked_days(days, locked_months(states, "sale"), closed_through(states))
    return Effect(
        hash=_hash(flows),
        figures=(*_figures(before, after), *_cash(connection, entity, _balances(flows))),
        members=_members(flows),
        postings=_postings(flows, booked),
        behind_count=behind_count,
    )


def _hash(flows: pa.Table) -> str:
    said = hashlib.sha256()
    names = [name for name in flows.schema.names if name != "base_amount"]
    for row in sorted("|".join(str(row[name]) for name in names) for row in flows.to_pylist()):
        said.update(f"{row}\n".encode())
    return said.hexdigest()


def _movements(flows: pa.Table) -> Iterable[tuple[str, str, str, int]]:
    """Yield kind, owner, asset and signed amount (a debit is positive), summed."""
    sums: dict[tuple[str, str, str], int] = defaultdict(int)
    for side, sign in (("debit", 1), ("credit", -1)):
        summed = flows.group_by([f"{side}_kind", f"{side}_owner", "asset"]).aggregate([("amount", "sum")])
        for row in summed.to_pylist():
            sums[row[f"{side}_kind"], row[f"{side}_owner"], row["asset"]] += sign * row["amount_sum"]
    for (kind, owner, asset), amount in sorted(sums.items()):
        yield kind, owner, asset, amount


def _balances(flows: pa.Table) -> Mapping[tuple[str, str], int]:
    out: dict[tuple[str, str], int] = defaultdict(int)
    for kind, _, asset, amount in _movements(flows):
        out[kind, asset] += amount
    return out


def _figures(before: Mapping[tuple[str, str], int], after: Mapping[tuple[str, str], int]) -> tuple[Figure, ...]:
    """Return the figures of sales, of each currency that any of them has."""
    of_kinds = {
        "commission approved": {"commission_income": -1},
        "cashback cost": {"cashback_cost": 1},
        "margin": {"commission_income": -1, "cashback_cost": -1},
        "commission pending": {"commission_expected": 1},
        "cashback cost pending": {"cashback_expected_cost": 1},
        "members: pending": {"cashback_pending": -1},
        "members: confirmed": {"cashback_confirmed": -1},
        "members: made payable": {"cashback_payable": -1},
    }
    assets = sorted({asset for _, asset in (*before, *after)})
    out = []
    for name, kinds in of_kinds.items():
        for asset in assets:
            was, then = (
                sum(sign * books.get((kind, asset), 0) for kind, sign in kinds.items()) for books in (before, after)
            )
            if was or then:
                parsed = Asset.parse(asset)
                out.append(Figure(name, parsed.currency, from_minor(was, parsed.scale), from_minor(then, parsed.scale)))
    return tuple(out)


def _cash(connection: Connection, entity: str, change: Mapping[tuple[str, str], int]) -> Iterable[Figure]:
    """Yield what stands in the books to be paid out, now and with the change; what is reserved or sent stays."""
    rows = connection.execute(
        "SELECT kind IN ('payout_reserved', 'payout_in_flight') AS is_reserved, currency || '/' || scale,"
        " -sum(balance_minor)::bigint FROM mart.balance WHERE entity = %s"
        " AND kind IN ('cashback_payable', 'payout_reserved', 'payout_in_flight') GROUP BY 1, 2",
        (entity,),
    ).fetchall()
    held = {(bool(is_reserved), str(asset)): int(str(minor)) for is_reserved, asset, minor in rows}
    moved = {asset for kind, asset in change if kind == "cashback_payable"}
    for is_reserved, name in ((False, "cash: payable now"), (True, "cash: reserved or sent")):
        for asset in sorted(moved | {asset for _, asset in held}):
            was = held.get((is_reserved, asset), 0)
            then = was if is_reserved else was - change.get(("cashback_payable", asset), 0)
            if was or then:
                parsed = Asset.parse(asset)
                yield Figure(name, parsed.currency, from_minor(was, parsed.scale), from_minor(then, parsed.scale))


def _members(flows: pa.Table) -> tuple[MemberChange, ...]:
    sums: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: dict.fromkeys(_MEMBER_KINDS, 0))
    for kind, owner, asset, amount in _movements(flows):
        if kind in _MEMBER_KINDS:
            sums[owner, asset][kind] -= amount
    changes = []
    for (member, asset), by_kind in sums.items():
        parsed = Asset.parse(asset)
        amounts = [from_minor(by_kind[kind], parsed.scale) for kind in _MEMBER_KINDS]
        changes.append(MemberChange(member, parsed.currency, *amounts))
    some = [each for each in changes if each.pending or each.confirmed or each.payable]
    return tuple(sorted(some, key=lambda each: (-abs(each.total), each.member_id, each.currency)))


def _postings(flows: pa.Table, booked: Mapping[date, date]) -> pa.Table:
    rows = []
    for row in flows.to_pylist():
        asset = Asset.parse(row["asset"])
        rows.append(
            {
                **{name: row[name] for name in _COLUMNS if name in row},
                "booked_on": booked[row["effective_for"]],
                "currency": asset.currency,
                "amount": Decimal(row["amount"]).scaleb(-asset.scale),
            }
        )
    kinds = {"effective_for": pa.date32(), "booked_on": pa.date32()}
    kinds |= {"amount": pa.decimal128(24, 4), "base_amount": pa.decimal128(20, 4)}
    return pa.Table.from_pylist(rows, schema=pa.schema([(name, kinds.get(name, TEXT)) for name in _COLUMNS]))


def _payable(
    context: Context, connection: Connection, bank: Bank, day: date, threshold_minor: int
) -> Mapping[str, int]:
    parameters: dict[str, str | int | date] = {
        "entity": context.entity.name,
        "asset": str(member_asset(bank.currency)),
        "currency": bank.currency,
        "mature_until": day - timedelta(days=bank.maturity_days),
        "threshold_minor": max(1, threshold_minor),
    }
    text = psycopg.ClientCursor(connection).mogrify(query_text("ledger/payable"), parameters)
    sums: dict[str, int] = defaultdict(int)
    for row in fetch(connection, f"SELECT member_id, amount_minor FROM ({text}) AS line", _LINE).to_pylist():
        sums[row["member_id"]] += row["amount_minor"]
    return sums
