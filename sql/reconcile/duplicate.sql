-- purpose: sales that are told twice, under two ids or by two partners, with the sale that wins.
-- grain: one sale that loses.
-- reads: grouped_sale, sale_match.
-- key: sale_id.
-- Told twice is: same merchant, currency and first amount, and the same order reference, or the same click reference
-- within a minute (or what the partner's clock tells; one that tells less than the hour is no evidence: the sum of a day
-- is no second sale because another day has the same). The smallest (occurred_at, key) wins; what is declined claims
-- nothing, so it does not compete. Few sales share their amount and a reference with another: only they are compared.
WITH claim AS NOT MATERIALIZED (
    SELECT sale_id, partner, partner_account, currency, first_sale_amount, order_ref, click_ref, occurred_at,
        occurred_precision_seconds
    FROM grouped_sale
    WHERE standing_count > 0 AND NOT is_reduction AND first_sale_amount > 0
),
shared_order AS (
    SELECT order_ref, currency, first_sale_amount
    FROM claim
    WHERE order_ref IS NOT NULL
    GROUP BY order_ref, currency, first_sale_amount
    HAVING COUNT(*) > 1
),
shared_click AS (
    SELECT click_ref, currency, first_sale_amount
    FROM claim
    WHERE click_ref IS NOT NULL AND occurred_precision_seconds <= 3600
    GROUP BY click_ref, currency, first_sale_amount
    HAVING COUNT(*) > 1
),
sharing AS (
    SELECT c.sale_id
    FROM claim AS c
    SEMI JOIN shared_order AS o
        ON o.order_ref = c.order_ref AND o.currency = c.currency AND o.first_sale_amount = c.first_sale_amount
    UNION
    SELECT c.sale_id
    FROM claim AS c
    SEMI JOIN shared_click AS o
        ON o.click_ref = c.click_ref AND o.currency = c.currency AND o.first_sale_amount = c.first_sale_amount
),
competing AS (
    SELECT s.sale_id, s.partner, s.partner_account, s.currency, s.first_sale_amount, s.order_ref, s.click_ref,
        s.occurred_at, s.occurred_precision_seconds, m.merchant_id
    FROM sharing AS o
    JOIN claim AS s ON s.sale_id = o.sale_id
    JOIN sale_match AS m ON m.sale_id = o.sale_id
    WHERE m.merchant_id IS NOT NULL
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
