-- purpose: what is true of one row and must be judged exactly: money, time order. Great Expectations then wants true.
-- grain, key: row_number. Reads: row (canonical transactions of one delivery, or a part of them).
-- parameters: observed_at, sale_amount_max, commission_amount_max.
-- why: bounds given to Great Expectations become floats; here they stay decimals. Unknown (null) is not false.
SELECT
    row_number,
    abs(sale_amount) <= CAST($sale_amount_max AS DECIMAL(18, 4)) AS is_sale_amount_plausible,
    abs(commission_amount) <= CAST($commission_amount_max AS DECIMAL(18, 4)) AS is_commission_plausible,
    -- A bonus has no sale under it.
    kind = 'bonus' OR kind = 'lead' OR abs(commission_amount) <= abs(sale_amount) AS is_commission_within_sale,
    sale_amount * CAST(sign(commission_amount) AS INTEGER) >= 0 AS is_one_direction,
    -- A day, because a partner's clock and zone may differ from what it says.
    occurred_at >= TIMESTAMP '2000-01-01 00:00:00'
    AND occurred_at <= CAST($observed_at AS TIMESTAMP) + INTERVAL 1 DAY AS is_occurred_plausible,
    processed_at + INTERVAL 1 MINUTE >= occurred_at AS is_processed_after_sale,
    partner_clicked_at <= occurred_at + to_seconds(occurred_precision_seconds) AS is_clicked_before_sale
FROM row
ORDER BY row_number
