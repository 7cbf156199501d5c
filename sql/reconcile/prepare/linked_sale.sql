-- purpose: the sales that share a reference, or the amount of a reversal, with some evidence.
-- grain: one sale.
-- reads: sale_link, evidence (its columns; click_id only where the click itself is evidence).
-- key: sale_id.
WITH told_click AS (
    SELECT click_ref FROM evidence WHERE click_ref IS NOT NULL
    UNION
    SELECT reduction_click_ref FROM evidence WHERE reduction_click_ref IS NOT NULL
),
told_amount AS (
    SELECT DISTINCT partner_account, partner_program_id, currency, -first_net_amount AS amount
    FROM evidence
    WHERE is_reduction AND first_net_amount <> 0
)
SELECT DISTINCT sale_id
FROM (
    SELECT l.sale_id FROM sale_link AS l SEMI JOIN evidence AS e ON e.order_ref = l.order_ref
    UNION ALL
    SELECT l.sale_id FROM sale_link AS l SEMI JOIN told_click AS c ON c.click_ref = l.click_ref
    UNION ALL
    SELECT l.sale_id FROM sale_link AS l SEMI JOIN told_click AS c ON c.click_ref = l.reduction_click_ref
    UNION ALL
    SELECT l.sale_id FROM sale_link AS l SEMI JOIN evidence AS e ON e.click_id = l.click_id
    UNION ALL
    SELECT l.sale_id
    FROM sale_link AS l
    SEMI JOIN told_amount AS a
        ON a.partner_account = l.partner_account AND a.partner_program_id = l.partner_program_id
        AND a.currency = l.currency AND a.amount = l.first_sale_amount
) AS linked
ORDER BY sale_id
