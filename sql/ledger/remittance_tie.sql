-- purpose: what is left in partner_clearing by what remittances told and pay, and by what is booked.
-- grain: one partner account and currency.
-- reads: standing, remittance_line, allocation, posted (of remittances, signed).
-- key: partner_account, currency.
-- Counted line by line here, and from nothing but the postings there.
WITH line AS (
    SELECT s.partner_account, s.currency, s.document_id, s.remittance_id, l.line_no, l.kind, l.amount_minor
    FROM standing AS s
    JOIN remittance_line AS l
        ON l.partner_account = s.partner_account AND l.remittance_id = s.remittance_id AND l.revision = s.revision
    WHERE s.is_allocated AND l.kind IN ('commission', 'adjustment')
),
told AS (
    SELECT partner_account, currency, amount_minor FROM line
    UNION ALL
    SELECT partner_account, currency, -amount_minor AS amount_minor FROM allocation
    UNION ALL
    SELECT partner_account, currency,
        CASE WHEN bank_currency = currency THEN bank_amount_minor ELSE told_minor END AS amount_minor
    FROM standing
    WHERE received_on IS NOT NULL AND NOT is_allocated
),
booked AS (
    SELECT credit_owner AS partner_account, split_part(asset, '/', 1) AS currency, amount AS amount_minor
    FROM posted
    WHERE credit_kind = 'partner_clearing'
    UNION ALL
    SELECT debit_owner AS partner_account, split_part(asset, '/', 1) AS currency, -amount AS amount_minor
    FROM posted
    WHERE debit_kind = 'partner_clearing'
),
side AS (
    SELECT partner_account, currency, amount_minor AS told_minor, CAST(0 AS BIGINT) AS booked_minor FROM told
    UNION ALL
    SELECT partner_account, currency, CAST(0 AS BIGINT) AS told_minor, amount_minor AS booked_minor FROM booked
)
SELECT partner_account, currency, CAST(SUM(told_minor) AS BIGINT) AS told_minor,
    CAST(SUM(booked_minor) AS BIGINT) AS booked_minor
FROM side
GROUP BY partner_account, currency
ORDER BY partner_account, currency
