-- purpose: the rows that hold now of sales whose program has contract terms, as sql/accrue/contracted reads them.
-- grain: one transaction row.
-- reads: current_row, sale_match, row_term.
-- key: sale_id, step_on, transaction_id, line_id.
-- There is one step: now.
SELECT r.sale_id, $day AS step_on, r.transaction_id, r.line_id, r.kind, COALESCE(r.status, 'pending') AS status,
    r.sale_amount, r.commission_amount, r.currency, r.commission_group, r.customer_type, m.commission_rate
FROM current_row AS r
JOIN sale_match AS m ON m.sale_id = r.sale_id
JOIN (SELECT DISTINCT sale_id FROM row_term) AS t ON t.sale_id = r.sale_id
ORDER BY r.sale_id, r.transaction_id, r.line_id
