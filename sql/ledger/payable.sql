-- purpose: what each document lets us pay each member today: owed, mature, not held, not paid out yet.
-- grain: one row per member and document with something to pay or to take back, of members who reach the threshold.
-- reads: ledger.posting, ledger.account, payout.payout_line, payout.payout, payout.batch, ops.sale, ops.break,
--   ops.decision_in_force.
-- key: member_id, document_kind, document_id. Runs on PostgreSQL, under the lock of the entity's books.
-- parameters: entity, asset, currency, mature_until, threshold_minor.
-- why: what grew lately waits, what shrank counts at once; but what only waits never becomes a debt of the member. What is
-- written off of a debt counts at once as the debt does.
WITH account AS (
    SELECT account_id, owner AS member_id
    FROM ledger.account
    WHERE entity = %(entity)s AND kind = 'cashback_payable' AND asset = %(asset)s
),
movement AS (
    SELECT a.member_id, p.document_kind, p.document_id, p.effective_for, p.amount
    FROM ledger.posting AS p
    JOIN account AS a ON a.account_id = p.credit
    UNION ALL
    SELECT a.member_id, p.document_kind, p.document_id, p.effective_for, -p.amount
    FROM ledger.posting AS p
    JOIN account AS a ON a.account_id = p.debit
),
day_net AS (
    SELECT member_id, document_kind, document_id, effective_for, sum(amount) AS net
    FROM movement
    GROUP BY member_id, document_kind, document_id, effective_for
),
balance AS (
    SELECT member_id, sum(net) AS ledger_balance
    FROM day_net
    GROUP BY member_id
),
earned AS (
    SELECT
        member_id, document_kind, document_id, sum(net) AS total,
        coalesce(sum(net) FILTER (
            WHERE net < 0 OR effective_for <= %(mature_until)s OR document_kind = 'write_off'
        ), 0) AS mature
    FROM day_net
    WHERE document_kind <> 'payout'
    GROUP BY member_id, document_kind, document_id
),
-- A returned or canceled payout gave its money back: its lines count no more.
paid AS (
    SELECT p.member_id, l.document_kind, l.document_id, sum(l.amount_minor) AS amount
    FROM payout.payout_line AS l
    JOIN payout.payout AS p ON p.payout_id = l.payout_id
    JOIN payout.batch AS b ON b.batch_id = p.batch_id
    WHERE b.entity = %(entity)s AND p.currency = %(currency)s AND p.state IN ('reserved', 'in_flight', 'settled')
    GROUP BY p.member_id, l.document_kind, l.document_id
),
-- A person may have looked at a break and released it; new evidence makes that void.
held_by_break AS (
    SELECT DISTINCT b.sale_id
    FROM ops.break AS b
    WHERE b.kind IN ('conflicting_versions', 'vanished_at_partner', 'unknown_program', 'rate_missing')
        AND NOT EXISTS (
            SELECT 1
            FROM ops.decision_in_force AS d
            WHERE d.kind = 'release_hold' AND d.sale_id = b.sale_id AND d.evidence_hash = b.evidence_hash
                AND (d.break_kind IS NULL OR abs(coalesce(b.amount, 0)) <= abs(coalesce(d.amount, 0)))
        )
),
document AS (
    SELECT
        e.member_id, e.document_kind, e.document_id, e.total - coalesce(p.amount, 0) AS remaining,
        e.mature - coalesce(p.amount, 0) AS mature,
        -- A sale that reconcile does not know is nobody's to pay.
        e.document_kind = 'sale'
        AND (s.sale_id IS NULL OR s.is_payout_held OR h.sale_id IS NOT NULL) AS is_held
    FROM earned AS e
    LEFT JOIN paid AS p
        ON p.member_id = e.member_id AND p.document_kind = e.document_kind AND p.document_id = e.document_id
    LEFT JOIN ops.sale AS s ON e.document_kind = 'sale' AND s.sale_id = e.document_id
    LEFT JOIN held_by_break AS h ON h.sale_id = s.sale_id
),
available AS (
    SELECT
        member_id, document_kind, document_id, remaining,
        CASE WHEN remaining < 0 THEN remaining WHEN is_held THEN 0 ELSE greatest(mature, 0) END AS amount
    FROM document
),
member AS (
    SELECT
        member_id, document_kind, document_id, amount,
        sum(amount) OVER (PARTITION BY member_id) AS member_amount,
        sum(remaining) OVER (PARTITION BY member_id) AS member_remaining
    FROM available
)
SELECT
    m.member_id, m.document_kind, m.document_id, m.amount::bigint AS amount_minor,
    m.member_remaining::bigint AS remaining_minor, b.ledger_balance::bigint AS ledger_balance_minor
FROM member AS m
JOIN balance AS b ON b.member_id = m.member_id
WHERE m.amount <> 0 AND m.member_amount >= %(threshold_minor)s AND m.member_amount > 0
ORDER BY m.member_id COLLATE "C", m.document_kind, m.document_id COLLATE "C"
