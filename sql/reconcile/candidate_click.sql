-- purpose: the clicks each rule but the exact one would name for a sale; a rule speaks only if it names one.
-- grain: one click a rule names for a sale.
-- reads: grouped_sale, exact_click, folded_ref, truncation, conversion, click.
-- key: sale_id, rule, click_id.
-- Each branch reads the clicks once, joined to the few sales left by the exact rule, by equality (of hours, for times),
-- so that it costs one pass however many clicks there are. A click time is looked for one precision to either side, as
-- clocks differ; a partner that tells less than the hour tells no click time.
WITH residue AS (
    SELECT s.sale_id, s.partner, s.program_id, s.click_ref, s.order_ref, f.ref_folded, f.ref_length,
        s.partner_clicked_at - INTERVAL 1 SECOND * s.partner_clicked_precision_seconds AS told_from,
        s.partner_clicked_at + INTERVAL 1 SECOND * (2 * s.partner_clicked_precision_seconds) AS told_until,
        s.partner_clicked_precision_seconds BETWEEN 1 AND 3600 AS is_time_told
    FROM grouped_sale AS s
    LEFT JOIN folded_ref AS f ON f.click_ref = s.click_ref
    WHERE NOT s.is_reduction AND NOT s.is_ref_mixed AND NOT s.is_click_unexpected
        AND NOT EXISTS (SELECT 1 FROM exact_click AS e WHERE e.sale_id = s.sale_id)
),
hour_of_sale AS (
    SELECT r.sale_id, r.partner, r.program_id, r.told_from, r.told_until,
        date_trunc('hour', r.told_from) + INTERVAL 1 HOUR * h.shift AS hour_at
    FROM residue AS r
    CROSS JOIN (
        SELECT 0 AS shift UNION ALL SELECT 1 AS shift UNION ALL SELECT 2 AS shift UNION ALL SELECT 3 AS shift
        UNION ALL SELECT 4 AS shift
    ) AS h
    WHERE r.is_time_told AND r.program_id IS NOT NULL
),
bent AS (
    SELECT sale_id, ref_folded FROM residue WHERE ref_folded IS NOT NULL
),
cut AS (
    SELECT r.sale_id, r.ref_folded, r.ref_length
    FROM residue AS r
    JOIN truncation AS t ON t.ref_length = r.ref_length
),
cut_length AS (
    SELECT DISTINCT ref_length FROM cut
),
-- A prefix has the length it was cut to, so that equality says all: with the length as a second condition the planner
-- would compare every click with every reference.
shortened AS (
    SELECT c.click_id, c.partner, c.program_id, c.member_id, c.clicked_at,
        CASE WHEN length(c.click_id) > n.ref_length THEN substr(lower(c.click_id), 1, n.ref_length) END AS prefix
    FROM click AS c
    CROSS JOIN cut_length AS n
),
ordered AS (
    SELECT DISTINCT r.sale_id, r.partner, r.program_id, v.click_id
    FROM residue AS r
    JOIN conversion AS v ON v.order_ref = r.order_ref
    WHERE v.click_id IS NOT NULL AND r.program_id IS NOT NULL
),
named AS (
    SELECT b.sale_id, 'click_ref_repaired' AS rule, c.click_id, c.partner, c.program_id, c.member_id, c.clicked_at
    FROM click AS c
    JOIN bent AS b ON b.ref_folded = lower(c.click_id)
    UNION ALL
    SELECT b.sale_id, 'click_ref_repaired' AS rule, c.click_id, c.partner, c.program_id, c.member_id, c.clicked_at
    FROM shortened AS c
    JOIN cut AS b ON b.ref_folded = c.prefix
    UNION ALL
    SELECT o.sale_id, 'order_ref' AS rule, c.click_id, c.partner, c.program_id, c.member_id, c.clicked_at
    FROM click AS c
    JOIN ordered AS o ON o.click_id = c.click_id AND o.program_id = c.program_id AND o.partner = c.partner
    UNION ALL
    SELECT h.sale_id, 'click_time' AS rule, c.click_id, c.partner, c.program_id, c.member_id, c.clicked_at
    FROM click AS c
    JOIN hour_of_sale AS h
        ON h.hour_at = date_trunc('hour', c.clicked_at) AND h.program_id = c.program_id AND h.partner = c.partner
    WHERE c.clicked_at >= h.told_from AND c.clicked_at < h.told_until
),
once AS (
    SELECT sale_id, rule, click_id, partner, program_id, member_id, clicked_at
    FROM named
    QUALIFY ROW_NUMBER() OVER (
        PARTITION BY sale_id, rule, click_id ORDER BY clicked_at, partner, program_id, member_id
    ) = 1
)
-- A reference that contradicts its click is never matched by itself: a sale with one may only be given a click that the
-- reference could be a bent form of.
SELECT o.sale_id, o.rule, o.click_id, o.partner, o.program_id, o.member_id, o.clicked_at
FROM once AS o
JOIN residue AS r ON r.sale_id = o.sale_id
WHERE o.rule = 'click_ref_repaired' OR r.click_ref IS NULL
    OR EXISTS (
        SELECT 1 FROM once AS x
        WHERE x.sale_id = o.sale_id AND x.rule = 'click_ref_repaired' AND x.click_id = o.click_id
    )
ORDER BY o.sale_id, o.rule, o.click_id
