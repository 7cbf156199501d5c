-- purpose: how many sales have cashback that waits for a rate, or for rows of one currency.
-- grain: one row.
-- reads: cashback.
SELECT COUNT(DISTINCT sale_id) AS sale_count
FROM cashback
WHERE is_waiting
ORDER BY sale_count
