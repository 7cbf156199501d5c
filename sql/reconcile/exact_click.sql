-- purpose: the clicks whose id is the reference of a sale, letter for letter.
-- grain: one click.
-- reads: grouped_sale, click.
-- key: click_id.
-- Whether the click agrees with the sale is judged in sale_match. Nothing but the reference is asked of the sales here, so
-- that what the clicks are looked up in stays small. Of a click that was tracked twice the smallest row is taken.
WITH found AS (
    SELECT c.click_id, c.partner, c.program_id, c.member_id, c.clicked_at
    FROM click AS c
    SEMI JOIN grouped_sale AS s ON s.click_ref = c.click_id
),
twice AS (
    SELECT click_id FROM found GROUP BY click_id HAVING COUNT(*) > 1
),
smallest AS (
    SELECT f.click_id, f.partner, f.program_id, f.member_id, f.clicked_at
    FROM found AS f
    SEMI JOIN twice AS w ON w.click_id = f.click_id
    QUALIFY ROW_NUMBER() OVER (PARTITION BY f.click_id ORDER BY clicked_at, partner, program_id, member_id) = 1
)
SELECT f.click_id, f.partner, f.program_id, f.member_id, f.clicked_at
FROM found AS f
ANTI JOIN twice AS w ON w.click_id = f.click_id
UNION ALL
SELECT click_id, partner, program_id, member_id, clicked_at FROM smallest
ORDER BY click_id
