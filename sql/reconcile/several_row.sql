-- purpose: the rows of sales that have more than one.
-- grain: one transaction row.
-- reads: current_row.
-- key: partner_account, transaction_id, line_id.
-- Most sales have one row, which their sale says all of: only these are looked at row by row.
WITH several AS (
    SELECT sale_id FROM current_row GROUP BY sale_id HAVING COUNT(*) > 1
)
SELECT r.sale_id, r.partner, r.partner_account, r.transaction_id, r.line_id, r.is_reduction
FROM current_row AS r
SEMI JOIN several AS s ON s.sale_id = r.sale_id
ORDER BY r.partner_account, r.transaction_id, r.line_id
