-- purpose: the clicks that are tracked more than once.
-- grain: one click.
-- reads: tracked_click.
-- key: click_id.
SELECT click_id
FROM tracked_click
GROUP BY click_id
HAVING count(*) > 1
ORDER BY click_id
