-- purpose: the tracked rows of some clicks, and of those that a bent or cut reference could mean.
-- grain: one tracked row.
-- reads: tracked_click, named (their ids), bent_ref (references as folded_ref gives them), truncation.
-- key: click_id, clicked_at, partner, program_id, member_id.
-- Files are passed once: the first characters let few clicks through, and of those all is asked. Where ids begin alike that
-- costs time but no room. A superset of what exact_click and the repaired references of candidate_click name.
WITH first_character AS (
    SELECT LEAST(12, MIN(ref_length)) AS character_count FROM truncation
),
beginning AS (
    SELECT lower(substr(i.click_id, 1, n.character_count)) AS prefix FROM named AS i CROSS JOIN first_character AS n
    UNION
    SELECT substr(b.ref_folded, 1, n.character_count) AS prefix FROM bent_ref AS b CROSS JOIN first_character AS n
),
near AS NOT MATERIALIZED (
    SELECT c.click_id, c.partner, c.program_id, c.member_id, c.clicked_at, lower(c.click_id) AS id_folded
    FROM tracked_click AS c
    CROSS JOIN first_character AS n
    SEMI JOIN beginning AS b ON b.prefix = lower(substr(c.click_id, 1, n.character_count))
),
told_ref AS (
    SELECT DISTINCT ref_folded, ref_length FROM bent_ref WHERE ref_folded IS NOT NULL
),
cut_ref AS (
    SELECT r.ref_folded, r.ref_length FROM told_ref AS r SEMI JOIN truncation AS t ON t.ref_length = r.ref_length
),
-- 0 where no reference may be cut, so that every click is asked once.
cut_length AS (
    SELECT DISTINCT ref_length FROM cut_ref
    UNION ALL
    SELECT 0 AS ref_length WHERE NOT EXISTS (SELECT 1 FROM cut_ref)
)
SELECT DISTINCT c.click_id, c.partner, c.program_id, c.member_id, c.clicked_at
FROM near AS c
CROSS JOIN cut_length AS n
LEFT JOIN named AS i ON i.click_id = c.click_id
LEFT JOIN told_ref AS b ON b.ref_folded = c.id_folded
LEFT JOIN cut_ref AS k
    ON k.ref_folded = CASE WHEN length(c.id_folded) > n.ref_length THEN substr(c.id_folded, 1, n.ref_length) END
WHERE i.click_id IS NOT NULL OR b.ref_folded IS NOT NULL OR k.ref_folded IS NOT NULL
ORDER BY ALL
