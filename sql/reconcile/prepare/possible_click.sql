-- purpose: the clicks that sales without an exact one may be matched to by a bent reference or a time.
-- grain: one click.
-- reads: tracked_click, grouped_sale, exact_click, folded_ref, truncation.
-- key: click_id.
-- A superset of what candidate_click names: of times, the hours alone.
WITH residue AS (
    SELECT s.click_ref, s.partner_clicked_at, s.partner_clicked_precision_seconds
    FROM grouped_sale AS s
    ANTI JOIN exact_click AS e ON e.click_id = s.click_ref
    WHERE NOT s.is_reduction
),
told_hour AS (
    SELECT DISTINCT date_trunc('hour', partner_clicked_at - INTERVAL 1 SECOND * partner_clicked_precision_seconds)
        + INTERVAL 1 HOUR * h.shift AS hour_at
    FROM residue
    CROSS JOIN range(5) AS h(shift)
    WHERE partner_clicked_precision_seconds BETWEEN 1 AND 3600
),
told_prefix AS (
    SELECT DISTINCT substr(f.ref_folded, 1, l.shortest) AS prefix
    FROM folded_ref AS f
    CROSS JOIN (SELECT min(ref_length) AS shortest FROM truncation) AS l
)
SELECT DISTINCT click_id
FROM (
    SELECT c.click_id
    FROM tracked_click AS c
    SEMI JOIN told_hour AS h ON h.hour_at = date_trunc('hour', c.clicked_at)
    UNION ALL
    SELECT c.click_id
    FROM tracked_click AS c
    CROSS JOIN (SELECT min(ref_length) AS shortest FROM truncation) AS l
    SEMI JOIN told_prefix AS p ON p.prefix = substr(lower(c.click_id), 1, l.shortest)
) AS possible
ORDER BY click_id
