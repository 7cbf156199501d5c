"""Who may approve a batch: a person who neither released it nor changed a payee, hold, adjustment or decision in it."""

from __future__ import annotations

import unicodedata

from etl.core.errors import Stop
from etl.core.payouts import Batch
from etl.core.warehouse import Connection

# Names that schedulers, services and logins go by: nobody can ask them later why.
NOBODY = frozenset(
    "admin airflow anonymous api cron daemon default nobody none null pipeline postgres robot root scheduler service "
    "sysadmin system tallyback tallyback_approver tallyback_pipeline triggerer unknown user worker".split()
)

_INVOLVED = """
SELECT b.released_by AS person, 'released the batch' AS how
FROM payout.batch AS b
WHERE b.batch_id = %(batch_id)s
UNION
SELECT e.changed_by, 'changed the payee of member ' || e.member_id
FROM payout.payout AS p
JOIN pii.payee AS e ON e.member_id = p.member_id AND e.version = p.payee_version
WHERE p.batch_id = %(batch_id)s
UNION
SELECT d.decided_by, 'decided about sale ' || d.sale_id
FROM payout.payout AS p
JOIN payout.payout_line AS l ON l.payout_id = p.payout_id AND l.document_kind = 'sale'
JOIN ops.decision AS d ON d.sale_id = l.document_id
WHERE p.batch_id = %(batch_id)s
UNION
SELECT a.agreed_by, 'agreed to a decision about sale ' || d.sale_id
FROM payout.payout AS p
JOIN payout.payout_line AS l ON l.payout_id = p.payout_id AND l.document_kind = 'sale'
JOIN ops.decision AS d ON d.sale_id = l.document_id
JOIN ops.agreement AS a ON a.decision_id = d.decision_id
WHERE p.batch_id = %(batch_id)s
UNION
SELECT r.decided_by, 'decided about remittance ' || r.remittance_id || ', which pays for sale ' || v.sale_id
FROM payout.payout AS p
JOIN payout.payout_line AS l ON l.payout_id = p.payout_id AND l.document_kind = 'sale'
JOIN ops.transaction_version AS v ON v.sale_id = l.document_id
JOIN ops.remittance_allocation AS a
    ON a.partner_account = v.partner_account AND a.transaction_id = v.transaction_id
JOIN ops.remittance_decision AS r
    ON r.partner_account = a.partner_account AND r.remittance_id = a.remittance_id
WHERE p.batch_id = %(batch_id)s
UNION
SELECT h.released_by, 'released delivery ' || left(h.delivery_id, 12) || ', which sale ' || v.sale_id || ' comes from'
FROM payout.payout AS p
JOIN payout.payout_line AS l ON l.payout_id = p.payout_id AND l.document_kind = 'sale'
JOIN ops.transaction_version AS v ON v.sale_id = l.document_id
JOIN ops.hold_release AS h ON h.delivery_id = v.delivery_id
WHERE p.batch_id = %(batch_id)s
UNION
SELECT w.person, w.how || f.opening_id || ', which member ' || p.member_id || ' is paid of'
FROM payout.payout AS p
JOIN payout.payout_line AS l ON l.payout_id = p.payout_id AND l.document_kind = 'opening'
JOIN ops.opening_in_force AS f ON f.document_id = l.document_id
JOIN ops.opening AS o ON o.opening_id = f.opening_id AND o.revision = f.revision
JOIN ops.opening_approval AS a ON a.opening_id = f.opening_id AND a.revision = f.revision
CROSS JOIN LATERAL (VALUES (o.loaded_by, 'loaded opening '), (a.approved_by, 'confirmed opening ')) AS w (person, how)
WHERE p.batch_id = %(batch_id)s
UNION
SELECT w.person, w.how || a.adjustment_id || coalesce(' about sale ' || a.sale_id, '')
FROM payout.payout AS p
JOIN payout.payout_line AS l ON l.payout_id = p.payout_id
JOIN (
    SELECT 'adjustment' AS document_kind, adjustment_id AS document_id, adjustment_id, sale_id, proposed_by, approved_by
    FROM ops.adjustment_in_force
    UNION ALL
    SELECT 'sale', sale_id, adjustment_id, sale_id, proposed_by, approved_by FROM ops.adjustment_in_force
) AS a ON a.document_kind = l.document_kind AND a.document_id = l.document_id
CROSS JOIN LATERAL
    (VALUES (a.proposed_by, 'proposed adjustment '), (a.approved_by, 'approved adjustment ')) AS w (person, how)
WHERE p.batch_id = %(batch_id)s
UNION
SELECT d.decided_by, 'decided about correction ' || d.correction_id || ', which sale ' || s.sale_id || ' falls under'
FROM payout.payout AS p
JOIN payout.payout_line AS l ON l.payout_id = p.payout_id AND l.document_kind = 'sale'
JOIN ops.sale AS s ON s.sale_id = l.document_id
JOIN (
    SELECT correction_id, program_id FROM ref.cashback_rule_correction
    UNION
    SELECT correction_id, program_id FROM ref.contract_term_correction
) AS c ON c.program_id = s.program_id
JOIN ref.correction_decision AS d ON d.correction_id = c.correction_id
WHERE p.batch_id = %(batch_id)s
UNION
SELECT j.created_by, 'made ' || j.document_kind || ' ' || j.document_id
FROM payout.payout AS p
JOIN payout.payout_line AS l ON l.payout_id = p.payout_id AND l.document_kind <> 'sale'
JOIN ledger.journal_entry AS j ON j.document_kind = l.document_kind AND j.document_id = l.document_id
WHERE p.batch_id = %(batch_id)s
ORDER BY 1, 2
"""


def identity(person: str) -> str:
    """Return the name as it is compared: one person cannot be two by spelling it differently."""
    return " ".join(unicodedata.normalize("NFKC", person).casefold().split())


def require_person(person: str) -> str:
    """Return the name, blanks at its ends taken off; Stop if it is nobody's."""
    if identity(person) in NOBODY or not any(character.isalnum() for character in person):
        raise Stop(f"{person!r} is no person: money moves by the name of somebody who can be asked")
    if len(person) > 200 or not person.isprintable():
        raise Stop("a person's name has at most 200 characters, all of them printable")
    return person.strip()


def why_not(connection: Connection, batch_id: str, person: str) -> str | None:
    """Return why this person may not approve the batch, None if they may."""
    for involved, how in connection.execute(_INVOLVED, {"batch_id": batch_id}).fetchall():
        if identity(str(involved)) == identity(person):
            return str(how)
    return None


def valid_approval(connection: Connection, batch: Batch) -> str:
    """Return who approved the bytes the batch has now; Stop if nobody did who may."""
    rows = connection.execute(
        "SELECT approved_by, sha256 FROM payout.approval WHERE batch_id = %s ORDER BY approved_at, approved_by",
        (batch.batch_id,),
    ).fetchall()
    reasons: list[str] = []
    for approved_by, sha256 in rows:
        person = require_person(str(approved_by))
        if sha256 != batch.sha256:
            reasons.append(f"{person} approved other bytes (sha256 {str(sha256)[:12]})")
            continue
        reason = why_not(connection, batch.batch_id, person)
        if reason is None:
            return person
        reasons.append(f"{person} {reason}")
    detail = f" ({'; '.join(reasons)})" if reasons else ""
    raise Stop(f"batch {batch.batch_id} is not approved{detail}: run `tallyback payout approve` as another person")
