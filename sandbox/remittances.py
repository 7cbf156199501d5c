"""What partners pay, as their statements tell it: written from the world's rows alone, some wrong on purpose.

Awin pays twice a month and puts the number of the payment on its rows. TradeTracker pays in the middle of a month
what it accepted before it, line by line and with VAT; its first statement is below its threshold and carried forward,
and of the next one sale is paid short and one too much. Rakuten sends a lump sum for a month, without a line.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

from sandbox.instants import books_day, midnight
from sandbox.model import ACCOUNTS, AWIN, RAKUTEN, TRADETRACKER, Row, World

FOLDER = "remittances"
VAT = Decimal("0.21")
BANK = "house_bank"
COLUMNS = (
    "remittance_id", "invoice_ref", "invoiced_on", "due_on", "received_on", "currency", "net", "vat", "withholding",
    "gross", "bank", "bank_amount", "bank_currency", "period_from", "period_until", "line_kind", "transaction_id",
    "payment_ref", "line_amount",
)  # fmt: skip
TRUTH = ("partner_account", "remittance_id", "received_on", "currency", "transaction_id", "paid", "is_as_reported")
_MONTHS_AFTER = 4
_PAY_DAYS = timedelta(days=14)
_CENT = Decimal("0.01")
_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a statement."""

    kind: str
    amount: Decimal
    transaction_id: str = ""
    payment_ref: str = ""


@dataclass(frozen=True, slots=True)
class Statement:
    """What a partner tells of one payment. `pays` is what is true of it: transaction, amount, whether as reported."""

    account: str
    remittance_id: str
    invoiced_on: date
    received_on: date
    currency: str
    lines: tuple[Line, ...]
    pays: tuple[tuple[str, Decimal, bool], ...]
    period: tuple[date, date] | None = None

    def rows(self) -> Iterator[dict[str, str]]:
        """Yield the rows of its file."""
        net = sum((line.amount for line in self.lines if line.kind == "commission"), _ZERO)
        vat = sum((line.amount for line in self.lines if line.kind == "vat"), _ZERO)
        told = sum((line.amount for line in self.lines), _ZERO)
        head = {
            "remittance_id": self.remittance_id,
            "invoice_ref": f"INV-{self.remittance_id}",
            "invoiced_on": self.invoiced_on.isoformat(),
            "due_on": (self.invoiced_on + timedelta(days=10)).isoformat(),
            "received_on": self.received_on.isoformat(),
            "currency": self.currency,
            "net": str(net),
            "vat": str(vat),
            "withholding": "0",
            "gross": str(net + vat),
            "bank": BANK,
            "bank_amount": str(told.quantize(_CENT, ROUND_HALF_UP)),
            "bank_currency": self.currency,
            "period_from": self.period[0].isoformat() if self.period else "",
            "period_until": self.period[1].isoformat() if self.period else "",
        }
        empty = {"line_kind": "", "transaction_id": "", "payment_ref": "", "line_amount": ""}
        if self.period is not None:
            yield {**head, **empty}
            return
        for line in self.lines:
            named = {"transaction_id": line.transaction_id, "payment_ref": line.payment_ref}
            yield {**head, "line_kind": line.kind, **named, "line_amount": str(line.amount)}


def statements(world: World) -> list[Statement]:
    """Return all statements of a world, until some months after its last order, in the order they come."""
    made = [*_awin(world), *_tradetracker(world), *_rakuten(world)]
    return sorted(made, key=lambda one: (one.received_on, one.account, one.remittance_id))


def write(world: World, directory: Path) -> None:
    """Write every statement under `remittances/<day>/<account>/`, and the truth beside them."""
    truth = io.StringIO()
    table = csv.writer(truth, lineterminator="\n")
    table.writerow(TRUTH)
    (directory / FOLDER).mkdir()
    for one in statements(world):
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(one.rows())
        place = directory / FOLDER / one.received_on.isoformat() / one.account / f"{one.remittance_id}.csv"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text.getvalue(), encoding="utf-8", newline="")
        for transaction, amount, as_reported in one.pays:
            facts = (one.account, one.remittance_id, one.received_on.isoformat(), one.currency, transaction)
            table.writerow([*facts, str(amount), "yes" if as_reported else "no"])
    (directory / "truth_remittance.csv").write_text(truth.getvalue(), encoding="utf-8", newline="")


def _awin(world: World) -> Iterator[Statement]:
    paid: dict[tuple[int, str, datetime], list[tuple[str, Decimal]]] = defaultdict(list)
    for row in world.rows:
        first = next((state for state in row.states if state.payment_number is not None), None)
        if row.partner == AWIN and first is not None and first.payment_number is not None:
            key = (first.payment_number, first.currency, midnight(books_day(first.at)))
            paid[key].append((row.transaction_id, _ZERO if first.status == "declined" else first.commission_amount))
    for (number, currency, at), rows in sorted(paid.items()):
        whole = sum((amount for _, amount in rows), _ZERO)
        if whole > 0:
            yield Statement(
                ACCOUNTS[AWIN],
                f"{number}-{currency}",
                at.date(),
                at.date(),
                currency,
                (Line("commission", whole, payment_ref=str(number)),),
                tuple((transaction, amount, True) for transaction, amount in sorted(rows)),
            )


def _tradetracker(world: World) -> Iterator[Statement]:
    told: set[str] = set()
    held: dict[str, Decimal] = {}
    place: dict[str, int] = defaultdict(int)
    for first in _months(world):
        due: dict[str, list[tuple[str, Decimal]]] = defaultdict(list)
        for row in world.rows:
            state = row.state_at(midnight(first))
            if row.partner != TRADETRACKER or state is None or state.status != "approved" or state.is_vanished:
                continue
            if row.transaction_id not in told and state.commission_amount > 0:
                due[state.currency].append((row.transaction_id, state.commission_amount))
                told.add(row.transaction_id)
        for currency, rows in sorted(due.items()):
            place[currency] += 1
            yield _statement(first, currency, sorted(rows), place[currency], held)


def _statement(
    first: date, currency: str, rows: list[tuple[str, Decimal]], number: int, held: dict[str, Decimal]
) -> Statement:
    lines, pays = [], []
    for place, (transaction, amount) in enumerate(rows):
        off = _ZERO
        if number == 2 and place < 2:
            # Of the second statement the first sale is paid by half, the second one unit too much.
            off = Decimal(1) if place else -(amount * Decimal("0.5")).quantize(_CENT, ROUND_HALF_UP)
        lines.append(Line("commission", amount + off, transaction))
        pays.append((transaction, amount + off, off == 0))
    net = sum((line.amount for line in lines), _ZERO)
    if number == 1:
        held[currency] = net
        lines.append(Line("carry_forward", -net))
    else:
        lines.append(Line("vat", (net * VAT).quantize(_CENT, ROUND_HALF_UP)))
        if back := held.pop(currency, _ZERO):
            lines.append(Line("carry_forward", back))
    name = f"TT-{first:%Y%m}-{currency}"
    return Statement(ACCOUNTS[TRADETRACKER], name, first, first + _PAY_DAYS, currency, tuple(lines), tuple(pays))


def _rakuten(world: World) -> Iterator[Statement]:
    validation = {program.program_id: program.validation_days for program in world.programs}
    months = list(_months(world))
    told: set[str] = set()
    for before, first in zip([date.min, *months], months, strict=False):
        due: dict[str, list[tuple[str, Decimal]]] = defaultdict(list)
        for row in world.rows:
            if row.partner == RAKUTEN and row.transaction_id not in told and _approved_on(row, validation) < first:
                told.add(row.transaction_id)
                due[row.states[0].currency].append((row.transaction_id, row.states[0].commission_amount))
        for currency, rows in sorted(due.items()):
            whole = sum((amount for _, amount in rows), _ZERO)
            if whole > 0:
                yield Statement(
                    ACCOUNTS[RAKUTEN],
                    f"RK-{first:%Y%m}-{currency}",
                    first,
                    first + _PAY_DAYS,
                    currency,
                    (Line("commission", whole),),
                    tuple((transaction, amount, True) for transaction, amount in sorted(rows)),
                    (max(before, world.from_on.replace(day=1)), first),
                )


def _approved_on(row: Row, validation: dict[str, int]) -> date:
    """Return when a line that nobody approves counts: its validation days over, or reported after that."""
    over = books_day(row.occurred_at) + timedelta(days=validation[row.program_id])
    return max(over, books_day(row.processed_at))


def _months(world: World) -> Iterator[date]:
    """Yield the first day of each month after the first order, and of some after the last."""
    month, last = world.from_on.replace(day=1), world.until_on
    for _ in range(_MONTHS_AFTER + 12 * (last.year - month.year) + last.month - month.month):
        month = (month + timedelta(days=32)).replace(day=1)
        yield month
