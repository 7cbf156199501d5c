-- purpose: when the clicks happened that the reference of a sale could mean, unless the rules match it to the very click.
-- grain: one sale with a click reference.
-- reads: grouped_sale, exact_click, candidate_click, sale_match, settled_match, decision.
-- key: sale_id.
-- Where the rules match a sale to the click of its reference, ops.sale says when that was: but for a sale that a payout
-- holds on to or that a person decided about. Whether a reference is bent is not asked of every sale (is_bent_known).
WITH apart AS (
    SELECT sale_id FROM sale_match WHERE outcome <> 'matched' OR rule <> 'click_ref'
    UNION
    SELECT sale_id FROM settled_match
    UNION
    SELECT sale_id FROM decision WHERE sale_id IS NOT NULL
),
asked AS (
    SELECT s.sale_id, s.click_ref, NOT s.is_reduction AND NOT s.is_ref_mixed AND NOT s.is_click_unexpected AS is_bent_asked
    FROM grouped_sale AS s
    SEMI JOIN apart AS a ON a.sale_id = s.sale_id
    WHERE s.click_ref IS NOT NULL
),
meant AS (
    SELECT sale_id, MIN(clicked_at) AS first_at, MAX(clicked_at) AS last_at
    FROM candidate_click
    GROUP BY sale_id
)
SELECT s.sale_id, s.click_ref, s.is_bent_asked OR e.click_id IS NOT NULL AS is_bent_known,
    COALESCE(e.clicked_at, m.first_at) AS first_at, COALESCE(e.clicked_at, m.last_at) AS last_at
FROM asked AS s
LEFT JOIN exact_click AS e ON e.click_id = s.click_ref
LEFT JOIN meant AS m ON m.sale_id = s.sale_id
ORDER BY s.sale_id
