-- purpose: what a sale can be found by (see sale_link) before its click is looked for.
-- grain: one sale.
-- reads: grouped_sale.
-- key: sale_id.
SELECT sale_id, partner_account, partner_program_id, currency, order_ref, click_ref, reduction_click_ref,
    CAST(NULL AS VARCHAR) AS ref_folded, CAST(NULL AS VARCHAR) AS click_id, first_sale_amount, first_net_amount,
    is_reduction, FALSE AS is_exact, CAST(NULL AS DATE) AS told_on, CAST(NULL AS TIMESTAMP) AS waits_until
FROM grouped_sale
ORDER BY sale_id
