"""All facts a firm has learnt, in plain Python, and what the naive references say should stand in its books."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from tests.accrue import naive as accrual
from tests.chain.naive import MODELS, facts_of
from tests.chain.worlds import OVERLAP
from tests.reconcile import naive as matching
from tests.reconcile.naive import Answer, Delivery, Row
from tests.reconcile.worlds import program
from tests.remit import naive as remitting

FIRST = date(2026, 3, 2)
MORNING = datetime.combine(FIRST, time(6))
BEGIN = datetime.fromisoformat("2025-12-01T00:00")
PARTNERS = ("awin", "clocked", "rakuten", "tradetracker")
PAYABLE_ON = {
    "awin_main": "funded",
    "clocked_main": "approval",
    "rakuten_main": "funded",
    "tradetracker_main": "partner_paid",
}
PROGRAMS = {"awin": "9001", "clocked": "P5", "rakuten": "41000", "tradetracker": "777"}
MEMBERS = ("m1", "m2", "m3")
# What a currency costs in euro's terms on the first Monday; it moves a little each week.
RATES = {"GBP": Decimal("0.851"), "JPY": Decimal("160.25")}
ACTIVE = ("reserved", "in_flight", "settled")


@dataclass
class PaidOut:
    """A payout as the model knows it: its lines are (sale_id, amount) in cents."""

    batch_id: str
    member: str
    lines: tuple[tuple[str, int], ...]
    state: str

    @property
    def amount(self) -> int:
        return sum(amount for _, amount in self.lines)


@dataclass
class Expected:
    """What follows from all that is known: matching's answer, the books of sales and of remittances."""

    answer: Answer
    facts: accrual.World
    sales: accrual.Books
    remittances: accrual.Books
    allocations: remitting.Allocations


@dataclass
class Known:
    """The facts so far, in the order in which we learnt them, and the day it is."""

    day: date = FIRST
    minute: int = 0
    tracked_until: datetime = MORNING
    orders: dict[str, Row] = field(default_factory=dict)
    deliveries: list[Delivery] = field(default_factory=list)
    clicks: list[Row] = field(default_factory=list)
    programs: list[Row] = field(default_factory=list)
    rules: list[Row] = field(default_factory=list)
    rates: dict[tuple[str, date], Decimal] = field(default_factory=dict)
    decisions: list[Row] = field(default_factory=list)
    remittances: list[remitting.Remittance] = field(default_factory=list)
    payouts: dict[str, PaidOut] = field(default_factory=dict)
    batches: dict[str, str] = field(default_factory=dict)
    last: Expected | None = None

    def __post_init__(self) -> None:
        for place, (partner, number) in enumerate(sorted(PROGRAMS.items())):
            days = {"rakuten": 10, "tradetracker": 45}.get(partner)
            self.programs.append(
                program(
                    f"p-{partner}", partner, partner_program_id=number, merchant_id=f"m{place}", validation_days=days,
                    valid_from=BEGIN, commission_rate=Decimal("0.100000") if partner == "awin" else None,
                )
            )  # fmt: skip
            self.rules.append(self.rule_of(partner, "commission_share", Decimal("0.5"), "EUR", BEGIN))
        self.publish(FIRST - timedelta(days=14))

    @staticmethod
    def rule_of(partner: str, basis: str, value: Decimal, currency: str, begin: datetime) -> Row:
        """Return a cashback rule of a partner's one program from an instant on."""
        return {
            "rule_id": f"r-{partner}-{begin:%m%d%H%M}", "program_id": f"p-{partner}", "basis": basis, "value": value,
            "cap": Decimal(20) if basis == "fixed" else None, "currency": currency, "rounding": "half_even",
            "valid_from": begin, "valid_until": None, "commission_group": None, "component": "cashback",
        }  # fmt: skip

    def publish(self, since: date) -> None:
        """Make the rates of all Mondays since a day known, up to today."""
        for place in range((self.day - since).days + 1):
            on = since + timedelta(days=place)
            if on.weekday() == 0:
                for currency, rate in RATES.items():
                    self.rates[currency, on] = rate + Decimal(on.toordinal() % 5) / 1000

    @property
    def now(self) -> datetime:
        """Return an instant of today after all that went before."""
        return datetime.combine(self.day, time(8)) + timedelta(minutes=self.minute)

    def tick(self) -> datetime:
        """Return the next minute of the day."""
        self.minute += 1
        return self.now

    # --- what follows ---------------------------------------------------------------------------------------------

    def expected(self) -> Expected:
        """Return what should stand in the books now, from scratch."""
        answer = matching.reconcile(
            matching.World(
                models=MODELS,
                deliveries=self.deliveries,
                programs=self.programs,
                clicks=[one for one in self.clicks if one["committed_at"] < self.tracked_until],
                conversions=[],
                day=self.day,
                sealed_until=self.tracked_until - OVERLAP,
                decisions=self.decisions,
                settled=list(self._settled()),
                rules=self.rules,
                rate_days=self._rate_days(),
            )
        )
        facts = facts_of(answer, self.programs, self.rules, self.rates, PAYABLE_ON)
        allocations = remitting.allocations(facts, self.remittances, self.day, False)
        paid = replace(facts, payments=remitting.payments(facts, allocations))
        books = accrual.books(paid, self.day)
        return Expected(answer, paid, books, remitting.books(self.remittances, allocations), allocations)

    def _settled(self) -> Iterator[Row]:
        """Yield the click by which each sale was last matched that a payout stands on."""
        if self.last is None:
            return
        for sale_id in sorted({line for one in self.payouts.values() if one.state in ACTIVE for line, _ in one.lines}):
            sale = self.last.answer.sales.get(sale_id)
            if sale is not None and sale.click is not None:
                yield {"sale_id": sale_id, "rule": sale.rule, **sale.click}

    def _rate_days(self) -> dict[str, set[Any]]:
        days: dict[str, set[Any]] = defaultdict(set)
        for currency, on in self.rates:
            days[currency].add(on)
        return dict(days)

    def payable(self, member: str) -> int:
        """Return what a member's account of payable cashback should hold, in cents of euro."""
        assert self.last is not None
        earned = sum(
            -amount
            for (_, kind, owner, asset, _), amount in self.last.sales.items()
            if (kind, owner, asset) == ("cashback_payable", member, "EUR/2")
        )
        return earned - sum(one.amount for one in self.payouts.values() if one.member == member and one.state in ACTIVE)

    def selection(self, maturity_days: int, threshold: int) -> dict[str, tuple[tuple[str, int], ...]]:
        """Return the lines by which each member may be paid today, by the words of docs/payouts.md."""
        assert self.last is not None
        answer = self.last.answer
        days: dict[tuple[str, str], dict[date, int]] = defaultdict(dict)
        for (sale_id, kind, owner, asset, on), amount in self.last.sales.items():
            if kind == "cashback_payable" and asset == "EUR/2":
                days[owner, sale_id][on] = -amount
        taken: dict[tuple[str, str], int] = defaultdict(int)
        for one in self.payouts.values():
            if one.state in ACTIVE:
                for sale_id, amount in one.lines:
                    taken[one.member, sale_id] += amount
        lines: dict[str, dict[str, int]] = defaultdict(dict)
        for member, sale_id in sorted({*days, *taken}):
            moved = days.get((member, sale_id), {})
            mature = sum(
                amount for on, amount in moved.items() if amount < 0 or on <= self.day - timedelta(days=maturity_days)
            )
            remaining = sum(moved.values()) - taken[member, sale_id]
            is_held = sale_id in answer.held or sale_id not in answer.sales
            available = max(mature - taken[member, sale_id], 0)
            lines[member][sale_id] = remaining if remaining < 0 else 0 if is_held else available
        return {
            member: tuple((sale_id, amount) for sale_id, amount in sorted(mine.items()) if amount)
            for member, mine in lines.items()
            if sum(mine.values()) >= threshold
        }

    def approved(self, account: str) -> dict[tuple[str, str], int]:
        """Return the approved commission, in 1/10,000 EUR, of each row of an account as it stands."""
        assert self.last is not None
        facts = self.last.facts
        found: dict[tuple[str, str], int] = {}
        for sale in facts.sales:
            if sale.partner_account == account and sale.program_id is not None:
                for row, status in accrual._rows(facts, sale, self.day, self.day):
                    if status == "approved" and row.currency == "EUR":
                        found[row.transaction_id, row.line_id] = int(row.commission_amount * 10000)
        return found
