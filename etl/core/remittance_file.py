"""A remittance file: CSV by a stated layout, read to whole remittances whose lines tie, and rejects with reasons."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import date
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

from etl.core.configuration import RemittanceLayout
from etl.core.errors import Stop
from etl.core.money import exponent
from etl.core.typed_csv import currency, read_text, text, whole

BYTES_MAX = 64 * 1024 * 1024
ROWS_MAX = 500_000
KINDS = ("commission", "vat", "withholding", "fee", "carry_forward", "adjustment", "set_off")
_NET_KINDS = ("commission", "adjustment")
_DATE_FORMS = {
    "yyyy-mm-dd": r"(?P<y>\d{4})-(?P<m>\d\d)-(?P<d>\d\d)",
    "yyyymmdd": r"(?P<y>\d{4})(?P<m>\d\d)(?P<d>\d\d)",
    "dd.mm.yyyy": r"(?P<d>\d\d)\.(?P<m>\d\d)\.(?P<y>\d{4})",
    "dd/mm/yyyy": r"(?P<d>\d\d)/(?P<m>\d\d)/(?P<y>\d{4})",
    "mm/dd/yyyy": r"(?P<m>\d\d)/(?P<d>\d\d)/(?P<y>\d{4})",
}

Value = str | int | Decimal | date | None


@dataclass(frozen=True, slots=True)
class Line:
    """A line: what part of the money it is, of which transaction or payment, if it says."""

    kind: str
    transaction_id: str | None
    line_id: str | None
    payment_ref: str | None
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Remittance:
    """A remittance that ties: its head as in the canonical table, and its lines in order."""

    partner_account: str
    remittance_id: str
    revision: int
    invoice_ref: str | None
    invoiced_on: date | None
    due_on: date | None
    received_on: date | None
    currency: str
    net: Decimal
    vat: Decimal
    withholding: Decimal
    gross: Decimal
    bank: str | None
    bank_amount: Decimal | None
    bank_currency: str | None
    period_from: date | None
    period_until: date | None
    lines: tuple[Line, ...]
    row_number: int

    @property
    def coverage(self) -> str:
        """Return `period` for a lump sum, else `lines`."""
        return "lines" if self.period_from is None else "period"

    @property
    def content_hash(self) -> str:
        """Return the sha256 of all it says; where it stood in a file is no part of that."""
        told = [str(value) for value in astuple(self)[:-2]]
        told += [str(value) for line in self.lines for value in astuple(line)]
        return hashlib.sha256(json.dumps(told, separators=(",", ":")).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Reject:
    """A row, or with its first row a whole remittance, that cannot be taken, and why."""

    row_number: int
    remittance_id: str | None
    column_name: str | None
    value: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class ReadFile:
    """What a file holds: remittances that tie, rejects, and how many rows it has."""

    remittances: tuple[Remittance, ...]
    rejects: tuple[Reject, ...]
    row_count: int


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    read: Callable[[str], Value]
    is_optional: bool = False


def read_remittances(path: Path, partner_account: str, layout: RemittanceLayout, today: date) -> ReadFile:
    """Return the remittances of a CSV file and the rejects; rows of one remittance_id and revision are one remittance.

    Every row has the head again and one line; a lump sum is a row with a period and without a line. A remittance with
    a wrong row is refused whole, as is one whose lines do not add up. Stop if the file is no CSV of that layout.
    """
    columns = _columns(layout)
    rejects: list[Reject] = []
    groups: dict[tuple[Value, ...], list[tuple[int, dict[str, Value]]]] = defaultdict(list)
    refused: set[tuple[Value, ...]] = set()
    row_count = 0
    for number, cells in _rows(path, columns, layout):
        row_count += 1
        row: dict[str, Value] = {}
        faults = list(_read_cells(number, cells, columns, row))
        account = row.get("partner_account") or partner_account
        if account != partner_account:
            faults.append(_reject(number, row, "partner_account", str(account), f"is not {partner_account}"))
        key: tuple[Value, ...] = (row.get("remittance_id"), row.get("revision") or 1)
        if faults:
            rejects += faults
            refused.add(key)
        groups[key].append((number, {**row, "partner_account": partner_account, "revision": key[1]}))
    found: list[Remittance] = []
    for key, rows in groups.items():
        if key in refused:
            if len(rows) > 1:
                why = "one of its rows is refused, so the whole remittance is"
                rejects.append(_reject(rows[0][0], rows[0][1], None, None, why))
            continue
        try:
            found.append(_remittance(rows, layout, today))
        except ValueError as error:
            rejects.append(_reject(rows[0][0], rows[0][1], None, None, str(error)))
    rejects.sort(key=lambda reject: (reject.row_number, reject.column_name or "", reject.reason))
    return ReadFile(tuple(found), tuple(rejects), row_count)


def _reject(number: int, row: Mapping[str, Value], column: str | None, value: str | None, reason: str) -> Reject:
    told = row.get("remittance_id")
    return Reject(number, None if told is None else str(told), column, None if value is None else value[:200], reason)


def _columns(layout: RemittanceLayout) -> tuple[_Column, ...]:
    amount = partial(_amount, layout.decimal)
    day = partial(_day, layout.date_format)
    kinds = {**{kind: kind for kind in KINDS}, **layout.line_kinds}
    return (
        _Column("partner_account", text, True),
        _Column("remittance_id", text),
        _Column("revision", whole(1, 1_000_000), True),
        _Column("invoice_ref", text, True),
        *(_Column(name, day, True) for name in ("invoiced_on", "due_on", "received_on")),
        _Column("currency", currency),
        *(_Column(name, amount) for name in ("net", "vat", "withholding", "gross")),
        _Column("bank", text, True),
        _Column("bank_amount", amount, True),
        _Column("bank_currency", currency, True),
        _Column("period_from", day, True),
        _Column("period_until", day, True),
        _Column("line_kind", partial(_kind, kinds), True),
        _Column("transaction_id", text, True),
        _Column("line_id", text, True),
        _Column("payment_ref", text, True),
        _Column("line_amount", amount, True),
    )


def _amount(mark: str, value: str) -> Decimal:
    form = rf"(-?)(0|[1-9][0-9]*)(?:{re.escape(mark)}([0-9]+))?"
    found = re.fullmatch(form, value, re.ASCII) if len(value) <= 64 else None
    if found is None or len(found[2]) > 14 or len(found[3] or "") > 4:
        raise ValueError(f"must be an amount such as 1234{mark}56: at most 14 digits before and 4 after the {mark!r}")
    # Four digits always, so that 1.5 and 1.50 are one amount in the content hash; zero has no sign.
    read = Decimal(f"{found[1]}{found[2]}.{found[3] or '0'}").quantize(Decimal("0.0001"))
    return abs(read) if read == 0 else read


def _day(form: str, value: str) -> date:
    found = re.fullmatch(_DATE_FORMS[form], value, re.ASCII)
    try:
        if found is not None:
            return date(int(found["y"]), int(found["m"]), int(found["d"]))
    except ValueError:
        pass
    raise ValueError(f"must be a day that exists, written {form}")


def _kind(kinds: Mapping[str, str], value: str) -> str:
    if value not in kinds:
        raise ValueError(f"must be one of {', '.join(kinds)}")
    return kinds[value]


def _rows(
    path: Path, columns: Sequence[_Column], layout: RemittanceLayout
) -> Iterator[tuple[int, Mapping[str, str] | str]]:
    """Yield the number and cells by our names of every row (the header is row 0), or what is wrong with its form."""
    content = read_text(path, BYTES_MAX)
    reader = csv.reader(io.StringIO(content, newline=""), strict=True, delimiter=layout.delimiter)
    try:
        header = next(reader, [])
        places = _places(path, header, columns, layout)
        number = 0
        for cells in reader:
            if not cells:
                continue
            number += 1
            if number > ROWS_MAX:
                raise Stop(f"{path}: more than {ROWS_MAX} rows: split it into several files")
            if len(cells) != len(header):
                yield number, f"has {len(cells)} values for {len(header)} columns"
                continue
            yield number, {**layout.fixed, **{name: cells[place] for name, place in places.items()}}
    except csv.Error as error:
        raise Stop(f"{path}: line {reader.line_num}: {error}: check its quotes and delimiter") from error


def _places(path: Path, header: Sequence[str], columns: Sequence[_Column], layout: RemittanceLayout) -> dict[str, int]:
    """Return where each of our columns stands; Stop if one that is needed, or that the layout names, does not."""
    places, missing = {}, []
    for column in columns:
        theirs = layout.columns.get(column.name, column.name)
        if header.count(theirs) > 1:
            raise Stop(f"{path}: line 1: the column {theirs!r} stands there twice: leave one of them")
        if theirs in header:
            places[column.name] = header.index(theirs)
        elif column.name not in layout.fixed and (not column.is_optional or column.name in layout.columns):
            missing.append(f"{theirs!r}" + (f" (for {column.name})" if theirs != column.name else ""))
    if missing:
        raise Stop(
            f"{path}: line 1: there is no column {', '.join(missing)}: say in the layout which column it is, or what"
            " is fixed (docs/remittances.md)"
        )
    return places


def _read_cells(
    number: int, cells: Mapping[str, str] | str, columns: Sequence[_Column], row: dict[str, Value]
) -> Iterator[Reject]:
    """Read the cells into `row`; yield what is wrong with each."""
    if isinstance(cells, str):
        yield Reject(number, None, None, None, cells)
        return
    for column in columns:
        value = cells.get(column.name, "")
        if value == "":
            row[column.name] = None
            if not column.is_optional:
                yield _reject(number, row, column.name, "", "is empty and must not be")
            continue
        try:
            row[column.name] = column.read(value)
        except ValueError as error:
            row[column.name] = None
            yield _reject(number, row, column.name, value, str(error))


_HEAD = tuple(name for name in Remittance.__slots__ if name not in ("lines", "row_number"))


def _remittance(rows: Sequence[tuple[int, dict[str, Value]]], layout: RemittanceLayout, today: date) -> Remittance:
    """Return the remittance of these rows; ValueError with the reason if it does not hold together."""
    number, head = rows[0]
    for other, row in rows[1:]:
        if differing := [name for name in _HEAD if row[name] != head[name]]:
            name = differing[0]
            raise ValueError(f"{name} is {head[name]} in row {number} and {row[name]} in row {other}: it must be one")
    lines = [_line(at, row, layout) for at, row in rows if row["line_kind"] is not None]
    if stray := [at for at, row in rows if row["line_kind"] is None and row["line_amount"] is not None]:
        raise ValueError(f"row {stray[0]} has a line_amount and no line_kind")
    if len(lines) < len(rows) and len(rows) > 1:
        raise ValueError("a row without a line stands alone: it is a lump sum")
    is_lump = not lines
    if is_lump:
        if head["period_from"] is None:
            raise ValueError("says neither lines nor a period: what does it pay?")
        lines = list(_lump_lines(head))
    # Each is of its field's type: the reader of its column made it.
    fields: dict[str, Any] = {name: head[name] for name in _HEAD}
    made = Remittance(**fields, lines=tuple(lines), row_number=number)
    _require_whole(made, today)
    _require_tie(made)
    return made


def _line(number: int, row: Mapping[str, Value], layout: RemittanceLayout) -> Line:
    kind, amount = str(row["line_kind"]), row["line_amount"]
    transaction_id, line_id, payment_ref = (
        None if row[name] is None else str(row[name]) for name in ("transaction_id", "line_id", "payment_ref")
    )
    if not isinstance(amount, Decimal):
        raise ValueError(f"row {number} has a line_kind and no line_amount")
    if line_id is not None and transaction_id is None:
        raise ValueError(f"row {number} names a line_id without its transaction_id")
    if payment_ref is not None and transaction_id is not None:
        raise ValueError(f"row {number} names a transaction_id and a payment_ref: which of them does it pay?")
    if kind not in _NET_KINDS and (transaction_id or payment_ref):
        raise ValueError(f"row {number}: a line of kind {kind} pays no transaction")
    return Line(
        kind, transaction_id, line_id, payment_ref, -amount if kind in layout.negated_kinds and amount else amount
    )


def _lump_lines(head: Mapping[str, Value]) -> Iterator[Line]:
    for kind, name, sign in (("commission", "net", 1), ("vat", "vat", 1), ("withholding", "withholding", -1)):
        amount = head[name]
        assert isinstance(amount, Decimal)
        if amount:
            yield Line(kind, None, None, None, sign * amount)


def _require_whole(made: Remittance, today: date) -> None:
    bank = {"bank": made.bank, "bank_amount": made.bank_amount, "bank_currency": made.bank_currency}
    absent = [name for name, value in bank.items() if value is None]
    if made.received_on is None and len(absent) < len(bank):
        raise ValueError("names what the bank received and no received_on: when was it there?")
    if made.received_on is not None and absent:
        raise ValueError(f"is received on {made.received_on} and has no {' and no '.join(absent)}")
    if made.received_on is not None and made.received_on > today:
        raise ValueError(f"received_on {made.received_on} has not come yet: load it when the money is there")
    if made.bank_amount is not None and made.bank_currency is not None:
        digits = exponent(made.bank_currency)
        if made.bank_amount != made.bank_amount.quantize(Decimal(1).scaleb(-digits)):
            raise ValueError(f"bank_amount {made.bank_amount} has more than {digits} digits: {made.bank_currency}")
        if made.bank_amount < 0:
            raise ValueError(f"bank_amount {made.bank_amount} is below zero: a remittance is money received")
    if (made.period_from is None) != (made.period_until is None):
        raise ValueError("a period has both period_from and period_until, the day after its last")
    if made.period_from is not None and made.period_until is not None and made.period_until <= made.period_from:
        raise ValueError(f"period_until {made.period_until} is not after period_from {made.period_from}")
    if made.period_from is not None and any(line.transaction_id or line.payment_ref for line in made.lines):
        raise ValueError("has a period and lines that name what they pay: it is one or the other")


def _require_tie(made: Remittance) -> None:
    """Refuse what does not add up, naming the difference."""
    sums = {
        "net": sum((line.amount for line in made.lines if line.kind in _NET_KINDS), Decimal(0)),
        "vat": sum((line.amount for line in made.lines if line.kind == "vat"), Decimal(0)),
        "withholding": -sum((line.amount for line in made.lines if line.kind == "withholding"), Decimal(0)),
    }
    for name, found in sums.items():
        told = getattr(made, name)
        if found != told:
            raise ValueError(f"its lines add up to {found} of {name}, its head says {told}: {told - found} differ")
    if made.gross != made.net + made.vat:
        differing = made.gross - made.net - made.vat
        raise ValueError(f"gross {made.gross} is not net {made.net} and vat {made.vat}: {differing} differ")
