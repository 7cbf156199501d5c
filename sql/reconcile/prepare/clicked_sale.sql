-- purpose: the sales that may have another click now that there are new clicks and conversions, or more days are sealed.
-- grain: one sale.
-- reads: sale_link, new_click, new_conversion, conversion. Parameters shortest (the fewest characters a reference is cut
--        to), sealed_from, sealed_until (null: nothing was sealed).
-- key: sale_id.
WITH new_id AS (
    SELECT DISTINCT click_id FROM new_click
),
new_prefix AS (
    SELECT DISTINCT substr(lower(click_id), 1, $shortest) AS prefix FROM new_click
),
new_day AS (
    SELECT DISTINCT CAST(clicked_at AS DATE) + shift AS day_on
    FROM new_click
    CROSS JOIN (SELECT -1 AS shift UNION ALL SELECT 0 UNION ALL SELECT 1) AS s
),
new_order AS (
    SELECT order_ref FROM new_conversion
    UNION
    SELECT c.order_ref FROM conversion AS c SEMI JOIN new_id AS n ON n.click_id = c.click_id
)
SELECT DISTINCT sale_id
FROM (
    SELECT l.sale_id FROM sale_link AS l SEMI JOIN new_id AS n ON n.click_id = l.click_ref
    UNION ALL
    SELECT l.sale_id FROM sale_link AS l SEMI JOIN new_id AS n ON n.click_id = l.click_id
    UNION ALL
    SELECT l.sale_id
    FROM sale_link AS l
    SEMI JOIN new_prefix AS n ON n.prefix = substr(l.ref_folded, 1, $shortest)
    WHERE NOT coalesce(l.is_exact, FALSE)
    UNION ALL
    SELECT l.sale_id
    FROM sale_link AS l
    SEMI JOIN new_day AS n ON n.day_on = l.told_on
    WHERE NOT coalesce(l.is_exact, FALSE)
    UNION ALL
    SELECT l.sale_id FROM sale_link AS l SEMI JOIN new_order AS n ON n.order_ref = l.order_ref
    UNION ALL
    SELECT sale_id
    FROM sale_link
    WHERE NOT coalesce(is_exact, FALSE)
        AND waits_until > coalesce($sealed_from, TIMESTAMP '0001-01-01') AND waits_until <= $sealed_until
) AS touched
ORDER BY sale_id
