-- purpose: the ids of clicks.
-- grain: one click.
-- reads: new_click.
-- key: click_id.
SELECT DISTINCT click_id
FROM new_click
ORDER BY click_id
