"""Correct: rules and terms as they should have been, loaded apart, and in force only from where a person says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from etl.core.approval import require_person
from etl.core.context import Context
from etl.core.correction import Proposal, differing_rows, propose, standing, table_of, write_correction
from etl.core.errors import Stop
from etl.core.ledger import lock_books
from etl.core.schemas import INSTANT, TEXT
from etl.core.warehouse import APPROVER, PIPELINE, Connection, fetch, lock

_LISTED = pa.schema(
    [
        ("correction_id", TEXT),
        ("relation", TEXT),
        ("file_name", TEXT),
        ("row_count", pa.int32()),
        ("loaded_by", TEXT),
        ("loaded_at", INSTANT),
        ("decision_id", TEXT),
        ("from_at", INSTANT),
        ("decided_by", TEXT),
        ("decided_at", INSTANT),
        ("reason", TEXT),
        ("undone_by", TEXT),
    ]
)

EffectHash = Callable[[Context, Connection, Proposal], str]
"""What `etl.what_if` says of the effect of a proposal, handed in: stages do not know each other."""


def load_correction(context: Context, path: Path) -> str:
    """Load the rules or terms of a CSV that differ from what is known as a correction, and return its id.

    The same ones twice are one. It changes nothing until `apply`. Stop if nothing differs, if a value has not its form,
    or if what is so corrected could not be in force together.
    """
    person = require_person(context.actor)
    relation = table_of(path)
    with context.warehouse.transaction(APPROVER) as connection:
        lock(connection, "reference:corrections")
        rows = differing_rows(connection, path, relation)
        return write_correction(connection, context, path, relation, rows, person)


def decide(context: Context, proposal: Proposal, reason: str, effect_hash: str, effect_of: EffectHash) -> str:
    """Put a correction in force, or undo that, if the effect is still the one seen; return the decision.

    The next reconcile and accrual act on it. Said again, it is the decision that stands. Stop if the effect has changed
    since it was shown, and as `propose` does.
    """
    person = require_person(context.actor)
    with context.warehouse.transaction(PIPELINE) as connection:
        lock_books(connection, context.entity.name)
        lock(connection, "reference:corrections")
        if (known := standing(connection, proposal)) is not None:
            return known
        # The hash it has now is not told: who decides has looked.
        if effect_of(context, connection, proposal) != effect_hash:
            raise Stop(
                f"the effect is not the one that was shown ({effect_hash}): look at it again with `tallyback what-if`,"
                " and decide by the hash it says"
            )
        connection.execute(f"SET LOCAL ROLE {APPROVER}")
        return propose(connection, context, proposal, person, reason, effect_hash)


def list_corrections(context: Context) -> pa.Table:
    """Return every correction with each decision about it, the last loaded first."""
    query = """
        SELECT c.correction_id, c.relation, c.file_name, c.row_count, c.loaded_by, c.loaded_at, d.decision_id,
            d.from_at, d.decided_by, d.decided_at, d.reason, u.decided_by
        FROM ref.correction AS c
        LEFT JOIN ref.correction_decision AS d ON d.correction_id = c.correction_id AND d.kind = 'apply'
        LEFT JOIN ref.correction_decision AS u ON u.undoes = d.decision_id
        ORDER BY c.loaded_at DESC, c.correction_id, d.decided_at, d.decision_id
    """
    with context.warehouse.transaction() as connection:
        return fetch(connection, query, _LISTED)
