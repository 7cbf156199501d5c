-- purpose: every movement of the entity's accounts up to the closing day that was known, with its step of the
-- roll-forward.
-- grain: document, entry, effective_for, account, step. Reads: mart.posting, report_account_kind.
-- Amounts carry the account's own sign: what makes a liability larger is positive there.
-- How a step is told: by the document and the counter-account where they say it; for the accrual of a sale, what leaves
-- the pending account of a pair and enters the approved one in the same entry, for the same day, is 'approved'; the
-- rest is 'new' or 'declined' by its sign.
WITH side AS (
    SELECT p.document_kind, p.document_id, p.entry_no, p.effective_for, p.booked_on, p.currency, p.scale,
           s.kind, s.owner, s.counter_kind, coalesce(a.side, 1) * s.sign * p.amount AS amount,
           -- An amount in the base currency is its own base amount.
           coalesce(a.side, 1) * s.sign
               * coalesce(p.base_amount, CASE WHEN p.currency = %(base)s THEN p.amount END) AS base,
           a.pair, a.is_pending
    FROM mart.posting AS p
    CROSS JOIN LATERAL (VALUES (1, p.debit_kind, p.debit_owner, p.credit_kind),
                               (-1, p.credit_kind, p.credit_owner, p.debit_kind)) AS s (sign, kind, owner, counter_kind)
    LEFT JOIN report_account_kind AS a ON a.kind = s.kind
    WHERE p.entity = %(entity)s AND p.booked_on < %(until)s
        AND (%(known)s::timestamp IS NULL OR p.posted_at <= %(known)s)
),
stepped AS (
    SELECT side.*,
           CASE
               WHEN document_kind IN ('opening', 'adjustment', 'write_off') THEN 'other'
               WHEN document_kind = 'revaluation' OR kind = 'fx_position'
                    OR kind IN ('fx_realised', 'fx_unrealised') OR counter_kind IN ('fx_realised', 'fx_unrealised')
                   THEN 'fx'
               WHEN kind = 'rounding' OR counter_kind = 'rounding' THEN 'rounding'
               WHEN kind = 'border' THEN 'moved'
               WHEN kind IN ('bank', 'partner_clearing') OR counter_kind IN ('bank', 'partner_clearing') THEN 'paid'
               WHEN kind IN ('cashback_confirmed', 'cashback_payable', 'payout_reserved', 'payout_in_flight')
                    AND counter_kind IN
                        ('cashback_confirmed', 'cashback_payable', 'payout_reserved', 'payout_in_flight')
                   THEN 'moved'
               WHEN pair IS NOT NULL THEN 'accrued'
               ELSE 'other'
           END AS step
    FROM side
),
summed AS (
    SELECT document_kind, document_id, entry_no, effective_for, booked_on, currency, scale, kind, owner, pair,
           is_pending, step, sum(amount) AS amount, coalesce(sum(base), 0) AS base,
           coalesce(sum(amount) FILTER (WHERE base IS NULL), 0) AS without_base
    FROM stepped
    GROUP BY document_kind, document_id, entry_no, effective_for, booked_on, currency, scale, kind, owner, pair,
             is_pending, step
),
paired AS (
    SELECT summed.*,
           coalesce(sum(amount) FILTER (WHERE is_pending) OVER one_pair, 0) AS pending,
           coalesce(sum(amount) FILTER (WHERE NOT is_pending) OVER one_pair, 0) AS approved
    FROM summed
    WHERE step = 'accrued'
    WINDOW one_pair AS (PARTITION BY document_kind, document_id, entry_no, effective_for, booked_on, currency, scale,
                                     owner, pair)
),
-- Kept as they are: written into one another, the planner would compute each share a hundred times over.
transferred AS MATERIALIZED (
    SELECT paired.*,
           CASE WHEN is_pending THEN -1 ELSE 1 END
               * CASE WHEN pending < 0 AND approved > 0 THEN least(-pending, approved)
                      WHEN pending > 0 AND approved < 0 THEN -least(pending, -approved)
                      ELSE 0 END AS moved
    FROM paired
),
shared AS MATERIALIZED (
    SELECT transferred.*,
           CASE moved WHEN 0 THEN 0 WHEN amount THEN base ELSE round(base * moved / amount, 4) END AS moved_base,
           CASE moved WHEN 0 THEN 0 WHEN amount THEN without_base
                      ELSE round(without_base * moved / amount, 4) END AS moved_without_base
    FROM transferred
),
classed AS (
    SELECT document_kind, document_id, entry_no, effective_for, booked_on, currency, scale, kind, owner, step, amount,
           base, without_base
    FROM summed
    WHERE step <> 'accrued'
    UNION ALL
    SELECT document_kind, document_id, entry_no, effective_for, booked_on, currency, scale, kind, owner, part.step,
           part.amount, part.base, part.without_base
    FROM shared
    CROSS JOIN LATERAL (VALUES
        ('approved', moved, moved_base, moved_without_base),
        (CASE WHEN amount - moved < 0 THEN 'declined' WHEN is_pending THEN 'new' ELSE 'approved' END,
         amount - moved, base - moved_base, without_base - moved_without_base)
    ) AS part (step, amount, base, without_base)
    WHERE part.amount <> 0 OR part.base <> 0
)
SELECT document_kind, document_id, entry_no, effective_for, booked_on, currency, scale, kind, owner, step,
       sum(amount) AS amount, sum(base) AS base, sum(without_base) AS without_base,
       booked_on >= %(from)s AS is_this, booked_on >= %(last_from)s AND booked_on < %(from)s AS is_last
FROM classed
GROUP BY document_kind, document_id, entry_no, effective_for, booked_on, currency, scale, kind, owner, step
HAVING sum(amount) <> 0 OR sum(base) <> 0
