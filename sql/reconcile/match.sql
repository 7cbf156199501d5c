-- purpose: the click each transaction row belongs to, by the rule that found it.
-- grain: one transaction row.
-- reads: several_row, sale.
-- key: partner, partner_account, transaction_id, line_id.
-- A row that reduces a sale follows its original, with no window or time test. A sale of one row says all of it.
WITH told AS NOT MATERIALIZED (
    SELECT s.partner, s.partner_account, s.transaction_id, s.line_id, s.is_lead_reduction AS is_reduction, s.outcome,
        s.click_id, s.rule
    FROM sale AS s
    ANTI JOIN several_row AS r ON r.sale_id = s.sale_id
    UNION ALL
    SELECT r.partner, r.partner_account, r.transaction_id, r.line_id, r.is_reduction, s.outcome, s.click_id, s.rule
    FROM several_row AS r
    JOIN sale AS s ON s.sale_id = r.sale_id
)
SELECT partner, partner_account, transaction_id, line_id, outcome, click_id,
    CASE WHEN outcome <> 'matched' THEN NULL WHEN is_reduction THEN 'original' ELSE rule END AS rule
FROM told
ORDER BY partner, partner_account, transaction_id, line_id
