"""Export the books as beancount text, so that an auditor checks them with a program that is not ours."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TextIO

import pyarrow as pa

from etl.core.context import Context, StageResult
from etl.core.errors import Stop
from etl.core.money import PARTNER_SCALE, from_minor
from etl.core.period import PeriodState, next_month, period_states
from etl.core.schemas import TEXT
from etl.core.warehouse import fetch

ROOTS = {
    "commission_expected": "Assets",
    "commission_receivable": "Assets",
    "partner_clearing": "Assets",
    "suspense": "Assets",
    "bank": "Assets",
    "border": "Assets",
    "fx_position": "Assets",
    "open_item_valuation": "Assets",
    "cashback_pending": "Liabilities",
    "cashback_confirmed": "Liabilities",
    "cashback_payable": "Liabilities",
    "payout_reserved": "Liabilities",
    "payout_in_flight": "Liabilities",
    "commission_income": "Income",
    "commission_expected_contra": "Income",
    "breakage_income": "Income",
    "fx_realised": "Income",
    "fx_unrealised": "Income",
    "cashback_cost": "Expenses",
    "cashback_expected_cost": "Expenses",
    "goodwill_cost": "Expenses",
    "bad_debt": "Expenses",
    "clawback_write_off": "Expenses",
    "payout_fee": "Expenses",
    "rounding": "Expenses",
}
"""Beancount's five roots; what is not named here is Equity, which changes no balance."""

_POSTING = pa.schema(
    [
        ("year", pa.int32()),
        ("number", pa.int64()),
        ("booked_on", pa.date32()),
        ("document_kind", TEXT),
        ("document_id", TEXT),
        ("effective_for", pa.date32()),
        ("debit_kind", TEXT),
        ("debit_owner", TEXT),
        ("credit_kind", TEXT),
        ("credit_owner", TEXT),
        ("asset", TEXT),
        ("amount", pa.int64()),
    ]
)


@dataclass(slots=True)
class _Account:
    """A beancount account while the postings go by: when it opened, and its balance in each currency."""

    opened_on: date
    balances: dict[str, Decimal] = field(default_factory=dict)


def account_name(kind: str, owner: str) -> str:
    """Return the beancount account of a ledger account: its kind, and its owner so that no two share a name."""
    name = f"{ROOTS.get(kind, 'Equity')}:{''.join(word.capitalize() for word in kind.split('_'))}"
    if not owner:
        return name
    # Letters and digits stay; every other character becomes its number between hyphens.
    escaped = re.sub(r"[^A-Za-z0-9]", lambda found: f"-{ord(found[0]):x}-", owner)
    return f"{name}:O-{escaped}"


def export_beancount(context: Context, path: Path) -> StageResult:
    """Write the whole ledger to `path`: one transaction for each journal entry, and what every account must come to.

    Both scales of a currency are one account there, so that beancount proves the border, too. Balances are asserted
    exactly: at the end for every account, and at the end of each closed month for those that moved in it. The same
    books make the same bytes. Stop if nothing is booked.
    """
    entity = context.entity.name
    with context.warehouse.transaction() as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        postings = fetch(connection, _POSTINGS, _POSTING, (entity,))
        states = period_states(connection, entity)
    if postings.num_rows == 0:
        raise Stop(f"nothing is booked for {entity}: there are no books to export")
    closed = sorted(month for month, state in states.items() if state is PeriodState.CLOSED)
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("w", encoding="utf-8") as out:
            counts = _write(context, postings, closed, out)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return StageResult("export", entity, counts, f"{path}: check it with `bean-check`")


def _write(context: Context, postings: pa.Table, closed: list[date], out: TextIO) -> tuple[tuple[str, int], ...]:
    entity = context.entity
    out.write(
        f'option "title" {_text(f"Books of {entity.name}")}\noption "operating_currency" "{entity.base_currency}"\n'
    )
    accounts = _opened(postings)
    for name in sorted(accounts):
        out.write(f"\n{accounts[name].opened_on} open {name}")
    out.write("\n")
    entries, assertions, entry = 0, 0, None
    months = iter([*closed, None])
    month = next(months)
    moved: set[str] = set()
    last_on = postings["booked_on"][-1].as_py()
    for batch in postings.to_batches(max_chunksize=65_536):
        for row in batch.to_pylist():
            while month is not None and row["booked_on"] >= next_month(month):
                assertions += _assert_balances(next_month(month), moved, accounts, out)
                moved, month = set(), next(months)
            if entry != (entry := (row["year"], row["number"])):
                entries += 1
                out.write(f"\n{row['booked_on']} * {_text(row['document_kind'] + ' ' + row['document_id'])}\n")
                out.write(f'  entry: "{row["year"]}/{row["number"]}"\n')
            moved |= _write_legs(row, accounts, out)
    assertions += _assert_balances(last_on + timedelta(days=1), set(accounts), accounts, out)
    return (
        ("accounts", len(accounts)),
        ("entries", entries),
        ("postings", postings.num_rows),
        ("balances", assertions),
    )


def _opened(postings: pa.Table) -> dict[str, _Account]:
    """Return the accounts with the day of their first posting; postings come in the order of that day."""
    accounts: dict[str, _Account] = {}
    for side in ("debit", "credit"):
        first = postings.group_by([f"{side}_kind", f"{side}_owner"]).aggregate([("booked_on", "min")])
        for row in first.to_pylist():
            name = account_name(row[f"{side}_kind"], row[f"{side}_owner"])
            known = accounts.setdefault(name, _Account(row["booked_on_min"]))
            known.opened_on = min(known.opened_on, row["booked_on_min"])
    return accounts


def _write_legs(row: dict[str, object], accounts: dict[str, _Account], out: TextIO) -> set[str]:
    """Write both sides of one posting and return their names. Four digits always: no tolerance hides a unit."""
    currency, _, scale = str(row["asset"]).partition("/")
    amount = from_minor(int(str(row["amount"])), int(scale)).quantize(Decimal(1).scaleb(-PARTNER_SCALE))
    names = set()
    for side, signed in (("debit", amount), ("credit", -amount)):
        name = account_name(str(row[f"{side}_kind"]), str(row[f"{side}_owner"]))
        balances = accounts[name].balances
        balances[currency] = balances.get(currency, Decimal(0)) + signed
        out.write(f"  {name}  {signed:f} {currency}\n    for: {row['effective_for']}\n")
        names.add(name)
    return names


def _assert_balances(on: date, names: set[str], accounts: dict[str, _Account], out: TextIO) -> int:
    """Write what accounts must come to before the day begins, to the last digit, and return how many that are."""
    count = 0
    out.write("\n")
    for name in sorted(names):
        for currency, amount in sorted(accounts[name].balances.items()):
            out.write(f"{on} balance {name}  {amount:.4f} ~ 0.0000 {currency}\n")
            count += 1
    return count


def _text(value: str) -> str:
    """Return a beancount string: quotes and backslashes escaped, everything else as it is but line ends."""
    cleaned = "".join(character if character.isprintable() else json.dumps(character)[1:-1] for character in value)
    return '"' + cleaned.replace("\\", "\\\\").replace('"', '\\"') + '"'


_POSTINGS = """
    SELECT j.year, j.number, p.booked_on, p.document_kind, p.document_id, p.effective_for, d.kind, d.owner, c.kind,
        c.owner, d.asset, p.amount
    FROM ledger.posting AS p
    JOIN ledger.journal_entry AS j ON j.entity = p.entity AND j.year = p.year AND j.number = p.number
    JOIN ledger.account AS d ON d.account_id = p.debit
    JOIN ledger.account AS c ON c.account_id = p.credit
    WHERE p.entity = %s
    ORDER BY p.booked_on, j.year, j.number, p.leg
"""
