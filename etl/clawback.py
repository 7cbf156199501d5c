"""Claw back: write off what members owe as the policy says, take it back when the debt shrinks, and list who owes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from enum import StrEnum

from etl.core.clawback import Course, DebtEvent, policy_on
from etl.core.context import Context, StageResult
from etl.core.debts import courses, read_written_off, write_off_target
from etl.core.ledger import lock_books
from etl.core.money import from_minor
from etl.core.target import post_difference


class NextStep(StrEnum):
    """What happens to a debt if nobody does anything."""

    OFFSET = "taken off later cashback"
    REVIEW = "a person looks at it"
    WRITE_OFF = "written off"
    DONE = "nothing is owed any more"


@dataclass(frozen=True, slots=True)
class MemberDebt:
    """What a member owes in a currency, since when, what was offset and written off of it so far, and what is next."""

    member_id: str
    currency: str
    owed: Decimal
    since: date | None
    offset: Decimal
    written_off: Decimal
    next_step: NextStep
    next_on: date | None

    @property
    def next_text(self) -> str:
        """Return the next step in words."""
        return f"{self.next_step} on {self.next_on}" if self.next_on else str(self.next_step)


def write_off_debts(context: Context, day: date) -> StageResult:
    """Post target minus posted of the write-offs of what members owe as of `day`; again, nothing."""
    entity = context.entity
    with context.warehouse.transaction() as connection:
        lock_books(connection, entity.name)
        wanted = write_off_target(connection, entity, day)
        posted = post_difference(context, connection, "write_off", wanted, read_written_off(connection, entity))
    note = f"written off, or taken back: {posted.documents:,} of members' debts" if posted.postings else ""
    return StageResult("clawback", entity.name, (("write_off_postings", posted.postings),), note)


def list_debts(context: Context, day: date, *, is_whole: bool = False) -> list[MemberDebt]:
    """Return who owes as of `day`, the largest debt first in each currency; with `is_whole` also who owes no more."""
    with context.warehouse.transaction() as connection:
        found = [
            _member_debt(context, member, asset.currency, asset.scale, each, day)
            for member, asset, each in courses(connection, context.entity, day)
        ]
    chosen = [each for each in found if is_whole or each.owed]
    return sorted(chosen, key=lambda each: (each.currency, -each.owed, each.member_id))


def _member_debt(context: Context, member: str, currency: str, scale: int, found: Course, day: date) -> MemberDebt:
    offset = sum(step.amount_minor for step in found.steps if step.event is DebtEvent.OFFSET)
    written_off = sum(minor for _, _, minor in found.written_off())
    since = min((debt.since for debt in found.debts), default=None)
    step, on = _next(context, currency, found, since, day)
    return MemberDebt(
        member, currency, from_minor(found.left_minor, scale), since, from_minor(offset, scale),
        from_minor(written_off, scale), step, on,
    )  # fmt: skip


def _next(
    context: Context, currency: str, found: Course, since: date | None, day: date
) -> tuple[NextStep, date | None]:
    policy = policy_on(context.entity.clawback, day)
    if since is None:
        return NextStep.DONE, None
    if policy is None:
        return NextStep.OFFSET, None
    if found.left_minor > policy.review_above_minor.get(currency, found.left_minor):
        return NextStep.REVIEW, None
    if policy.write_off_after_days is None or found.left_minor > policy.write_off_below_minor.get(currency, 0):
        return NextStep.OFFSET, None
    return NextStep.WRITE_OFF, since + timedelta(days=policy.write_off_after_days)
