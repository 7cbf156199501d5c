-- purpose: the sales that transaction rows make up, with the program that was valid, before any click is looked for.
-- grain: one sale.
-- reads: current_row, program.
-- key: sale_id.
-- What a sale says of its click comes from the rows that make it, not from those that reduce it or that it moved to. The
-- leading row, its earliest that corrects nothing, stands for it in breaks. The program is the one valid at the sale,
-- else at the click the partner tells.
WITH lead_row AS (
    SELECT sale_id, partner, partner_account, transaction_id, line_id, kind, reason, partner_program_id, program_id,
        occurred_at, occurred_precision_seconds, currency,
        -- A sale of corrections only has no original.
        is_reduction OR is_correction AS is_reduction,
        occurred_at + INTERVAL 1 SECOND * GREATEST(occurred_precision_seconds, 0) AS occurred_until
    FROM current_row
    QUALIFY ROW_NUMBER() OVER (
        PARTITION BY sale_id
        ORDER BY is_moved, is_reduction, is_correction, occurred_at, transaction_id, line_id
    ) = 1
),
total AS (
    SELECT sale_id,
        COUNT(DISTINCT click_ref) FILTER (WHERE NOT is_reduction AND NOT is_moved) AS ref_count,
        MIN(click_ref) FILTER (WHERE NOT is_reduction AND NOT is_moved) AS click_ref,
        MIN(click_ref) FILTER (WHERE is_reduction) AS reduction_click_ref,
        MIN(order_ref) FILTER (WHERE NOT is_moved) AS order_ref,
        MIN(partner_clicked_at) FILTER (WHERE NOT is_reduction AND NOT is_moved) AS partner_clicked_at,
        MAX(partner_clicked_precision_seconds) FILTER (WHERE NOT is_reduction AND NOT is_moved)
            AS partner_clicked_precision_seconds,
        COUNT(DISTINCT currency) AS currency_count,
        COUNT(*) FILTER (WHERE status IS DISTINCT FROM 'declined') AS standing_count,
        CAST(COALESCE(SUM(sale_amount) FILTER (WHERE status IS DISTINCT FROM 'declined'), 0) AS DECIMAL(18, 4))
            AS net_sale_amount,
        CAST(COALESCE(SUM(commission_amount) FILTER (WHERE status IS DISTINCT FROM 'declined'), 0) AS DECIMAL(18, 4))
            AS net_commission_amount,
        CAST(COALESCE(SUM(first_sale_amount) FILTER (WHERE NOT is_correction AND NOT is_moved), 0) AS DECIMAL(18, 4))
            AS first_sale_amount,
        CAST(COALESCE(SUM(first_sale_amount) FILTER (WHERE NOT is_moved), 0) AS DECIMAL(18, 4)) AS first_net_amount
    FROM current_row
    GROUP BY sale_id
),
resolved AS (
    SELECT l.sale_id, p.program_id, p.merchant_id, p.currency AS program_currency, p.commission_rate, p.lookback_days,
        p.validation_days
    FROM lead_row AS l
    JOIN total AS t ON t.sale_id = l.sale_id
    JOIN program AS p
        ON p.partner = l.partner AND p.partner_program_id = l.partner_program_id
        AND (l.program_id IS NULL OR l.program_id = p.program_id)
    WHERE (p.valid_from <= l.occurred_at AND (p.valid_until IS NULL OR l.occurred_at < p.valid_until))
        OR (p.valid_from <= t.partner_clicked_at AND (p.valid_until IS NULL OR t.partner_clicked_at < p.valid_until))
    QUALIFY ROW_NUMBER() OVER (
        PARTITION BY l.sale_id
        ORDER BY CASE WHEN p.valid_from <= l.occurred_at AND (p.valid_until IS NULL OR l.occurred_at < p.valid_until)
            THEN 0 ELSE 1 END, p.valid_from DESC, p.program_id
    ) = 1
)
SELECT l.sale_id, l.partner, l.partner_account, l.transaction_id, l.line_id, l.kind, l.partner_program_id,
    l.program_id AS told_program_id, r.program_id, r.merchant_id, r.program_currency, r.commission_rate,
    r.lookback_days, r.validation_days, l.occurred_at, l.occurred_until, l.occurred_precision_seconds, l.currency,
    l.is_reduction,
    l.kind IN ('bonus', 'adjustment') OR COALESCE(l.reason, '') IN ('coupon', 'cross_device') AS is_click_unexpected,
    t.ref_count > 1 AS is_ref_mixed, t.click_ref, t.reduction_click_ref, t.order_ref, t.partner_clicked_at,
    t.partner_clicked_precision_seconds, t.currency_count > 1 AS is_currency_mixed, t.standing_count,
    t.net_sale_amount, t.net_commission_amount, t.first_sale_amount, t.first_net_amount
FROM lead_row AS l
JOIN total AS t ON t.sale_id = l.sale_id
LEFT JOIN resolved AS r ON r.sale_id = l.sale_id
ORDER BY l.sale_id
