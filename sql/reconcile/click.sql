-- purpose: clicks as tracked, each once, whatever files hold it.
-- grain: one click.
-- reads: tracked_click.
-- key: click_id.
-- Two rows of one click that differ are the tracker's defect; the smallest is taken, in any order of files.
SELECT click_id, partner, program_id, member_id, clicked_at
FROM tracked_click
QUALIFY ROW_NUMBER() OVER (PARTITION BY click_id ORDER BY clicked_at, partner, program_id, member_id) = 1
ORDER BY click_id
