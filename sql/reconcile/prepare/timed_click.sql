-- purpose: the tracked rows of clicks of the hours that partners tell of sales without a reference.
-- grain: one tracked row.
-- reads: tracked_click, grouped_sale.
-- key: click_id, clicked_at, partner, program_id, member_id.
-- A superset of what candidate_click names by a time: it asks for the minute.
WITH told_hour AS (
    SELECT DISTINCT s.partner, s.program_id,
        date_trunc('hour', s.partner_clicked_at - INTERVAL 1 SECOND * s.partner_clicked_precision_seconds)
            + INTERVAL 1 HOUR * h.shift AS hour_at
    FROM grouped_sale AS s
    CROSS JOIN range(5) AS h(shift)
    WHERE s.click_ref IS NULL AND NOT s.is_reduction AND s.partner_clicked_precision_seconds BETWEEN 1 AND 3600
)
SELECT c.click_id, c.partner, c.program_id, c.member_id, c.clicked_at
FROM tracked_click AS c
SEMI JOIN told_hour AS h
    ON h.hour_at = date_trunc('hour', c.clicked_at) AND h.program_id = c.program_id AND h.partner = c.partner
ORDER BY ALL
