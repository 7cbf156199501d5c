-- purpose: the sales whose commission, as reported now, is less than the contract says, beyond the tolerance.
-- grain: one sale, of those that something is expected of and that stand; a shortfall of null is none.
-- reads: contracted, row_state, row_term, sale. key: sale_id.
-- What is expected is rounded once, half up, to the four digits commission is kept in.
WITH last_state AS (
    SELECT c.*, ROUND(c.expected_amount, 4) AS expected_rounded
    FROM contracted AS c
    QUALIFY ROW_NUMBER() OVER (PARTITION BY c.sale_id ORDER BY c.step_on DESC) = 1
),
-- A sale that was declined whole has no state on its last day.
last_day AS (
    SELECT sale_id, MAX(step_on) AS step_on FROM row_state GROUP BY sale_id
),
term AS (
    SELECT r.sale_id,
        string_agg(DISTINCT t.term_id, ' ' ORDER BY t.term_id) AS term_ids,
        MAX(t.valid_from) AS valid_from, MIN(t.valid_until) AS valid_until
    FROM row_state AS r
    JOIN last_day AS d ON d.sale_id = r.sale_id AND d.step_on = r.step_on
    JOIN row_term AS t
        ON t.sale_id = r.sale_id AND t.transaction_id = r.transaction_id AND t.line_id = r.line_id
        AND t.commission_group IS NOT DISTINCT FROM r.commission_group
        AND t.customer_type IS NOT DISTINCT FROM r.customer_type AND t.currency = r.currency
    WHERE r.status <> 'declined' AND t.term_id IS NOT NULL
    GROUP BY r.sale_id
)
SELECT s.sale_id, s.partner_account, s.program_id, s.sale_on, l.currency, l.sale_amount,
    l.commission_amount AS reported_amount,
    CAST(l.expected_rounded AS DECIMAL(18, 4)) AS expected_amount,
    CASE WHEN CAST(l.commission_amount AS DECIMAL(20, 10)) + l.tolerance < l.expected_amount
        THEN CAST(CAST(l.expected_rounded AS DECIMAL(20, 4)) - l.commission_amount AS DECIMAL(18, 4)) END AS shortfall,
    t.term_ids, t.valid_from, t.valid_until
FROM last_state AS l
JOIN last_day AS d ON d.sale_id = l.sale_id AND d.step_on = l.step_on
JOIN sale AS s ON s.sale_id = l.sale_id
LEFT JOIN term AS t ON t.sale_id = l.sale_id
WHERE l.expected_amount IS NOT NULL AND l.is_one_currency AND l.sale_amount >= 0
ORDER BY s.sale_id
