-- purpose: what a sale's rows report altogether and what its contract says of it, after every day on which it changed.
-- grain: one sale at one step; nothing declined is counted.
-- reads: row_state, row_term, sale, commission_tolerance.
-- key: sale_id, step_on.
-- By contract terms, row by row, where the program has any; else by the program's rate, if a row of kind sale stands.
-- expected_amount is null where nothing can be expected; it is not rounded. A bonus, and a lead without a fixed term, are
-- worth what is reported. A fixed amount is due for each row that does not take back, unless the whole is taken back.
WITH standing AS (
    SELECT r.sale_id, r.step_on, r.kind, r.sale_amount, r.commission_amount, r.currency, r.commission_rate,
        r.sale_amount < 0 OR r.commission_amount < 0 AS is_reduction,
        t.sale_id IS NOT NULL AS is_termed, t.basis, t.value
    FROM row_state AS r
    LEFT JOIN row_term AS t
        ON t.sale_id = r.sale_id AND t.transaction_id = r.transaction_id AND t.line_id = r.line_id
        AND t.commission_group IS NOT DISTINCT FROM r.commission_group
        AND t.customer_type IS NOT DISTINCT FROM r.customer_type AND t.currency = r.currency
    WHERE r.status <> 'declined'
),
taken_back AS (
    SELECT sale_id, step_on
    FROM standing
    WHERE is_termed
    GROUP BY sale_id, step_on
    HAVING COUNT(*) FILTER (WHERE is_reduction) > 0 AND CAST(SUM(commission_amount) AS DECIMAL(28, 4)) <= 0
),
priced AS (
    SELECT s.*,
        CASE
            WHEN NOT s.is_termed THEN NULL
            WHEN kind = 'bonus' OR (kind = 'lead' AND basis IS DISTINCT FROM 'fixed')
                THEN CAST(commission_amount AS DECIMAL(28, 10))
            WHEN basis = 'fixed' THEN
                CASE WHEN is_reduction OR b.sale_id IS NOT NULL THEN CAST(0 AS DECIMAL(28, 10))
                    ELSE CAST(value AS DECIMAL(28, 10)) END
            WHEN basis = 'rate'
                THEN CAST(CAST(sale_amount AS DECIMAL(19, 4)) * CAST(value AS DECIMAL(17, 6)) AS DECIMAL(28, 10))
        END AS row_expected
    FROM standing AS s
    LEFT JOIN taken_back AS b ON b.sale_id = s.sale_id AND b.step_on = s.step_on
),
net AS (
    SELECT sale_id, step_on,
        CAST(SUM(commission_amount) AS DECIMAL(18, 4)) AS commission_amount,
        CAST(SUM(sale_amount) AS DECIMAL(18, 4)) AS sale_amount,
        COUNT(*) AS row_count,
        COUNT(*) FILTER (WHERE kind = 'sale') AS sale_row_count,
        MIN(currency) = MAX(currency) AS is_one_currency,
        MIN(currency) AS currency,
        MIN(commission_rate) AS commission_rate,
        COUNT(*) FILTER (WHERE is_termed) > 0 AS is_termed,
        CASE WHEN COUNT(*) = COUNT(row_expected) THEN CAST(SUM(row_expected) AS DECIMAL(20, 10)) END AS row_expected
    FROM priced
    GROUP BY sale_id, step_on
),
said AS (
    SELECT n.*,
        CASE
            WHEN is_termed THEN row_expected
            WHEN sale_row_count > 0
                THEN CAST(CAST(sale_amount AS DECIMAL(19, 4)) * CAST(commission_rate AS DECIMAL(9, 6)) AS DECIMAL(20, 10))
        END AS expected_amount
    FROM net AS n
)
SELECT e.sale_id, e.step_on, e.currency, e.is_one_currency, e.row_count, e.sale_amount, e.commission_amount,
    e.expected_amount, e.is_termed,
    -- Each row may have been rounded by half a cent; an account may be given more.
    CAST(GREATEST(
        CAST(0.01 AS DECIMAL(20, 10)),
        CAST(CAST(e.row_count AS DECIMAL(9, 0)) * 0.005 AS DECIMAL(20, 10)),
        CAST(COALESCE(t.amount, CAST(0 AS DECIMAL(18, 4))) AS DECIMAL(20, 10)),
        CAST(ROUND(CAST(ABS(COALESCE(e.expected_amount, CAST(0 AS DECIMAL(20, 10)))) AS DECIMAL(28, 10))
            * CAST(COALESCE(t.share, CAST(0 AS DECIMAL(9, 6))) AS DECIMAL(9, 6)), 10) AS DECIMAL(20, 10))
    ) AS DECIMAL(20, 10)) AS tolerance
FROM said AS e
JOIN sale AS s ON s.sale_id = e.sale_id
LEFT JOIN commission_tolerance AS t ON t.partner_account = s.partner_account
ORDER BY e.sale_id, e.step_on
