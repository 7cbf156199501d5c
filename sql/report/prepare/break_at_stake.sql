-- purpose: each open break with its age, the money at stake and the row it is about.
-- grain, key: partner_account, transaction_id, line_id, kind. Reads: ops.break, ops.stated_break, ledger.posting,
-- report_current_row, report_program_name.
-- A break in another currency takes the rate that the books use for its sale; none known yet, none invented.
-- Of those known at an instant, only the ones that are still open are kept anywhere.
-- A break is decided when a decision in force has seen its evidence and the next run acts on it; one that waits, is
-- disputed or has a decision proposed is open, and says so.
WITH rate AS (
    SELECT j.document_id, max(p.rate) AS rate
    FROM ops.break AS b
    JOIN ledger.journal_entry AS j ON j.document_kind = 'sale' AND j.document_id = b.sale_id
    JOIN ledger.posting AS p ON p.entity = j.entity AND p.year = j.year AND p.number = j.number
    WHERE p.component = 'commission' AND b.currency <> %(base)s
        AND (%(known)s::timestamp IS NULL OR j.posted_at <= %(known)s)
    GROUP BY j.document_id
    HAVING min(p.rate) = max(p.rate)
)
SELECT b.partner, b.partner_account, b.transaction_id, b.line_id, b.kind, b.sale_id,
       coalesce(n.name, c.program_id, c.partner_program_id, 'Unknown program') AS program,
       b.expected, b.found, abs(coalesce(b.amount, 0)) AS amount, coalesce(b.currency, c.currency, '') AS currency,
       CASE WHEN coalesce(b.amount, 0) = 0 THEN 0 WHEN b.currency = %(base)s THEN abs(b.amount)
            ELSE round(abs(b.amount) * r.rate, 4) END AS base,
       b.opened_on, greatest(%(closing_on)s - b.opened_on, 0) AS age_days, b.opened_on < %(from)s AS is_old,
       coalesce(k.state, 'open') AS state, coalesce(k.state = 'decided', false) AS is_decided,
       c.delivery_id, c.row_number
FROM ops.break AS b
LEFT JOIN ops.stated_break(%(closing_on)s, %(known)s::timestamp) AS k USING (partner_account, transaction_id, line_id, kind)
LEFT JOIN report_current_row AS c USING (partner_account, transaction_id, line_id)
LEFT JOIN report_program_name AS n ON n.program_id = c.program_id
LEFT JOIN rate AS r ON r.document_id = b.sale_id
LEFT JOIN ops.run AS o ON o.run_id = b.opened_run
WHERE b.opened_on < %(until)s AND (%(known)s::timestamp IS NULL OR coalesce(o.started_at, b.opened_on) <= %(known)s)
