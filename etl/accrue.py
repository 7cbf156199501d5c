"""Accrue: bring the books of every sale to what its versions, click, rule and rates say, by posting the difference."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from etl.core.context import Context, StageResult
from etl.core.ledger import lock_books
from etl.core.target import post_difference, read_facts, read_posted, target


def accrue(context: Context, day: date, sales: Sequence[str] | None = None) -> StageResult:
    """Post target minus posted for all sales (or the named ones) as of `day`; a second run posts nothing.

    A sale that exists no more is brought to zero. Reads facts and books under the lock of the entity's books, and
    commits in one transaction. Stop if an amount is too large to be counted or an account's configuration is gone.
    """
    entity = context.entity.name
    with context.warehouse.transaction() as connection:
        lock_books(connection, entity)
        wanted = target(context.engine, read_facts(context, connection, sales), day)
        posted = post_difference(context, connection, "sale", wanted.flows, read_posted(connection, entity, sales))
    counts = (
        ("documents", posted.documents),
        ("entries", posted.entries),
        ("postings", posted.postings),
        ("waiting", wanted.waiting_count),
    )
    note = f"{posted.postings:,} postings for {posted.documents:,} sales"
    if wanted.waiting_count:
        note += f", the cashback of {wanted.waiting_count:,} waits for a rate or for one currency"
    return StageResult("accrue", entity, counts, note)
