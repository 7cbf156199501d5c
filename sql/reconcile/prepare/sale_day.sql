-- purpose: the day in the books' zone of the instants at which sales were made.
-- grain: one instant.
-- reads: grouped_sale. Parameter books_zone.
-- key: occurred_at.
WITH told AS (
    SELECT DISTINCT occurred_at FROM grouped_sale
)
SELECT occurred_at, CAST(occurred_at AT TIME ZONE 'UTC' AT TIME ZONE $books_zone AS DATE) AS sale_on
FROM told
ORDER BY occurred_at
