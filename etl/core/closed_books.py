"""The books of a month as figures to sign and to compare with later: trial balance, roll-forward, balances, chain."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import psycopg
import pyarrow as pa

from etl.core.engine import query_text
from etl.core.period import PeriodState, next_month, period_states
from etl.core.schemas import TEXT
from etl.core.warehouse import Connection, fetch

TRIAL_BALANCE = pa.schema(
    [
        ("kind", TEXT),
        ("asset", TEXT),
        ("opening_minor", pa.int64()),
        ("debit_minor", pa.int64()),
        ("credit_minor", pa.int64()),
        ("closing_minor", pa.int64()),
        ("closing_base", pa.decimal128(20, 4)),
        ("without_base_count", pa.int64()),
    ]
)
ROLL_FORWARD = pa.schema([("kind", TEXT), ("asset", TEXT), ("document_kind", TEXT), ("amount_minor", pa.int64())])
_ACCOUNT_BALANCE = pa.schema([("account_count", pa.int64()), ("sha256", TEXT)])
_INPUT = pa.schema([("line", TEXT)])
_CHAIN = pa.schema([("year", pa.int32()), ("number", pa.int64()), ("hash", TEXT)])
_RECORD = pa.schema([("starts_on", pa.date32()), ("record", TEXT), ("hash", TEXT)])


@dataclass(frozen=True, slots=True)
class MonthBooks:
    """The books of one month: tables of schema TRIAL_BALANCE and ROLL_FORWARD, and a hash over all single accounts."""

    trial_balance: pa.Table
    roll_forward: pa.Table
    account_count: int
    accounts_sha256: str

    def as_record(self) -> dict[str, object]:
        """Return what a closing record keeps of them, as plain values for JSON."""
        return {
            "trial_balance": [_plain(row) for row in self.trial_balance.to_pylist()],
            "roll_forward": [_plain(row) for row in self.roll_forward.to_pylist()],
            "account_count": self.account_count,
            "accounts_sha256": self.accounts_sha256,
        }


def read_month(connection: Connection, entity: str, base_currency: str, starts_on: date) -> MonthBooks:
    """Return the books of the month that starts on `starts_on`, by booked_on, balances carried from all before."""
    parameters: dict[str, str | date] = {
        "entity": entity,
        "base_currency": base_currency,
        "from_on": starts_on,
        "until_on": next_month(starts_on),
    }
    accounts = _query(connection, "ledger/account_balance", parameters, _ACCOUNT_BALANCE).to_pylist()[0]
    return MonthBooks(
        trial_balance=_query(connection, "ledger/trial_balance", parameters, TRIAL_BALANCE),
        roll_forward=_query(connection, "ledger/period_roll_forward", parameters, ROLL_FORWARD),
        account_count=accounts["account_count"],
        accounts_sha256=accounts["sha256"],
    )


def read_inputs(connection: Connection, entity: str) -> list[str]:
    """Return one line for each input of the books, in order."""
    lines = _query(connection, "ledger/closing_input", {"entity": entity}, _INPUT)["line"].to_pylist()
    return [str(line) for line in lines]


def read_chain(connection: Connection, entity: str) -> pa.Table:
    """Return the last journal entry of every year, with its hash."""
    query = """
        SELECT DISTINCT ON (year) year, number, hash FROM ledger.journal_entry WHERE entity = %s
        ORDER BY year, number DESC
    """
    return fetch(connection, query, _CHAIN, (entity,))


def record_text(record: Mapping[str, object]) -> str:
    """Return the one text of a closing record: its hash is the sha256 of exactly these bytes in UTF-8."""
    return json.dumps(record, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def closed_month_faults(connection: Connection, entity: str) -> tuple[int, list[str]]:
    """Return how many months are closed, and a sentence for each that is not as its closing record says."""
    closed = [month for month, state in period_states(connection, entity).items() if state is PeriodState.CLOSED]
    query = "SELECT starts_on, record, hash FROM ledger.period_event WHERE entity = %s AND state = 'closed'"
    records = {row["starts_on"]: row for row in fetch(connection, query, _RECORD, (entity,)).to_pylist()}
    faults = []
    for starts_on in closed:
        row = records.pop(starts_on, None)
        if row is None:
            faults.append(f"{starts_on:%Y-%m} is closed and has no closing record")
        else:
            faults += _record_faults(connection, entity, starts_on, row["record"], row["hash"])
    faults += [f"{starts_on:%Y-%m} has a closing record and is not closed" for starts_on in records]
    return len(closed), faults


def _record_faults(connection: Connection, entity: str, starts_on: date, text: str, stored_hash: str) -> list[str]:
    faults = []
    record = json.loads(text)
    if hashlib.sha256(text.encode()).hexdigest() != stored_hash:
        faults.append(f"{starts_on:%Y-%m}: the closing record was changed")
    now = read_month(connection, entity, record["base_currency"], starts_on).as_record()
    for part in ("trial_balance", "roll_forward", "accounts_sha256"):
        if now[part] != record[part]:
            faults.append(f"{starts_on:%Y-%m}: its {part} is not what was closed")
    for link in record["chain"]:
        row = connection.execute(
            "SELECT hash FROM ledger.journal_entry WHERE entity = %s AND year = %s AND number = %s",
            (entity, link["year"], link["number"]),
        ).fetchone()
        if row is None or row[0] != link["hash"]:
            faults.append(f"{starts_on:%Y-%m}: entry {link['year']}/{link['number']} is not the one that was last then")
    return faults


def _query(connection: Connection, name: str, parameters: Mapping[str, str | date], schema: pa.Schema) -> pa.Table:
    return fetch(connection, psycopg.ClientCursor(connection).mogrify(query_text(name), dict(parameters)), schema)


def _plain(row: Mapping[str, object]) -> dict[str, object]:
    """Return a row whose decimals are text: a JSON number would pass through a float in other people's programs."""
    return {name: value if isinstance(value, int | str) else str(value) for name, value in row.items()}
