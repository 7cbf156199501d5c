-- purpose: the click each transaction row belongs to, by the rule that found it.
-- grain: one transaction row.
-- reads: current_row, sale.
-- key: partner, partner_account, transaction_id, line_id.
-- A row that reduces a sale follows its original, with no window or time test.
SELECT r.partner, r.partner_account, r.transaction_id, r.line_id, s.outcome, s.click_id,
    CASE WHEN s.outcome <> 'matched' THEN NULL WHEN r.is_reduction THEN 'original' ELSE s.rule END AS rule
FROM current_row AS r
JOIN sale AS s ON s.sale_id = r.sale_id
ORDER BY r.partner, r.partner_account, r.transaction_id, r.line_id
