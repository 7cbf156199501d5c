-- purpose: the clicks each rule but the exact one would name for a sale; a rule speaks only if it names one.
-- grain: one click a rule names for a sale.
-- reads: grouped_sale, folded_ref, truncation, conversion, click.
-- key: sale_id, rule, click_id.
-- Clicks are read once, whatever rules there are: first those that any rule could name for the few sales left by the
-- exact one, by equality (of a reference, of what a network cut it to, of a minute or an hour), then each rule's own
-- test. Before references, the first characters are looked up, which few clicks share; where ids begin alike all do, and
-- that costs time but no room. A click time is looked for one precision to either side, as clocks differ; a partner that
-- tells less than the hour tells no click time.
-- A reference that contradicts its click is never matched by itself: a sale with one may only be given a click that the
-- reference could be a bent form of, so for it times and orders are looked for among those clicks alone.
WITH residue AS MATERIALIZED (
    SELECT s.sale_id, s.partner, s.program_id, s.click_ref, s.order_ref, f.ref_folded, f.ref_length,
        s.partner_clicked_at - INTERVAL 1 SECOND * s.partner_clicked_precision_seconds AS told_from,
        s.partner_clicked_at + INTERVAL 1 SECOND * (2 * s.partner_clicked_precision_seconds) AS told_until,
        s.partner_clicked_precision_seconds BETWEEN 1 AND 60 AS is_minute_told,
        s.partner_clicked_precision_seconds BETWEEN 61 AND 3600 AS is_hour_told
    FROM grouped_sale AS s
    LEFT JOIN folded_ref AS f ON f.click_ref = s.click_ref
    WHERE NOT s.is_reduction AND NOT s.is_ref_mixed AND NOT s.is_click_unexpected
        -- A reference that was not folded is a click's, letter for letter.
        AND (s.click_ref IS NULL OR f.click_ref IS NOT NULL)
),
shift AS (
    SELECT 0 AS shift UNION ALL SELECT 1 AS shift UNION ALL SELECT 2 AS shift UNION ALL SELECT 3 AS shift
),
-- What a partner tells spans three precisions: four minutes or hours at most.
minute_of_sale AS (
    SELECT r.sale_id, r.partner, r.program_id, r.click_ref, r.told_from, r.told_until,
        date_trunc('minute', r.told_from) + INTERVAL 1 MINUTE * h.shift AS minute_at
    FROM residue AS r
    CROSS JOIN shift AS h
    WHERE r.is_minute_told AND r.program_id IS NOT NULL
),
hour_of_sale AS (
    SELECT r.sale_id, r.partner, r.program_id, r.click_ref, r.told_from, r.told_until,
        date_trunc('hour', r.told_from) + INTERVAL 1 HOUR * h.shift AS hour_at
    FROM residue AS r
    CROSS JOIN shift AS h
    WHERE r.is_hour_told AND r.program_id IS NOT NULL
),
cut AS (
    SELECT r.sale_id, r.ref_folded, r.ref_length
    FROM residue AS r
    JOIN truncation AS t ON t.ref_length = r.ref_length
),
-- How long the references are that a network may have cut; 0 where there is none, so that every click is asked once.
cut_length AS (
    SELECT DISTINCT ref_length FROM cut
    UNION ALL
    SELECT 0 AS ref_length WHERE NOT EXISTS (SELECT 1 FROM cut)
),
bent_ref AS (
    SELECT DISTINCT ref_folded FROM residue WHERE ref_folded IS NOT NULL
),
cut_ref AS (
    SELECT DISTINCT ref_folded FROM cut
),
ordered AS (
    SELECT DISTINCT r.sale_id, r.partner, r.program_id, r.click_ref, v.click_id
    FROM residue AS r
    JOIN conversion AS v ON v.order_ref = r.order_ref
    WHERE v.click_id IS NOT NULL AND r.program_id IS NOT NULL
),
told_minute AS (
    SELECT DISTINCT partner, program_id, minute_at FROM minute_of_sale WHERE click_ref IS NULL
),
told_hour AS (
    SELECT DISTINCT partner, program_id, hour_at FROM hour_of_sale WHERE click_ref IS NULL
),
ordered_click AS (
    SELECT DISTINCT click_id FROM ordered WHERE click_ref IS NULL
),
-- Texts of twelve characters are compared fastest.
first_character AS (
    SELECT LEAST(12, MIN(ref_length)) AS character_count FROM truncation
),
beginning AS (
    SELECT DISTINCT substr(b.ref_folded, 1, n.character_count) AS prefix
    FROM bent_ref AS b
    CROSS JOIN first_character AS n
),
near AS NOT MATERIALIZED (
    SELECT c.click_id, c.partner, c.program_id, c.member_id, c.clicked_at, lower(c.click_id) AS id_folded,
        o.click_id IS NOT NULL OR m.minute_at IS NOT NULL OR h.hour_at IS NOT NULL AS is_near
    FROM click AS c
    CROSS JOIN first_character AS n
    LEFT JOIN beginning AS b ON b.prefix = lower(substr(c.click_id, 1, n.character_count))
    LEFT JOIN ordered_click AS o ON o.click_id = c.click_id
    LEFT JOIN told_minute AS m
        ON m.minute_at = date_trunc('minute', c.clicked_at) AND m.program_id = c.program_id AND m.partner = c.partner
    LEFT JOIN told_hour AS h
        ON h.hour_at = date_trunc('hour', c.clicked_at) AND h.program_id = c.program_id AND h.partner = c.partner
    WHERE b.prefix IS NOT NULL OR o.click_id IS NOT NULL OR m.minute_at IS NOT NULL OR h.hour_at IS NOT NULL
),
possible AS MATERIALIZED (
    SELECT c.click_id, c.partner, c.program_id, c.member_id, c.clicked_at, c.id_folded, k.ref_folded AS cut_folded
    FROM near AS c
    CROSS JOIN cut_length AS n
    LEFT JOIN bent_ref AS b ON b.ref_folded = c.id_folded
    LEFT JOIN cut_ref AS k
        ON k.ref_folded = CASE WHEN length(c.id_folded) > n.ref_length THEN substr(c.id_folded, 1, n.ref_length) END
    WHERE c.is_near OR b.ref_folded IS NOT NULL OR k.ref_folded IS NOT NULL
),
named AS (
    SELECT b.sale_id, 'click_ref_repaired' AS rule, c.click_id, c.partner, c.program_id, c.member_id, c.clicked_at
    FROM possible AS c
    JOIN residue AS b ON b.ref_folded = c.id_folded
    UNION ALL
    SELECT b.sale_id, 'click_ref_repaired' AS rule, c.click_id, c.partner, c.program_id, c.member_id, c.clicked_at
    FROM possible AS c
    JOIN cut AS b ON b.ref_folded = c.cut_folded
    UNION ALL
    SELECT o.sale_id, 'order_ref' AS rule, c.click_id, c.partner, c.program_id, c.member_id, c.clicked_at
    FROM possible AS c
    JOIN ordered AS o ON o.click_id = c.click_id AND o.program_id = c.program_id AND o.partner = c.partner
    UNION ALL
    SELECT m.sale_id, 'click_time' AS rule, c.click_id, c.partner, c.program_id, c.member_id, c.clicked_at
    FROM possible AS c
    JOIN minute_of_sale AS m
        ON m.minute_at = date_trunc('minute', c.clicked_at) AND m.program_id = c.program_id AND m.partner = c.partner
    WHERE c.clicked_at >= m.told_from AND c.clicked_at < m.told_until
    UNION ALL
    SELECT h.sale_id, 'click_time' AS rule, c.click_id, c.partner, c.program_id, c.member_id, c.clicked_at
    FROM possible AS c
    JOIN hour_of_sale AS h
        ON h.hour_at = date_trunc('hour', c.clicked_at) AND h.program_id = c.program_id AND h.partner = c.partner
    WHERE c.clicked_at >= h.told_from AND c.clicked_at < h.told_until
),
-- A click that was tracked twice is named twice; of it the smallest row is taken.
twice AS (
    SELECT sale_id, rule, click_id FROM named GROUP BY sale_id, rule, click_id HAVING COUNT(*) > 1
),
smallest AS (
    SELECT n.sale_id, n.rule, n.click_id, n.partner, n.program_id, n.member_id, n.clicked_at
    FROM named AS n
    SEMI JOIN twice AS w ON w.sale_id = n.sale_id AND w.rule = n.rule AND w.click_id = n.click_id
    QUALIFY ROW_NUMBER() OVER (
        PARTITION BY n.sale_id, n.rule, n.click_id ORDER BY clicked_at, partner, program_id, member_id
    ) = 1
),
once AS (
    SELECT n.sale_id, n.rule, n.click_id, n.partner, n.program_id, n.member_id, n.clicked_at
    FROM named AS n
    ANTI JOIN twice AS w ON w.sale_id = n.sale_id AND w.rule = n.rule AND w.click_id = n.click_id
    UNION ALL
    SELECT sale_id, rule, click_id, partner, program_id, member_id, clicked_at FROM smallest
)
SELECT o.sale_id, o.rule, o.click_id, o.partner, o.program_id, o.member_id, o.clicked_at
FROM once AS o
JOIN residue AS r ON r.sale_id = o.sale_id
WHERE o.rule = 'click_ref_repaired' OR r.click_ref IS NULL
    OR EXISTS (
        SELECT 1 FROM once AS x
        WHERE x.sale_id = o.sale_id AND x.rule = 'click_ref_repaired' AND x.click_id = o.click_id
    )
ORDER BY o.sale_id, o.rule, o.click_id
