-- purpose: what each row of a sale says after every day on which the sale changed.
-- grain: one row of a sale at one step.
-- reads: version, sale, program, payment; parameter day.
-- key: sale_id, step_on, partner_account, transaction_id, line_id.
-- A version that is absent does not move the books: the last good state stays. A sale without a program is not here.
-- A row without a status is pending until it is paid for, a remittance names it or the program's validation days are over,
-- and all that comes after that is approved at once. The days on which money came are steps, too.
-- Windows are for what comes more than once, which is little: programs whose terms changed, rows told again.
WITH changed_program AS (
    SELECT program_id FROM program GROUP BY program_id HAVING COUNT(*) > 1
),
ranked_program AS (
    SELECT s.sale_id, s.sale_on, p.commission_rate, p.validation_days
    FROM sale AS s
    JOIN program AS p ON p.program_id = s.program_id
    JOIN changed_program AS c ON c.program_id = s.program_id
    QUALIFY ROW_NUMBER() OVER (
        PARTITION BY s.sale_id
        ORDER BY
            CASE
                WHEN p.valid_from <= s.occurred_at AND (p.valid_until IS NULL OR s.occurred_at < p.valid_until) THEN 0
                WHEN p.valid_from <= s.clicked_at AND (p.valid_until IS NULL OR s.clicked_at < p.valid_until) THEN 1
                ELSE 2
            END,
            p.valid_from DESC
    ) = 1
),
of_program AS (
    SELECT sale_id, sale_on, commission_rate, validation_days FROM ranked_program
    UNION ALL
    SELECT s.sale_id, s.sale_on, p.commission_rate, p.validation_days
    FROM sale AS s
    JOIN program AS p ON p.program_id = s.program_id
    WHERE NOT EXISTS (SELECT 1 FROM changed_program AS c WHERE c.program_id = p.program_id)
),
resolved AS (
    SELECT sale_id, sale_on, commission_rate, CAST(sale_on + validation_days AS DATE) AS approved_on FROM of_program
),
-- A row that tells no group (a refund) is of the one its sale tells, if that is one.
only_group AS (
    SELECT sale_id, MIN(commission_group) AS commission_group
    FROM version
    WHERE NOT is_absent AND commission_group IS NOT NULL
    GROUP BY sale_id
    HAVING MIN(commission_group) = MAX(commission_group)
),
told_again AS (
    SELECT DISTINCT sale_id, partner_account, transaction_id, line_id FROM version WHERE version_no > 1
),
lasting AS (
    SELECT sale_id, partner_account, transaction_id, line_id, kind, status, partner_paid, sale_amount, commission_amount,
        currency, commission_group, customer_type, effective_on, CAST(NULL AS DATE) AS until_on
    FROM version AS v
    WHERE NOT is_absent AND NOT EXISTS (
        SELECT 1 FROM told_again AS a
        WHERE a.sale_id = v.sale_id AND a.partner_account = v.partner_account AND a.transaction_id = v.transaction_id
            AND a.line_id = v.line_id
    )
    UNION ALL
    SELECT sale_id, partner_account, transaction_id, line_id, kind, status, partner_paid, sale_amount, commission_amount,
        currency, commission_group, customer_type, effective_on,
        LEAD(effective_on) OVER (
            PARTITION BY sale_id, partner_account, transaction_id, line_id ORDER BY version_no
        ) AS until_on
    FROM version AS v
    WHERE NOT is_absent AND EXISTS (
        SELECT 1 FROM told_again AS a
        WHERE a.sale_id = v.sale_id AND a.partner_account = v.partner_account AND a.transaction_id = v.transaction_id
            AND a.line_id = v.line_id
    )
),
-- A payment without a line is for the transaction as a whole.
named AS (
    SELECT l.sale_id, l.transaction_id, l.line_id, MIN(p.received_on) AS named_on
    FROM (SELECT DISTINCT sale_id, transaction_id, line_id FROM lasting) AS l
    JOIN payment AS p
        ON p.sale_id = l.sale_id AND p.transaction_id = l.transaction_id AND (p.line_id = '' OR p.line_id = l.line_id)
    WHERE p.is_named
    GROUP BY l.sale_id, l.transaction_id, l.line_id
),
step AS (
    SELECT sale_id, effective_on AS step_on
    FROM lasting
    UNION
    SELECT sale_id, received_on AS step_on FROM payment WHERE is_named
    UNION
    SELECT sale_id, funded_on AS step_on FROM payment WHERE funded_on IS NOT NULL
    UNION
    SELECT l.sale_id, r.approved_on AS step_on
    FROM lasting AS l
    JOIN resolved AS r ON r.sale_id = l.sale_id
    WHERE l.status IS NULL AND r.approved_on <= $day
)
SELECT t.sale_id, t.step_on, l.partner_account, l.transaction_id, l.line_id, l.kind,
    CASE
        WHEN l.status IS NOT NULL THEN l.status
        WHEN l.partner_paid OR n.named_on <= t.step_on THEN 'approved'
        WHEN r.approved_on <= t.step_on AND r.approved_on <= $day THEN 'approved'
        ELSE 'pending'
    END AS status,
    l.partner_paid, l.sale_amount, l.commission_amount,
    CAST(ROUND(CAST(l.commission_amount AS DECIMAL(28, 4)) * 10000, 0) AS BIGINT) AS commission_minor,
    l.currency, l.commission_group, l.customer_type,
    COALESCE(l.commission_group, g.commission_group) AS earning_group, r.commission_rate, r.sale_on
FROM step AS t
JOIN resolved AS r ON r.sale_id = t.sale_id
JOIN lasting AS l
    ON l.sale_id = t.sale_id AND l.effective_on <= t.step_on AND (l.until_on IS NULL OR t.step_on < l.until_on)
LEFT JOIN only_group AS g ON g.sale_id = l.sale_id
LEFT JOIN named AS n
    ON n.sale_id = l.sale_id AND n.transaction_id = l.transaction_id AND n.line_id = l.line_id
ORDER BY t.sale_id, t.step_on, l.transaction_id, l.line_id, l.partner_account
