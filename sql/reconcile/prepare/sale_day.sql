-- purpose: the day of a sale in the books' zone.
-- grain: one sale.
-- reads: grouped_sale. Parameter books_zone.
-- key: sale_id.
SELECT sale_id, CAST(occurred_at AT TIME ZONE 'UTC' AT TIME ZONE $books_zone AS DATE) AS sale_on
FROM grouped_sale
ORDER BY sale_id
