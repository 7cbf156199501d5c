-- purpose: the rows of which something is to be told beside their sale: absent, changed against the rules, contradicted.
-- grain: one transaction row.
-- reads: current_row, conflict.
-- key: partner_account, transaction_id, line_id.
WITH contradicted AS (
    SELECT DISTINCT partner_account, transaction_id, line_id FROM conflict
)
SELECT r.partner, r.partner_account, r.transaction_id, r.line_id, r.sale_id, r.commission_amount, r.currency,
    r.is_absent, r.absent_since, r.illegal_change, r.changed_at
FROM current_row AS r
LEFT JOIN contradicted AS c
    ON c.partner_account = r.partner_account AND c.transaction_id = r.transaction_id AND c.line_id = r.line_id
WHERE r.is_absent OR r.illegal_change IS NOT NULL OR c.transaction_id IS NOT NULL
ORDER BY r.partner_account, r.transaction_id, r.line_id
