-- purpose: the sales that transaction rows make up, with the program that was valid, before any click is looked for.
-- grain: one sale.
-- reads: current_row, several_row, program_state.
-- key: sale_id.
-- What a sale says of its click comes from the rows that make it, not from those that reduce it or that it moved to. The
-- leading row, its earliest that corrects nothing, stands for it in breaks. The program is the one valid at the sale,
-- else at the click the partner tells. Most sales have one row, and most programs never changed: only the others are put
-- in order.
WITH several AS (
    SELECT DISTINCT sale_id FROM several_row
),
-- What each row says of its sale.
said AS NOT MATERIALIZED (
    SELECT sale_id, partner, partner_account, transaction_id, line_id, kind, reason, partner_program_id, program_id,
        occurred_at, occurred_precision_seconds, currency, is_moved, is_reduction, is_correction,
        CASE WHEN NOT is_reduction AND NOT is_moved THEN click_ref END AS click_ref,
        CASE WHEN is_reduction THEN click_ref END AS reduction_click_ref,
        CASE WHEN NOT is_moved THEN order_ref END AS order_ref,
        CASE WHEN NOT is_reduction AND NOT is_moved THEN partner_clicked_at END AS partner_clicked_at,
        CASE WHEN NOT is_reduction AND NOT is_moved THEN partner_clicked_precision_seconds END
            AS partner_clicked_precision_seconds,
        CAST(CASE WHEN status IS DISTINCT FROM 'declined' THEN 1 ELSE 0 END AS BIGINT) AS standing_count,
        CASE WHEN status IS DISTINCT FROM 'declined' THEN sale_amount ELSE 0 END AS net_sale_amount,
        CASE WHEN status IS DISTINCT FROM 'declined' THEN commission_amount ELSE 0 END AS net_commission_amount,
        CASE WHEN NOT is_correction AND NOT is_moved THEN first_sale_amount ELSE 0 END AS first_sale_amount,
        CASE WHEN NOT is_moved THEN first_sale_amount ELSE 0 END AS first_net_amount
    FROM current_row
),
lead_row AS (
    SELECT r.sale_id, r.partner, r.partner_account, r.transaction_id, r.line_id, r.kind, r.reason, r.partner_program_id,
        r.program_id, r.occurred_at, r.occurred_precision_seconds, r.currency, r.is_reduction, r.is_correction
    FROM said AS r
    SEMI JOIN several AS s ON s.sale_id = r.sale_id
    QUALIFY ROW_NUMBER() OVER (
        PARTITION BY r.sale_id
        ORDER BY is_moved, is_reduction, is_correction, occurred_at, transaction_id, line_id
    ) = 1
),
total AS (
    SELECT r.sale_id,
        COALESCE(MIN(click_ref) <> MAX(click_ref), FALSE) AS is_ref_mixed,
        MIN(click_ref) AS click_ref,
        MIN(reduction_click_ref) AS reduction_click_ref,
        MIN(order_ref) AS order_ref,
        MIN(partner_clicked_at) AS partner_clicked_at,
        MAX(partner_clicked_precision_seconds) AS partner_clicked_precision_seconds,
        COALESCE(MIN(currency) <> MAX(currency), FALSE) AS is_currency_mixed,
        CAST(SUM(standing_count) AS BIGINT) AS standing_count,
        CAST(SUM(net_sale_amount) AS DECIMAL(18, 4)) AS net_sale_amount,
        CAST(SUM(net_commission_amount) AS DECIMAL(18, 4)) AS net_commission_amount,
        CAST(SUM(first_sale_amount) AS DECIMAL(18, 4)) AS first_sale_amount,
        CAST(SUM(first_net_amount) AS DECIMAL(18, 4)) AS first_net_amount
    FROM said AS r
    SEMI JOIN several AS s ON s.sale_id = r.sale_id
    GROUP BY r.sale_id
),
grouped AS NOT MATERIALIZED (
    SELECT r.sale_id, r.partner, r.partner_account, r.transaction_id, r.line_id, r.kind, r.reason, r.partner_program_id,
        r.program_id, r.occurred_at, r.occurred_precision_seconds, r.currency, r.is_reduction, r.is_correction,
        FALSE AS is_ref_mixed, r.click_ref, r.reduction_click_ref, r.order_ref, r.partner_clicked_at,
        r.partner_clicked_precision_seconds, FALSE AS is_currency_mixed, r.standing_count,
        CAST(r.net_sale_amount AS DECIMAL(18, 4)) AS net_sale_amount,
        CAST(r.net_commission_amount AS DECIMAL(18, 4)) AS net_commission_amount,
        CAST(r.first_sale_amount AS DECIMAL(18, 4)) AS first_sale_amount,
        CAST(r.first_net_amount AS DECIMAL(18, 4)) AS first_net_amount
    FROM said AS r
    ANTI JOIN several AS s ON s.sale_id = r.sale_id
    UNION ALL
    SELECT l.sale_id, l.partner, l.partner_account, l.transaction_id, l.line_id, l.kind, l.reason, l.partner_program_id,
        l.program_id, l.occurred_at, l.occurred_precision_seconds, l.currency, l.is_reduction, l.is_correction,
        t.is_ref_mixed, t.click_ref, t.reduction_click_ref, t.order_ref, t.partner_clicked_at,
        t.partner_clicked_precision_seconds, t.is_currency_mixed, t.standing_count, t.net_sale_amount,
        t.net_commission_amount, t.first_sale_amount, t.first_net_amount
    FROM lead_row AS l
    JOIN total AS t ON t.sale_id = l.sale_id
),
resolved AS (
    SELECT g.sale_id, p.program_id, p.merchant_id, p.currency, p.commission_rate, p.lookback_days
    FROM grouped AS g
    JOIN program_state AS p
        ON NOT p.is_lasting AND p.partner = g.partner AND p.partner_program_id = g.partner_program_id
        AND (g.program_id IS NULL OR g.program_id = p.program_id)
    WHERE (p.valid_from <= g.occurred_at AND (p.valid_until IS NULL OR g.occurred_at < p.valid_until))
        OR (p.valid_from <= g.partner_clicked_at AND (p.valid_until IS NULL OR g.partner_clicked_at < p.valid_until))
    QUALIFY ROW_NUMBER() OVER (
        PARTITION BY g.sale_id
        ORDER BY CASE WHEN p.valid_from <= g.occurred_at AND (p.valid_until IS NULL OR g.occurred_at < p.valid_until)
            THEN 0 ELSE 1 END, p.valid_from DESC, p.program_id
    ) = 1
)
SELECT g.sale_id, g.partner, g.partner_account, g.transaction_id, g.line_id, g.kind, g.partner_program_id,
    g.program_id AS told_program_id, COALESCE(r.program_id, p.program_id) AS program_id,
    COALESCE(r.merchant_id, p.merchant_id) AS merchant_id, COALESCE(r.currency, p.currency) AS program_currency,
    COALESCE(r.commission_rate, p.commission_rate) AS commission_rate,
    COALESCE(r.lookback_days, p.lookback_days) AS lookback_days, g.occurred_at,
    g.occurred_at + INTERVAL 1 SECOND * GREATEST(g.occurred_precision_seconds, 0) AS occurred_until,
    g.occurred_precision_seconds, g.currency,
    -- A sale of corrections only has no original.
    g.is_reduction OR g.is_correction AS is_reduction, g.is_reduction AS is_lead_reduction,
    g.kind IN ('bonus', 'adjustment') OR COALESCE(g.reason, '') IN ('coupon', 'cross_device') AS is_click_unexpected,
    g.is_ref_mixed, g.click_ref, g.reduction_click_ref, g.order_ref, g.partner_clicked_at,
    g.partner_clicked_precision_seconds, g.is_currency_mixed, g.standing_count, g.net_sale_amount,
    g.net_commission_amount, g.first_sale_amount, g.first_net_amount
FROM grouped AS g
LEFT JOIN program_state AS p
    ON p.is_lasting AND p.partner = g.partner AND p.partner_program_id = g.partner_program_id
    AND (g.program_id IS NULL OR g.program_id = p.program_id)
    AND ((p.valid_from <= g.occurred_at AND (p.valid_until IS NULL OR g.occurred_at < p.valid_until))
        OR (p.valid_from <= g.partner_clicked_at
            AND (p.valid_until IS NULL OR g.partner_clicked_at < p.valid_until)))
LEFT JOIN resolved AS r ON r.sale_id = g.sale_id
ORDER BY g.sale_id
