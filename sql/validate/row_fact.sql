-- purpose: what is true of one row and must be judged exactly: money, time order. Great Expectations then wants true.
-- grain, key: row_number. Reads: row (canonical transactions of some deliveries, numbered over all of them),
--   delivery (delivery_id, observed_at). Parameters: sale_amount_max, commission_amount_max.
-- why: bounds given to Great Expectations become floats; here they stay decimals. Unknown (null) is not false.
SELECT
    r.row_number,
    abs(r.sale_amount) <= CAST($sale_amount_max AS DECIMAL(18, 4)) AS is_sale_amount_plausible,
    abs(r.commission_amount) <= CAST($commission_amount_max AS DECIMAL(18, 4)) AS is_commission_plausible,
    -- A bonus has no sale under it.
    r.kind = 'bonus' OR r.kind = 'lead' OR abs(r.commission_amount) <= abs(r.sale_amount) AS is_commission_within_sale,
    r.sale_amount * CAST(sign(r.commission_amount) AS INTEGER) >= 0 AS is_one_direction,
    -- A day, because a partner's clock and zone may differ from what it says.
    r.occurred_at >= TIMESTAMP '2000-01-01 00:00:00'
    AND r.occurred_at <= d.observed_at + INTERVAL 1 DAY AS is_occurred_plausible,
    r.processed_at + INTERVAL 1 MINUTE >= r.occurred_at AS is_processed_after_sale,
    r.partner_clicked_at <= r.occurred_at + to_seconds(r.occurred_precision_seconds) AS is_clicked_before_sale
FROM row AS r
LEFT JOIN delivery AS d ON d.delivery_id = r.delivery_id
ORDER BY r.row_number
