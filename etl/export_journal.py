"""Export the journal of a month for the general ledger: CSV and a manifest, the same bytes whenever it is asked for."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path

import psycopg
import pyarrow as pa

from etl.core.context import Context, StageResult
from etl.core.engine import query_text
from etl.core.errors import Stop
from etl.core.gl_map import GlAccount, as_text, from_text, kinds_in_use, load_gl_map, read_gl_map, require_whole
from etl.core.ledger import lock_books
from etl.core.period import PeriodState, next_month, period_states, require_month
from etl.core.safe_csv import Cell, csv_bytes
from etl.core.schemas import TEXT
from etl.core.warehouse import Connection, fetch

HEADER = (
    "document_number line_no booked_on gl_account currency debit credit base_currency base_debit base_credit kinds"
    " first_entry last_entry"
).split()
_AMOUNT = pa.decimal128(24, 4)
_LINE = pa.schema(
    [
        ("booked_on", pa.date32()),
        ("currency", TEXT),
        ("gl_account", TEXT),
        ("is_base_known", pa.bool_()),
        ("debit", _AMOUNT),
        ("credit", _AMOUNT),
        ("base_debit", _AMOUNT),
        ("base_credit", _AMOUNT),
        ("kinds", TEXT),
        ("first_entry", pa.int64()),
        ("last_entry", pa.int64()),
    ]
)


@dataclass(frozen=True, slots=True)
class _Stored:
    """What was exported of a closed month the first time."""

    sha256: str
    gl_map: tuple[GlAccount, ...]


def load_map(context: Context, path: Path) -> StageResult:
    """Make a CSV (kind, gl_account, statement) the map to the general ledger; Stop with every fault."""
    with context.warehouse.transaction() as connection:
        changed = load_gl_map(connection, context.entity.name, path)
    return StageResult("reference", path.name, (("changed", changed),), "general ledger map")


def export_journal(context: Context, starts_on: date, out: Path, *, is_draft: bool = False) -> StageResult:
    """Write `journal-<entity>-<YYYY-MM>.csv` and its manifest into the folder `out`, and return what they hold.

    One document for each day and currency, balanced in itself. The first export of a closed month keeps its sha256 and
    the map it was made with; later ones use that map and must come out the same. Stop if the month is not closed and
    `is_draft` is not said, if a kind of account in use is not mapped, or if the bytes came out differently.
    """
    entity = context.entity.name
    with context.warehouse.transaction() as connection:
        lock_books(connection, entity)
        state = period_states(connection, entity).get(require_month(starts_on), PeriodState.OPEN)
        if state is not PeriodState.CLOSED and not is_draft:
            raise Stop(f"{starts_on:%Y-%m} is {state} and may still change: close it first, or ask for a --draft")
        stored = _stored(connection, entity, starts_on) if state is PeriodState.CLOSED else None
        gl_map = stored.gl_map if stored else read_gl_map(connection, entity)
        require_whole(
            gl_map, _kinds_booked(connection, entity, starts_on) if stored else kinds_in_use(connection, entity)
        )
        lines = _lines(connection, context, starts_on, gl_map)
        content = csv_bytes(HEADER, _rows(context, lines))
        digest = hashlib.sha256(content).hexdigest()
        if stored is not None and stored.sha256 != digest:
            raise Stop(
                f"the journal of {starts_on:%Y-%m} was exported with sha256 {stored.sha256} and would be {digest} now:"
                " run `tallyback verify`, and report this as a defect"
            )
        if state is PeriodState.CLOSED and stored is None:
            connection.execute(
                "INSERT INTO ops.journal_export VALUES (%s, %s, %s, %s, %s, %s, %s)",
                (entity, starts_on, digest, as_text(gl_map), context.known_at, context.actor, context.run_id),
            )
        manifest = _manifest(context, starts_on, state, lines, gl_map, digest)
    name = f"journal-{re.sub(r'[^A-Za-z0-9_-]+', '-', entity)}-{starts_on:%Y-%m}"
    name += "" if state is PeriodState.CLOSED else ".draft"
    out.mkdir(parents=True, exist_ok=True)
    manifest["file"] = f"{name}.csv"
    _replace(out / f"{name}.csv", content)
    _replace(out / f"{name}.manifest.json", (json.dumps(manifest, indent=2, sort_keys=True) + "\n").encode())
    counts = (("lines", lines.num_rows), ("documents", len(_documents(lines))))
    return StageResult("export", f"{entity}/{starts_on:%Y-%m}", counts, f"{out / name}.csv, sha256 {digest}")


def _stored(connection: Connection, entity: str, starts_on: date) -> _Stored | None:
    row = connection.execute(
        "SELECT sha256, gl_map FROM ops.journal_export WHERE entity = %s AND starts_on = %s", (entity, starts_on)
    ).fetchone()
    return None if row is None else _Stored(str(row[0]), from_text(str(row[1])))


def _kinds_booked(connection: Connection, entity: str, starts_on: date) -> list[str]:
    """Return the kinds of account that postings of the month touch: later ones need no place in an old map."""
    query = """
        SELECT DISTINCT a.kind
        FROM ledger.posting AS p
        JOIN ledger.account AS a ON a.account_id IN (p.debit, p.credit)
        WHERE p.entity = %s AND p.booked_on >= %s AND p.booked_on < %s
        ORDER BY a.kind
    """
    return [str(row[0]) for row in connection.execute(query, (entity, starts_on, next_month(starts_on))).fetchall()]


def _lines(connection: Connection, context: Context, starts_on: date, gl_map: Sequence[GlAccount]) -> pa.Table:
    parameters = {
        "entity": context.entity.name,
        "base_currency": context.entity.base_currency,
        "from_on": starts_on,
        "until_on": next_month(starts_on),
        "kinds": [each.kind for each in gl_map],
        "gl_accounts": [each.gl_account for each in gl_map],
        "statements": [str(each.statement) for each in gl_map],
    }
    text = psycopg.ClientCursor(connection).mogrify(query_text("ledger/gl_journal"), parameters)
    return fetch(connection, text, _LINE)


def _documents(lines: pa.Table) -> dict[tuple[date, str], int]:
    """Return each document (day and currency) with its number of lines."""
    counted: dict[tuple[date, str], int] = {}
    for on, currency in zip(lines["booked_on"].to_pylist(), lines["currency"].to_pylist(), strict=True):
        counted[on, currency] = counted.get((on, currency), 0) + 1
    return counted


def _rows(context: Context, lines: pa.Table) -> Iterator[list[Cell]]:
    """Yield the lines; documents are numbered by day and currency, which no other posting can change."""
    last, line_no = None, 0
    for row in lines.to_pylist():
        document = f"{context.entity.name}-{row['booked_on']:%Y%m%d}-{row['currency']}"
        line_no = line_no + 1 if document == last else 1
        last = document
        row |= {"document_number": document, "line_no": line_no, "base_currency": context.entity.base_currency}
        yield [row[name] for name in HEADER]


def _manifest(
    context: Context, starts_on: date, state: PeriodState, lines: pa.Table, gl_map: Sequence[GlAccount], digest: str
) -> dict[str, object]:
    """Return what the manifest says; nothing of it depends on when or by whom it was asked for."""
    totals: dict[str, dict[str, Decimal]] = {}
    for row in lines.to_pylist():
        total = totals.setdefault(row["currency"], dict.fromkeys(_TOTALS, Decimal(0)))
        for name in _TOTALS:
            total[name] += row[name] or 0
    for currency, total in totals.items():
        if total["debit"] != total["credit"] or total["base_debit"] != total["base_credit"]:
            raise Stop(f"the journal does not balance in {currency}: nothing was written, report this as a defect")
    return {
        "entity": context.entity.name,
        "period": f"{starts_on:%Y-%m}",
        "state": str(state),
        "base_currency": context.entity.base_currency,
        "sha256": digest,
        "line_count": lines.num_rows,
        "document_count": len(_documents(lines)),
        "line_count_without_base": lines["is_base_known"].to_pylist().count(False),
        "gl_map_sha256": hashlib.sha256(as_text(gl_map).encode()).hexdigest(),
        "totals": {
            currency: {name: str(amount) for name, amount in total.items()} for currency, total in totals.items()
        },
    }


_TOTALS = ("debit", "credit", "base_debit", "base_credit")


def _replace(path: Path, content: bytes) -> None:
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
