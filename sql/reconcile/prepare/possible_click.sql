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
told_ref AS (
    SELECT DISTINCT ref_folded FROM folded_ref
),
-- 0 where no reference may be cut, so that every click is asked once.
cut_length AS (
    SELECT DISTINCT t.ref_length FROM truncation AS t SEMI JOIN folded_ref AS f ON f.ref_length = t.ref_length
    UNION ALL
    SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM truncation AS t JOIN folded_ref AS f ON f.ref_length = t.ref_length)
)
SELECT DISTINCT c.click_id
FROM tracked_click AS c
CROSS JOIN cut_length AS n
LEFT JOIN told_hour AS h ON h.hour_at = date_trunc('hour', c.clicked_at)
LEFT JOIN told_ref AS r ON r.ref_folded = lower(c.click_id)
LEFT JOIN told_ref AS k
    ON k.ref_folded = CASE WHEN length(c.click_id) > n.ref_length THEN substr(lower(c.click_id), 1, n.ref_length) END
WHERE h.hour_at IS NOT NULL OR r.ref_folded IS NOT NULL OR k.ref_folded IS NOT NULL
ORDER BY c.click_id
