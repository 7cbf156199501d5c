"""The rows a partner shows for a claim: one that changes (Awin, TradeTracker) or many that are signed (Rakuten)."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal

from sandbox import chance as chances
from sandbox.claims import Claim, published_at
from sandbox.model import AWIN, RAKUTEN, Event, Row, State, Step

_CENT = Decimal("0.01")
_MILL = Decimal("0.001")
_ZERO = Decimal(0)
_SKUS = ("MUG-204", "LAMP 7W", "ABC\\10", "CUSHION-ROUND", "TEE-M", "TEE-L", "BOOK-9781", "HDMI,2M")


@dataclass(slots=True)
class TransactionIds:
    """Hands out ids as each partner does: rising numbers, or 32 upper hex digits."""

    chance: random.Random
    next_awin: int = 700_000_100
    next_tradetracker: int = 41_000_100

    def next(self, partner: str) -> str:
        """Return a new id of a partner."""
        if partner == RAKUTEN:
            return self.chance.randbytes(16).hex().upper()
        step = self.chance.randint(1, 9)
        if partner == AWIN:
            self.next_awin += step
            return str(self.next_awin)
        self.next_tradetracker += step
        return str(self.next_tradetracker)


def rows_of(chance: random.Random, ids: TransactionIds, claim: Claim, sale_key: str) -> list[Row]:
    """Return the rows of a claim in the order they appear."""
    if claim.program.partner == RAKUTEN:
        return _signed(chance, ids, claim, sale_key)
    row = _row(ids, claim, sale_key, claim.row_kind)
    return [replace(row, states=_states(claim))]


def _row(ids: TransactionIds, claim: Claim, sale_key: str, row_kind: str) -> Row:
    return Row(
        partner=claim.program.partner,
        transaction_id=ids.next(claim.program.partner),
        sale_key=sale_key,
        row_kind=row_kind,
        program_id=claim.program.program_id,
        partner_program_id=claim.program.partner_program_id,
        order_ref=claim.order_ref,
        click_ref=claim.click_ref,
        ref_slot=claim.ref_slot,
        clicked_at=claim.clicked_at,
        occurred_at=claim.occurred_at,
        processed_at=claim.processed_at,
        sku=None,
        item_count=1,
        voucher_code=claim.voucher_code,
        states=(),
    )


def _commission(claim: Claim, amount: Decimal, step: Decimal) -> Decimal:
    if claim.bonus is not None:
        return claim.bonus
    return (claim.program.commission_rate * amount * claim.commission_factor).quantize(step, ROUND_HALF_UP)


def _states(claim: Claim) -> tuple[State, ...]:
    amount = claim.amount
    state = State(claim.reported_at, "pending", amount, _commission(claim, amount, _CENT), claim.currency)
    states = [state]
    for event in claim.events:
        state = _after(claim, state, event)
        states.append(state)
    return tuple(states)


def _after(claim: Claim, state: State, event: Event) -> State:
    match event.step:
        case Step.APPROVE:
            return replace(state, at=event.at, status="approved", validated_at=event.at)
        case Step.DECLINE:
            # The amounts stay on the row: declined means zero whatever they say.
            return replace(state, at=event.at, status="declined", reason=event.reason, validated_at=event.at)
        case Step.REINSTATE:
            return replace(state, at=event.at, status="pending", reason=None, validated_at=None)
        case Step.PAY:
            return replace(state, at=event.at, payment_number=9_000_000 + event.at.toordinal() % 1_000_000)
        case Step.VANISH:
            return replace(state, at=event.at, is_vanished=True)
        case Step.REDUCE:
            assert event.amount is not None
            return replace(
                state,
                at=event.at,
                sale_amount=event.amount,
                commission_amount=_commission(claim, event.amount, _CENT),
                old_sale_amount=state.sale_amount,
                old_commission_amount=state.commission_amount,
                amended_at=event.at,
            )


@dataclass(slots=True)
class _Line:
    """A line of an order at Rakuten and what still stands of it."""

    row: Row
    amount: Decimal
    commission: Decimal


def _signed(chance: random.Random, ids: TransactionIds, claim: Claim, sale_key: str) -> list[Row]:
    lines = _lines(chance, ids, claim, sale_key)
    rows = [line.row for line in lines]
    taken: list[tuple[_Line, Decimal, Decimal]] = []
    for event in claim.events:
        if event.step is Step.DECLINE:
            taken = [(line, line.amount, line.commission) for line in lines if line.amount or line.commission]
            rows += [_correction(ids, line, -amount, -commission, event.at) for line, amount, commission in taken]
        elif event.step is Step.REINSTATE:
            rows += [_correction(ids, line, amount, commission, event.at) for line, amount, commission in taken]
        elif event.step is Step.REDUCE and event.amount is not None:
            rows += _reduced(ids, claim, lines, event.amount, event.at)
    return rows


def _lines(chance: random.Random, ids: TransactionIds, claim: Claim, sale_key: str) -> list[_Line]:
    parts = _parts(chance, claim.amount, claim.line_count)
    discount = _ZERO
    if len(parts) > 1 and claim.amount > 20 and chance.random() < 0.25:
        # A discount is a line of its own; the other lines are dearer by as much, so the order stays what it was.
        discount = chances.cents(chance, 100, 500)
        parts[0] += discount
    lines = []
    for number, part in enumerate(parts):
        kind = claim.row_kind if number == 0 else "line"
        lines.append(_line(ids, claim, sale_key, kind, chance.choice(_SKUS), part, chance.randint(1, 3)))
    if discount:
        lines.append(_line(ids, claim, sale_key, "discount", "DISCOUNT-VOUCHER", -discount, 0))
    if len(parts) > 1 and chance.random() < 0.2:
        lines.append(_line(ids, claim, sale_key, "line", "FREE SAMPLE", _ZERO, 1))
    return lines


def _line(
    ids: TransactionIds, claim: Claim, sale_key: str, kind: str, sku: str, amount: Decimal, item_count: int
) -> _Line:
    commission = _commission(claim, amount, _MILL)
    state = State(claim.reported_at, None, amount, commission, claim.currency)
    row = replace(_row(ids, claim, sale_key, kind), sku=sku, item_count=item_count, states=(state,))
    return _Line(row, amount, commission)


def _parts(chance: random.Random, amount: Decimal, count: int) -> list[Decimal]:
    """Return an amount in so many parts of at least a cent each that add up to it."""
    total = int(amount.scaleb(2))
    if count == 1 or total < 100 * count:
        return [amount]
    cuts = sorted(chance.sample(range(1, total), count - 1))
    return [Decimal(high - low).scaleb(-2) for low, high in zip([0, *cuts], [*cuts, total], strict=True)]


def _reduced(ids: TransactionIds, claim: Claim, lines: list[_Line], remaining: Decimal, at: datetime) -> list[Row]:
    """Return the corrections that leave `remaining` of an order, taking from its largest lines first."""
    delta = sum((line.amount for line in lines), _ZERO) - remaining
    rows = []
    for line in sorted(lines, key=lambda one: (-one.amount, one.row.transaction_id)):
        if delta <= 0 or line.amount <= 0:
            break
        amount = min(delta, line.amount)
        commission = line.commission if amount == line.amount else _commission(claim, amount, _MILL)
        rows.append(_correction(ids, line, -amount, -commission, at))
        line.amount -= amount
        line.commission -= commission
        delta -= amount
    return rows


def _correction(ids: TransactionIds, line: _Line, amount: Decimal, commission: Decimal, at: datetime) -> Row:
    state = replace(line.row.states[0], at=published_at(at), sale_amount=amount, commission_amount=commission)
    return replace(line.row, transaction_id=ids.next(RAKUTEN), row_kind="correction", processed_at=at, states=(state,))
