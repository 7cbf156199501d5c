"""Open: load what members and partners are owed when a site goes live, have a second person confirm it, and book it."""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
from psycopg.rows import class_row

from etl.core.approval import identity, require_person
from etl.core.context import Context, StageResult
from etl.core.engine import query_text
from etl.core.errors import Stop
from etl.core.kept import BREAK_FOUND, OPENING_BREAKS, KeptTable, keep
from etl.core.ledger import lock_books
from etl.core.money import PARTNER_SCALE, exponent
from etl.core.opening import KINDS, MEMBER_KINDS, PAYABLE, RECEIVABLE, opening_target
from etl.core.payouts import books_day
from etl.core.schemas import TEXT
from etl.core.target import post_difference, read_posted
from etl.core.typed_csv import Column, Line, currency, day, one_of, read_csv, signed, stop_with, text
from etl.core.warehouse import APPROVER, Connection, copy_in, fetch, lock

COLUMNS = (
    Column("kind", one_of(*KINDS)),
    Column("owner", text),
    Column("reference", text, True),
    Column("currency", currency),
    Column("amount", signed(14, PARTNER_SCALE)),
    Column("as_of", day),
)
LUMP = "opening:"
"""With the opening's name: what a remittance names to pay what is open at an account without a reference."""

_STORED = pa.schema(
    [
        ("opening_id", TEXT),
        ("revision", pa.int32()),
        ("line_no", pa.int32()),
        ("kind", TEXT),
        ("owner", TEXT),
        ("reference", TEXT),
        ("currency", TEXT),
        ("amount", pa.decimal128(18, 4)),
        ("as_of", pa.date32()),
    ]
)
_LISTED = pa.schema(
    [
        ("opening_id", TEXT),
        ("revision", pa.int32()),
        ("file_name", TEXT),
        ("row_count", pa.int64()),
        ("control", TEXT),
        ("loaded_by", TEXT),
        ("loaded_at", pa.timestamp("us")),
        ("approved_by", TEXT),
        ("approved_at", pa.timestamp("us")),
        ("is_in_force", pa.bool_()),
    ]
)
_BREAKS = KeptTable(
    "ops.break",
    ("partner_account", "transaction_id", "line_id", "kind"),
    BREAK_FOUND,
    "breaks",
    carried=True,
    scope=f"kind IN ({', '.join(repr(kind) for kind in OPENING_BREAKS)})",
)

Totals = Mapping[tuple[str, str], Decimal]
"""What a file must add up to, by kind and currency."""


@dataclass(frozen=True, slots=True)
class OpeningRow:
    """One line of the file: whose balance, of what kind, in what currency, and as of which day's end."""

    line_no: int
    kind: str
    owner: str
    reference: str
    currency: str
    amount: Decimal
    as_of: date

    @property
    def key(self) -> tuple[str, str, str, str]:
        return (self.kind, self.owner, self.reference, self.currency)


def load_opening(context: Context, path: Path, opening_id: str, revision: int, control: Totals) -> StageResult:
    """Store the opening of a file, whole or not at all, for another person to confirm; the same file again: nothing.

    Nothing acts before `approve_opening`. Stop naming every fault: a row that is not one, a balance told twice, totals
    that are not the control totals, an account whose cut-over is not told or told twice; if another content is known
    under the revision; or if the actor is no person.
    """
    person = require_person(context.actor)
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,62}", opening_id) or revision < 1:
        raise Stop(
            f"{opening_id!r} revision {revision}: a name has small letters, digits, - and _; revisions count from 1"
        )
    rows = [_row(line) for line in read_csv(path, COLUMNS)]
    today = books_day(context)
    faults = [fault for row in rows for fault in _row_faults(context, row, today)]
    stop_with(path, [*faults, *_repeated(rows), *_cut_over_faults(rows)])
    stop_with(path, _control_faults(rows, control))
    content_hash = _content_hash(rows)
    totals = {f"{kind}:{code}": str(amount) for (kind, code), amount in sorted(control.items())}
    stored = context.lake.put_file(path, "opening", ".csv")
    with context.warehouse.transaction(APPROVER) as connection:
        lock(connection, "openings")
        known = connection.execute(
            "SELECT content_hash FROM ops.opening WHERE opening_id = %s AND revision = %s", (opening_id, revision)
        ).fetchone()
        if known is not None and known[0] == content_hash:
            return _loaded(opening_id, revision, rows, is_new=False)
        if known is not None:
            raise Stop(
                f"revision {revision} of opening {opening_id} is known with another content: give the corrected file"
                f" --revision {_next_revision(connection, opening_id)}"
            )
        stop_with(path, _foreign_faults(connection, context, opening_id, rows))
        connection.execute(
            "INSERT INTO ops.opening (opening_id, revision, file_name, file_sha256, byte_count, object_path, row_count,"
            " control, content_hash, loaded_by, loaded_at, run_id)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            (
                opening_id, revision, path.name, stored.sha256, stored.byte_count, stored.path, len(rows),
                json.dumps(totals), content_hash, person, context.known_at, context.run_id,
            ),
        )  # fmt: skip
        head = {"opening_id": opening_id, "revision": revision}
        lines = [head | {name: getattr(row, name) for name in OpeningRow.__slots__} for row in rows]
        copy_in(connection, "ops.opening_line", pa.Table.from_pylist(lines, schema=_STORED))
    return _loaded(opening_id, revision, rows, is_new=True)


def approve_opening(context: Context, opening_id: str, revision: int, day: date) -> StageResult:
    """Confirm a revision of an opening as `context.actor`, and book it: from now on it counts, and no lower one.

    Stop if it is not known, or if the actor is no person or is who loaded it. Confirmed again, nothing changes.
    """
    person = require_person(context.actor)
    with context.warehouse.transaction(APPROVER) as connection:
        lock(connection, "openings")
        row = connection.execute(
            "SELECT o.loaded_by, a.approved_by FROM ops.opening AS o LEFT JOIN ops.opening_approval AS a"
            " USING (opening_id, revision) WHERE o.opening_id = %s AND o.revision = %s",
            (opening_id, revision),
        ).fetchone()
        if row is None:
            raise Stop(f"there is no revision {revision} of opening {opening_id}: `tallyback opening list` names them")
        if identity(str(row[0])) == identity(person):
            raise Stop(f"{person} loaded opening {opening_id}: another person must confirm it")
        if row[1] is None:
            _require_one_cut_over(connection, opening_id, revision)
            connection.execute(
                "INSERT INTO ops.opening_approval (opening_id, revision, approved_by, approved_at)"
                " VALUES (%s, %s, %s, %s)",
                (opening_id, revision, person, context.known_at),
            )
    return book_openings(context, day)


def book_openings(context: Context, day: date) -> StageResult:
    """Post target minus posted for all openings in force, and keep the breaks of sales they hold; again, nothing."""
    entity = context.entity.name
    with context.warehouse.transaction() as connection:
        lock_books(connection, entity)
        wanted = opening_target(connection, context.entity.base_currency)
        booked = read_posted(connection, entity, kind="opening")
        posted = post_difference(context, connection, "opening", wanted, booked)
        found = fetch(connection, query_text("opening/break"), BREAK_FOUND)
        keep(context, connection, _BREAKS, found, day)
    counts = (("opening_postings", posted.postings), ("changed_since_opening", found.num_rows))
    note = f"booked: {posted.documents:,} of the opened balances" if posted.postings else ""
    return StageResult("opening", entity, counts, note)


def list_openings(context: Context) -> pa.Table:
    """Return every revision of every opening: its file, its control totals, who loaded and who confirmed it."""
    query = """
        SELECT o.opening_id, o.revision, o.file_name, o.row_count, o.control, o.loaded_by, o.loaded_at, a.approved_by,
            a.approved_at, a.revision IS NOT NULL AND NOT EXISTS (
                SELECT 1 FROM ops.opening_approval AS h WHERE h.opening_id = o.opening_id AND h.revision > o.revision)
        FROM ops.opening AS o
        LEFT JOIN ops.opening_approval AS a USING (opening_id, revision)
        ORDER BY o.opening_id, o.revision
    """
    with context.warehouse.transaction() as connection:
        return fetch(connection, query, _LISTED)


def read_lines(context: Context, opening_id: str, revision: int | None) -> pa.Table:
    """Return the lines of a revision (the newest if None); Stop if there is none."""
    with context.warehouse.transaction() as connection:
        lines = fetch(connection, _LINES, _STORED, (opening_id, revision))
    if not lines.num_rows:
        raise Stop(f"there is no such revision of opening {opening_id!r}: `tallyback opening list` names them")
    return lines


def misread_openings(context: Context) -> list[tuple[str, str, str]]:
    """Return each opening (name, what is stored, what the landed file says) whose lines are not those of its file."""
    with context.warehouse.transaction() as connection:
        openings = connection.execute(
            "SELECT opening_id, revision, object_path, content_hash FROM ops.opening ORDER BY opening_id, revision"
        ).fetchall()
        stored = {
            (str(opening_id), revision): _content_hash(_stored_rows(connection, str(opening_id), int(str(revision))))
            for opening_id, revision, _, _ in openings
        }
    found = []
    for opening_id, revision, path, recorded in openings:
        with context.lake.borrowed(str(path)) as local:
            landed = _content_hash([_row(line) for line in read_csv(local, COLUMNS)])
        if not landed == recorded == stored[str(opening_id), revision]:
            found.append((f"{opening_id} revision {revision}", stored[str(opening_id), revision], landed))
    return found


def _content_hash(rows: Sequence[OpeningRow]) -> str:
    """Return the sha256 of what the rows say; their order, and where each stood in the file, is no part of that."""
    told = [[*row.key, str(row.amount.quantize(Decimal("0.0001"))), str(row.as_of)] for row in rows]
    return hashlib.sha256(json.dumps(sorted(told)).encode()).hexdigest()


def _stored_rows(connection: Connection, opening_id: str, revision: int) -> list[OpeningRow]:
    columns = ", ".join(OpeningRow.__dataclass_fields__)
    query = f"SELECT {columns} FROM ops.opening_line WHERE opening_id = %s AND revision = %s ORDER BY line_no"
    with connection.cursor(row_factory=class_row(OpeningRow)) as cursor:
        return cursor.execute(query, (opening_id, revision)).fetchall()


def _row(line: Line) -> OpeningRow:
    kind, owner, reference, code, amount, as_of = line.values
    assert isinstance(amount, Decimal) and isinstance(as_of, date)
    return OpeningRow(line.number, str(kind), str(owner), str(reference or ""), str(code), amount, as_of)


def _row_faults(context: Context, row: OpeningRow, today: date) -> list[str]:
    """Return what is wrong with a row by itself, its line, column and value named."""

    def fault(column: str, value: object, reason: str) -> str:
        return f"line {row.line_no}, column {column}: {str(value)!r} {reason}"

    found = []
    if row.as_of >= today:
        found.append(fault("as_of", row.as_of, f"is not over: it must be before {today}"))
    if row.kind == RECEIVABLE:
        if row.owner not in {account.name for account in context.configuration.accounts}:
            found.append(fault("owner", row.owner, "is no partner account of config/partners"))
        if row.reference.startswith(LUMP):
            found.append(fault("reference", row.reference, f"must not begin with {LUMP!r}: that names the lump itself"))
        if row.reference and not row.amount:
            found.append(fault("amount", row.amount, "of a transaction must not be zero: leave the row out"))
        return found
    if row.reference:
        found.append(fault("reference", row.reference, "must be empty: only what partners owe has one"))
    digits = exponent(row.currency)
    if row.amount != row.amount.quantize(Decimal(1).scaleb(-digits)):
        found.append(fault("amount", row.amount, f"has more than {digits} digits after the point: {row.currency}"))
    if not row.amount:
        found.append(fault("amount", row.amount, "must not be zero: leave the row out"))
    if row.amount < 0 and row.kind != PAYABLE:
        found.append(fault("amount", row.amount, "must not be below zero: only what is payable may be a debt"))
    return found


def _repeated(rows: Sequence[OpeningRow]) -> list[str]:
    first: dict[tuple[str, str, str, str], OpeningRow] = {}
    found = []
    for row in rows:
        if (before := first.setdefault(row.key, row)) is not row:
            found.append(f"line {row.line_no}: tells the balance of line {before.line_no} a second time")
    return found


def _cut_over_faults(rows: Sequence[OpeningRow]) -> list[str]:
    """Return a fault for each row whose account has another day elsewhere in the file: a cut-over is one day."""
    days: dict[str, OpeningRow] = {}
    found = []
    for row in rows:
        if row.kind == RECEIVABLE and (before := days.setdefault(row.owner, row)).as_of != row.as_of:
            found.append(
                f"line {row.line_no}, column as_of: '{row.as_of}' is not {before.as_of} as in line {before.line_no}:"
                f" sales of {row.owner} are counted from one day on"
            )
    return found


def _control_faults(rows: Sequence[OpeningRow], control: Totals) -> list[str]:
    """Return a fault for each kind and currency whose sum is not its control total, or that has none."""
    sums: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for row in rows:
        sums[row.kind, row.currency] += row.amount
    found = []
    for key in sorted({*sums, *control}):
        name = f"{key[0]}:{key[1]}"
        if key not in control:
            found.append(f"{name}: the rows sum to {sums[key]} and no control total is given: --control {name}=TOTAL")
        elif sums[key] != control[key]:
            found.append(
                f"{name}: the rows sum to {sums[key]}, the control total is {control[key]}:"
                f" {sums[key] - control[key]:+f} too {'much' if sums[key] > control[key] else 'little'}"
            )
    return found


def _foreign_faults(connection: Connection, context: Context, opening_id: str, rows: Sequence[OpeningRow]) -> list[str]:
    """Return what is wrong beside other openings: an account opened twice, balances of members without a cut-over."""
    others = {
        str(account): str(name)
        for account, name in connection.execute(
            "SELECT DISTINCT l.owner, l.opening_id FROM ops.opening_line AS l"
            " WHERE l.kind = %s AND l.opening_id <> %s AND l.revision ="
            " (SELECT max(o.revision) FROM ops.opening AS o WHERE o.opening_id = l.opening_id)",
            (RECEIVABLE, opening_id),
        ).fetchall()
    }
    told = {row.owner for row in rows if row.kind == RECEIVABLE}
    found = [
        f"account {account} is in opening {others[account]} already: correct that one with a higher revision"
        for account in sorted(told & others.keys())
    ]
    if any(row.kind in MEMBER_KINDS for row in rows):
        missing = {account.name for account in context.configuration.accounts} - told - others.keys()
        found += [
            f"account {account}: balances of members are opened, and nothing says from which day on its sales are"
            f" counted here: add a row {RECEIVABLE},{account} (0 if it owes nothing) with the day before in as_of"
            for account in sorted(missing)
        ]
    return found


def _require_one_cut_over(connection: Connection, opening_id: str, revision: int) -> None:
    """Stop if an account of this revision has its cut-over from another opening that is in force."""
    row = connection.execute(
        "SELECT l.owner, f.opening_id FROM ops.opening_line AS l JOIN ops.opening_in_force AS f"
        " ON f.kind = l.kind AND f.owner = l.owner AND f.opening_id <> l.opening_id"
        " WHERE l.opening_id = %s AND l.revision = %s AND l.kind = %s ORDER BY l.owner LIMIT 1",
        (opening_id, revision, RECEIVABLE),
    ).fetchone()
    if row is not None:
        raise Stop(f"account {row[0]} is in opening {row[1]} already: correct that one with a higher revision")


def _next_revision(connection: Connection, opening_id: str) -> int:
    query = "SELECT max(revision) FROM ops.opening WHERE opening_id = %s"
    row = connection.execute(query, (opening_id,)).fetchone()
    return int(str(row and row[0])) + 1


def _loaded(opening_id: str, revision: int, rows: Sequence[OpeningRow], *, is_new: bool) -> StageResult:
    members = len({row.owner for row in rows if row.kind in MEMBER_KINDS})
    accounts = len({row.owner for row in rows if row.kind == RECEIVABLE})
    counts = (("rows", len(rows)), ("members", members), ("accounts", accounts))
    step = (
        f"nothing is booked before another person runs `tallyback opening approve {opening_id} --revision {revision}`"
    )
    known = "" if is_new else "this file was loaded before; "
    return StageResult("opening", f"{opening_id} revision {revision}", counts, known + step)


_LINES = """
SELECT l.opening_id, l.revision, l.line_no, l.kind, l.owner, l.reference, l.currency, l.amount, l.as_of
FROM ops.opening_line AS l
WHERE l.opening_id = %s AND l.revision = coalesce(
    %s, (SELECT max(o.revision) FROM ops.opening AS o WHERE o.opening_id = l.opening_id))
ORDER BY l.line_no
"""
