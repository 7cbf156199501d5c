-- purpose: sales that are told twice, under two ids or by two partners, with the sale that wins.
-- grain: one sale that loses.
-- reads: grouped_sale, sale_match.
-- key: sale_id.
-- Told twice is: same merchant, currency and first amount, and the same order reference, or the same click reference
-- within a minute (or what the partner's clock tells; one that tells less than the hour is no evidence: the sum of a day
-- is no second sale because another day has the same). The smallest (occurred_at, key) wins; what is declined claims
-- nothing, so it does not compete.
WITH competing AS (
    SELECT s.sale_id, s.partner, s.partner_account, s.transaction_id, s.line_id, s.currency, s.first_sale_amount,
        s.order_ref, s.click_ref, s.occurred_at, s.occurred_precision_seconds, m.merchant_id
    FROM grouped_sale AS s
    JOIN sale_match AS m ON m.sale_id = s.sale_id
    WHERE m.merchant_id IS NOT NULL AND s.standing_count > 0 AND NOT s.is_reduction AND s.first_sale_amount > 0
),
by_order AS (
    SELECT sale_id,
        FIRST_VALUE(sale_id) OVER (
            PARTITION BY merchant_id, currency, first_sale_amount, order_ref
            ORDER BY occurred_at, partner, partner_account, sale_id
        ) AS winner_id
    FROM competing
    WHERE order_ref IS NOT NULL
),
by_click AS (
    SELECT sale_id, occurred_at, occurred_precision_seconds,
        LAG(sale_id) OVER told AS winner_id,
        LAG(occurred_at) OVER told AS winner_at,
        LAG(occurred_precision_seconds) OVER told AS winner_precision_seconds
    FROM competing
    WHERE click_ref IS NOT NULL AND occurred_precision_seconds <= 3600
    WINDOW told AS (
        PARTITION BY merchant_id, currency, first_sale_amount, click_ref
        ORDER BY occurred_at, partner, partner_account, sale_id
    )
),
losing AS (
    SELECT sale_id, winner_id, 'order reference' AS evidence FROM by_order WHERE winner_id <> sale_id
    UNION ALL
    SELECT sale_id, winner_id, 'click reference' AS evidence
    FROM by_click
    WHERE winner_id IS NOT NULL AND occurred_at <= winner_at
        + INTERVAL 1 SECOND * GREATEST(60, occurred_precision_seconds, winner_precision_seconds)
)
SELECT sale_id, winner_id, evidence
FROM losing
QUALIFY ROW_NUMBER() OVER (PARTITION BY sale_id ORDER BY evidence DESC, winner_id) = 1
ORDER BY sale_id
