"""What a member owes back: how each debt came, what later cashback it was taken off, and what policy writes off.

A member has one payable balance, and it may be below zero. This says whose debt that is. It is a function of the
movements of the balance by their effective days, of what payouts paid, of the policy and the day; no order of arrival
is part of it. The rules, in order:

1. What a document loses is first taken off what it has left itself; the rest is a debt of that document.
2. A payout takes what is payable, the oldest first. What it took beyond that is a debt of the documents it paid.
3. What a document gains is first its own debt's, then takes back what was written off of it, then pays the oldest
   debts of others; the rest is payable. A new debt is paid at once from what is payable, the oldest first.
4. On the first day on which a debt is as old as the policy says, and all the member owes in the currency is no more
   than the policy writes off, the debt is written off.

So a debt is offset or written off once, and cashback offsets once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import StrEnum

from etl.core.configuration import ClawbackPolicy

Document = tuple[str, str]
"""The kind and the id of a document."""

Lines = Mapping[str, Sequence[tuple[Document, int]]]
"""What each payout paid of which document."""


class DebtEvent(StrEnum):
    """What happens to a debt."""

    INCURRED = "incurred"
    OFFSET = "offset"
    REINSTATED = "reinstated"
    WRITTEN_OFF = "written_off"
    TAKEN_BACK = "taken_back"


@dataclass(frozen=True, slots=True)
class Movement:
    """What a day brought a document of the member, or took: above zero the member is owed more."""

    on: date
    document: Document
    amount_minor: int


@dataclass(frozen=True, slots=True)
class Step:
    """One event of one debt; `by` is the document whose cashback it was taken off."""

    event: DebtEvent
    document: Document
    on: date
    amount_minor: int
    by: Document | None = None


@dataclass(slots=True)
class Debt:
    """What is left of a debt of a document, and since when."""

    document: Document
    since: date
    left_minor: int


@dataclass(slots=True)
class _Lot:
    """What of a document is payable and not paid out."""

    document: Document
    left_minor: int


@dataclass(frozen=True, slots=True)
class Course:
    """All that happened to a member's debts in one currency, and what is left of them, the oldest first."""

    steps: tuple[Step, ...]
    debts: tuple[Debt, ...]

    @property
    def left_minor(self) -> int:
        """Return what the member owes."""
        return sum(debt.left_minor for debt in self.debts)

    def written_off(self) -> Iterator[tuple[Document, date, int]]:
        """Yield document, day and amount of all that is written off; what was taken back is below zero."""
        for step in self.steps:
            if step.event is DebtEvent.WRITTEN_OFF:
                yield step.document, step.on, step.amount_minor
            elif step.event is DebtEvent.TAKEN_BACK:
                yield step.document, step.on, -step.amount_minor


def course(
    movements: Sequence[Movement], lines: Lines, policies: Sequence[ClawbackPolicy], currency: str, day: date
) -> Course:
    """Return what became of a member's debts in one currency until `day`; movements are those of one balance."""
    days: dict[date, list[Movement]] = defaultdict(list)
    for movement in movements:
        if movement.on <= day and movement.amount_minor:
            days[movement.on].append(movement)
    account = _Account(lines)
    waiting = sorted(days, reverse=True)
    now = date.min
    while True:
        due = account.next_due(policies, now)
        if waiting and (due is None or waiting[-1] <= due):
            now = waiting.pop()
            for movement in sorted(days[now], key=_within_a_day):
                account.move(movement)
        elif due is not None and due <= day:
            now = due
        else:
            return Course(tuple(account.steps), tuple(account.debts))
        account.write_off(policies, currency, now)


def policy_on(policies: Sequence[ClawbackPolicy], on: date) -> ClawbackPolicy | None:
    """Return the policy that is in force on a day; None before the first."""
    return max((each for each in policies if each.valid_from <= on), key=lambda each: each.valid_from, default=None)


def _within_a_day(movement: Movement) -> tuple[bool, bool, Document]:
    """Return the order within a day: what was earned, then what was lost, then payouts."""
    return (movement.document[0] == "payout", movement.amount_minor < 0, movement.document)


@dataclass(slots=True)
class _Account:
    """The balance while its days go by: either something is payable, lot by lot, or something is owed."""

    lines: Lines
    lots: list[_Lot] = field(default_factory=list)
    debts: list[Debt] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    earned: dict[Document, int] = field(default_factory=lambda: defaultdict(int))
    forgiven: dict[Document, int] = field(default_factory=lambda: defaultdict(int))

    def move(self, movement: Movement) -> None:
        document, amount, on = movement.document, movement.amount_minor, movement.on
        if document[0] == "payout" and amount < 0:
            self._pay(document, -amount, on)
            return
        self.earned[document] += amount
        if amount < 0:
            self._owe(document, -amount - self._taken(-amount, own=document), on)
        else:
            amount -= self._reinstated(document, amount, on)
            amount -= self._taken_back(document, amount, on)
            amount -= self._offset(document, amount, on)
            if amount:
                self.lots.append(_Lot(document, amount))

    def _taken(self, amount: int, own: Document | None = None) -> int:
        """Take from what is payable, the oldest first, or only from one document; return how much there was."""
        taken = 0
        for lot in self.lots:
            if own is None or lot.document == own:
                part = min(amount - taken, lot.left_minor)
                lot.left_minor -= part
                taken += part
        self.lots = [lot for lot in self.lots if lot.left_minor]
        return taken

    def _pay(self, payout: Document, amount: int, on: date) -> None:
        missing = amount - self._taken(amount)
        # A write-off that a payout took along with its debt is nobody's debt.
        paid = [(name, line) for name, line in self.lines.get(payout[1], ()) if line > 0 and name[0] != "write_off"]
        for document, line in paid:
            part = min(missing, max(line - max(self.earned[document], 0), 0))
            self._owe(document, part, on)
            missing -= part
        self._owe(paid[0][0] if paid else payout, missing, on)

    def _owe(self, document: Document, amount: int, on: date) -> None:
        if not amount:
            return
        self.steps.append(Step(DebtEvent.INCURRED, document, on, amount))
        left = amount
        for lot in self.lots:
            part = min(left, lot.left_minor)
            if part:
                self.steps.append(Step(DebtEvent.OFFSET, document, on, part, lot.document))
                lot.left_minor -= part
                left -= part
        self.lots = [lot for lot in self.lots if lot.left_minor]
        if left:
            self.debts.append(Debt(document, on, left))

    def _reinstated(self, document: Document, amount: int, on: date) -> int:
        """Lower the document's own debts, the newest first; return by how much."""
        done = 0
        for debt in reversed(self.debts):
            if debt.document == document and done < amount:
                part = min(amount - done, debt.left_minor)
                debt.left_minor -= part
                done += part
                self.steps.append(Step(DebtEvent.REINSTATED, document, on, part))
        self.debts = [debt for debt in self.debts if debt.left_minor]
        return done

    def _taken_back(self, document: Document, amount: int, on: date) -> int:
        part = min(amount, self.forgiven[document])
        if part:
            self.forgiven[document] -= part
            self.steps.append(Step(DebtEvent.TAKEN_BACK, document, on, part))
        return part

    def _offset(self, document: Document, amount: int, on: date) -> int:
        """Pay debts with what the document gained, the oldest first; return how much that took."""
        done = 0
        for debt in self.debts:
            if part := min(amount - done, debt.left_minor):
                debt.left_minor -= part
                done += part
                self.steps.append(Step(DebtEvent.OFFSET, debt.document, on, part, document))
        self.debts = [debt for debt in self.debts if debt.left_minor]
        return done

    def next_due(self, policies: Sequence[ClawbackPolicy], after: date) -> date | None:
        """Return the next day on which a debt may be old enough, None if none will be."""
        found = []
        for policy in policies:
            for debt in self.debts:
                if policy.write_off_after_days is not None:
                    due = max(debt.since + timedelta(days=policy.write_off_after_days), policy.valid_from)
                    if due > after and policy_on(policies, due) is policy:
                        found.append(due)
        return min(found, default=None)

    def write_off(self, policies: Sequence[ClawbackPolicy], currency: str, on: date) -> None:
        """Write off what the policy of the day lets go."""
        policy = policy_on(policies, on)
        owed = sum(debt.left_minor for debt in self.debts)
        if policy is None or policy.write_off_after_days is None:
            return
        if not 0 < owed <= policy.write_off_below_minor.get(currency, 0):
            return
        for debt in self.debts:
            if debt.since + timedelta(days=policy.write_off_after_days) <= on:
                self.forgiven[debt.document] += debt.left_minor
                self.steps.append(Step(DebtEvent.WRITTEN_OFF, debt.document, on, debt.left_minor))
                debt.left_minor = 0
        self.debts = [debt for debt in self.debts if debt.left_minor]
