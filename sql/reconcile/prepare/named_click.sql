-- purpose: all tracked rows of some clicks.
-- grain: one tracked row.
-- reads: tracked_click, named.
-- key: click_id, clicked_at, partner, program_id, member_id.
SELECT c.click_id, c.partner, c.program_id, c.member_id, c.clicked_at
FROM tracked_click AS c
SEMI JOIN named AS n ON n.click_id = c.click_id
ORDER BY ALL
