-- purpose: what was booked for a month after it was closed to it: entry by entry, with the cause.
-- grain: one journal entry, kind of account and asset.
-- reads: ledger.posting, ledger.account, ledger.journal_entry, ops.sale, ops.transaction_version, ops.delivery, ops.run,
-- ops.hold_release, ops.decision, ops.agreement. Runs on PostgreSQL.
-- key: year, number, kind, asset.
-- parameters: entity, from_on, until_on (effective_for in between, booked_on not before until_on).
-- The cause of a sale's entry is what became known between the entry of that sale before it and this one: a version is
-- known when its answer was landed, or when the delivery it came in was released.
WITH late AS (
    SELECT p.document_kind, p.document_id, p.entry_no, p.debit, p.credit, p.amount, p.base_amount, p.rate,
           p.effective_for
    FROM ledger.posting AS p
    WHERE p.entity = %(entity)s AND p.booked_on >= %(until_on)s
        AND p.effective_for >= %(from_on)s AND p.effective_for < %(until_on)s
),
side AS (
    SELECT document_kind, document_id, entry_no, debit AS account_id, amount, base_amount, rate, effective_for FROM late
    UNION ALL
    SELECT document_kind, document_id, entry_no, credit, -amount, -base_amount, rate, effective_for FROM late
),
moved AS (
    SELECT s.document_kind, s.document_id, s.entry_no, a.kind, a.asset, sum(s.amount) AS amount_minor,
           sum(s.base_amount) AS base_amount, min(s.effective_for) AS effective_from
    FROM side AS s
    JOIN ledger.account AS a ON a.account_id = s.account_id
    GROUP BY s.document_kind, s.document_id, s.entry_no, a.kind, a.asset
),
-- What an entry touches, before sums hide it: accounts that net to nothing, rates that came.
touched AS (
    SELECT s.document_kind, s.document_id, s.entry_no,
           bool_or(a.kind = 'commission_receivable') AS is_approved,
           bool_or(a.kind LIKE 'commission%%') AS is_commission,
           bool_or(s.rate IS NULL) AND bool_or(s.rate IS NOT NULL) AS is_rated,
           max(a.owner) FILTER (WHERE a.kind LIKE 'commission%%' OR a.kind = 'partner_clearing') AS partner_account
    FROM side AS s
    JOIN ledger.account AS a ON a.account_id = s.account_id
    GROUP BY s.document_kind, s.document_id, s.entry_no
),
entry AS (
    SELECT t.document_kind, t.document_id, t.entry_no, t.is_approved, t.is_commission, t.is_rated, t.partner_account,
           j.year, j.number, j.booked_on, j.posted_at,
           (SELECT max(b.posted_at) FROM ledger.journal_entry AS b
            WHERE b.document_kind = j.document_kind AND b.document_id = j.document_id
                AND b.posted_at < j.posted_at) AS posted_before
    FROM touched AS t
    JOIN ledger.journal_entry AS j
        ON j.document_kind = t.document_kind AND j.document_id = t.document_id AND j.entry_no = t.entry_no
),
version AS (
    SELECT v.sale_id, v.effective_on,
           greatest(v.observed_at, r.started_at, h.released_at) AS known_at,
           CASE
               WHEN (v.status = 'declined' AND b.status IS DISTINCT FROM 'declined')
                   OR v.commission_amount < coalesce(b.commission_amount, 0) THEN 1
               WHEN v.status = 'approved' AND coalesce(b.status, 'pending') = 'pending' THEN 2
               WHEN v.partner_paid AND NOT coalesce(b.partner_paid, false) THEN 3
               ELSE 4
           END AS place
    FROM ops.transaction_version AS v
    LEFT JOIN ops.transaction_version AS b
        ON b.partner_account = v.partner_account AND b.transaction_id = v.transaction_id AND b.line_id = v.line_id
        AND b.version_no = v.version_no - 1
    LEFT JOIN ops.delivery AS d ON d.delivery_id = v.delivery_id
    LEFT JOIN ops.run AS r ON r.run_id = d.landed_run
    LEFT JOIN (SELECT delivery_id, max(released_at) AS released_at FROM ops.hold_release GROUP BY delivery_id) AS h
        ON h.delivery_id = v.delivery_id
    WHERE v.sale_id IN (SELECT document_id FROM entry WHERE document_kind = 'sale')
),
caused AS (
    SELECT e.document_kind, e.document_id, e.entry_no,
           CASE
               WHEN e.document_kind <> 'sale' THEN e.document_kind
               WHEN e.posted_before IS NULL THEN 'new_sale'
               WHEN v.place = 1 THEN 'late_reversal'
               WHEN v.place = 2 THEN 'late_approval'
               WHEN v.place = 3 THEN 'partner_paid'
               WHEN v.place = 4 THEN 'late_change'
               WHEN d.is_decided THEN 'decision'
               WHEN e.is_rated THEN 'rate'
               WHEN NOT e.is_commission THEN 'match_or_rule'
               WHEN t.place = 1 THEN 'late_reversal'
               WHEN t.place = 2 THEN 'late_approval'
               WHEN t.place = 3 THEN 'partner_paid'
               WHEN e.is_approved THEN 'validation_over'
               ELSE 'other'
           END AS cause
    FROM entry AS e
    LEFT JOIN LATERAL (
        SELECT min(k.place) AS place FROM version AS k
        WHERE e.document_kind = 'sale' AND k.sale_id = e.document_id
            AND k.known_at > e.posted_before AND k.known_at <= e.posted_at
    ) AS v ON true
    -- Landed before the last entry and booked only now: what the day of the posting says.
    LEFT JOIN LATERAL (
        SELECT min(k.place) AS place
        FROM version AS k
        JOIN late AS l
            ON l.document_kind = e.document_kind AND l.document_id = e.document_id AND l.entry_no = e.entry_no
            AND l.effective_for = k.effective_on
        WHERE e.document_kind = 'sale' AND k.sale_id = e.document_id
    ) AS t ON true
    LEFT JOIN LATERAL (
        SELECT count(*) > 0 AS is_decided
        FROM ops.decision AS k
        LEFT JOIN ops.agreement AS g ON g.decision_id = k.decision_id
        WHERE e.document_kind = 'sale' AND k.sale_id = e.document_id
            AND coalesce(g.agreed_at, k.decided_at) > e.posted_before
            AND coalesce(g.agreed_at, k.decided_at) <= e.posted_at
    ) AS d ON true
),
placed AS (
    SELECT coalesce(s.partner_account, e.partner_account,
                    CASE WHEN e.document_kind = 'sale' THEN split_part(e.document_id, ':', 1) END, '')
               AS partner_account,
           m.kind, m.asset, c.cause, e.document_kind, e.document_id, e.year, e.number, e.booked_on, e.posted_at,
           m.effective_from, m.amount_minor, m.base_amount
    FROM moved AS m
    JOIN entry AS e
        ON e.document_kind = m.document_kind AND e.document_id = m.document_id AND e.entry_no = m.entry_no
    JOIN caused AS c
        ON c.document_kind = m.document_kind AND c.document_id = m.document_id AND c.entry_no = m.entry_no
    LEFT JOIN ops.sale AS s ON e.document_kind = 'sale' AND s.sale_id = e.document_id
    WHERE m.amount_minor <> 0 AND m.kind NOT IN ('border', 'fx_position')
)
SELECT partner_account, kind, asset, cause, document_kind, document_id, year, number, booked_on, posted_at,
       effective_from, amount_minor::bigint AS amount_minor, base_amount::numeric(20, 4) AS base_amount
FROM placed
ORDER BY partner_account COLLATE "C", kind COLLATE "C", asset COLLATE "C", cause, year, number
