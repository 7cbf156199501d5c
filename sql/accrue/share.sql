-- purpose: how much of the cashback of a sale is pending and how much confirmed, by largest remainder over its rows.
-- grain: one status of one component of one sale at one step, of those that have cashback.
-- reads: row_state, cashback.
-- key: sale_id, step_on, component, status.
-- Shares go by row commission; a row that takes back has a negative share. Leftover units go to the largest remainders,
-- ties to the earlier row. Where all rows have one status there is nothing to share out, and so no product to overflow.
WITH standing AS (
    SELECT sale_id, step_on, MIN(status) AS status, MIN(status) <> MAX(status) AS is_divided,
        CAST(SUM(commission_minor) AS BIGINT) AS whole
    FROM row_state
    WHERE status <> 'declined'
    GROUP BY sale_id, step_on
),
earned AS (
    SELECT c.sale_id, c.step_on, c.component, c.member_minor, c.source_factor, s.status, s.is_divided, s.whole,
        CASE WHEN c.source_factor IS NULL THEN c.source_minor ELSE CAST(0 AS BIGINT) END AS source_minor
    FROM cashback AS c
    JOIN standing AS s ON s.sale_id = c.sale_id AND s.step_on = c.step_on
    WHERE c.member_minor > 0
),
multiplied AS (
    SELECT e.sale_id, e.step_on, e.component, r.partner_account, r.transaction_id, r.line_id, r.status, e.member_minor,
        e.source_minor, e.source_factor, e.whole, e.member_minor * r.commission_minor AS member_product,
        e.source_minor * r.commission_minor AS source_product
    FROM earned AS e
    JOIN row_state AS r ON r.sale_id = e.sale_id AND r.step_on = e.step_on
    WHERE e.is_divided AND r.status <> 'declined'
),
-- Integer division cuts towards zero and the rest takes the sign of the product: both are brought to the floor.
divided AS (
    SELECT m.sale_id, m.step_on, m.component, m.partner_account, m.transaction_id, m.line_id, m.status, m.member_minor,
        m.source_minor, m.source_factor,
        member_product // whole - CASE WHEN member_product % whole < 0 THEN 1 ELSE 0 END AS member_share,
        member_product % whole + CASE WHEN member_product % whole < 0 THEN whole ELSE 0 END AS member_rest,
        source_product // whole - CASE WHEN source_product % whole < 0 THEN 1 ELSE 0 END AS source_share,
        source_product % whole + CASE WHEN source_product % whole < 0 THEN whole ELSE 0 END AS source_rest
    FROM multiplied AS m
),
ranked AS (
    SELECT d.*,
        member_minor - CAST(SUM(member_share) OVER sale_step AS BIGINT) AS member_left,
        source_minor - CAST(SUM(source_share) OVER sale_step AS BIGINT) AS source_left,
        ROW_NUMBER() OVER (
            PARTITION BY sale_id, step_on, component ORDER BY member_rest DESC, transaction_id, line_id, partner_account
        ) AS member_rank,
        ROW_NUMBER() OVER (
            PARTITION BY sale_id, step_on, component ORDER BY source_rest DESC, transaction_id, line_id, partner_account
        ) AS source_rank
    FROM divided AS d
    WINDOW sale_step AS (PARTITION BY sale_id, step_on, component)
),
shared AS (
    SELECT sale_id, step_on, component, status, MIN(source_factor) AS source_factor,
        CAST(SUM(member_share + CASE WHEN member_rank <= member_left THEN 1 ELSE 0 END) AS BIGINT) AS member_minor,
        CAST(SUM(source_share + CASE WHEN source_rank <= source_left THEN 1 ELSE 0 END) AS BIGINT) AS source_minor
    FROM ranked
    GROUP BY sale_id, step_on, component, status
    UNION ALL
    SELECT sale_id, step_on, component, status, source_factor, member_minor, source_minor
    FROM earned
    WHERE NOT is_divided
)
SELECT sale_id, step_on, component, status, member_minor,
    CASE WHEN source_factor IS NULL THEN source_minor ELSE member_minor * source_factor END AS source_minor
FROM shared
ORDER BY sale_id, step_on, component, status
