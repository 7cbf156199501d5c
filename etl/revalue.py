"""Revalue: book what open items in other currencies are worth at the closing rate, and take it back the day after."""

from __future__ import annotations

from datetime import date

from etl.core.context import Context, StageResult
from etl.core.errors import Stop
from etl.core.ledger import lock_books, post
from etl.core.period import PeriodState, period_states, require_month
from etl.core.revaluation import open_items, revaluation_flows, unpriced


def revalue(context: Context, starts_on: date) -> StageResult:
    """Post the difference between the revaluation of a closing month and what is posted of it; again, nothing.

    Stop if the month is not closing, or if a closing rate is not known yet.
    """
    entity, base = context.entity.name, context.entity.base_currency
    with context.warehouse.transaction() as connection:
        lock_books(connection, entity)
        if period_states(connection, entity).get(require_month(starts_on)) is not PeriodState.CLOSING:
            raise Stop(f"{starts_on:%Y-%m} is not closing: run `tallyback close begin {starts_on:%Y-%m}` first")
        items = open_items(connection, entity, base, starts_on)
        if missing := list(unpriced(items)):
            raise Stop(
                f"the closing rates of {', '.join(missing)} are not known, nor usable before those of a later day:"
                " run `tallyback reference rates` with a newer file"
            )
        posted = post(
            connection,
            entity,
            "revaluation",
            revaluation_flows(connection, entity, base, starts_on, items),
            run_id=context.run_id,
            created_by=context.actor,
            posted_at=context.known_at,
        )
    gains = ", ".join(f"{item.name} {item.difference:+f} {base}" for item in items if item.difference)
    counts = (("items", len(items)), ("postings", posted.postings))
    return StageResult("revalue", f"{entity}/{starts_on:%Y-%m}", counts, gains)
