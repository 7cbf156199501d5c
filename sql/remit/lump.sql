-- purpose: the approved and unpaid commission that sums to a lump sum: that of its period, else all until its end.
-- grain: one transaction.
-- reads: open_transaction (before the period's end); parameters unit_minor, period_from, net_minor.
-- key: transaction_id.
-- A transaction belongs to the period in which its approved commission last changed; what was paid of it before is taken
-- off. A sum fits to less than one unit, or exactly once each amount is rounded; what is left goes over the rows.
WITH choice AS (
    SELECT 'period' AS rule, 1 AS preference, transaction_id, open_minor FROM open_transaction WHERE changed_on >= $period_from
    UNION ALL
    SELECT 'until_period' AS rule, 2 AS preference, transaction_id, open_minor FROM open_transaction
),
summed AS (
    SELECT c.*,
        CAST(SUM(open_minor) OVER whole_choice AS BIGINT) AS whole_minor,
        CAST(SUM(
            SIGN(open_minor) * ((2 * ABS(open_minor) + $unit_minor) // (2 * $unit_minor)) * $unit_minor
        ) OVER whole_choice AS BIGINT) AS rounded_minor,
        COUNT(*) OVER whole_choice AS row_count,
        ROW_NUMBER() OVER (PARTITION BY rule ORDER BY transaction_id) AS place
    FROM choice AS c
    WINDOW whole_choice AS (PARTITION BY rule)
),
fitting AS (
    SELECT s.*, $net_minor - whole_minor AS rest_minor, MIN(preference) OVER () AS preferred
    FROM summed AS s
    WHERE ABS($net_minor - whole_minor) < $unit_minor OR rounded_minor = $net_minor
)
SELECT transaction_id, rule,
    CAST(open_minor + SIGN(rest_minor) * (
        ABS(rest_minor) // row_count + CASE WHEN place <= ABS(rest_minor) % row_count THEN 1 ELSE 0 END
    ) AS BIGINT) AS amount_minor
FROM fitting
WHERE preference = preferred
ORDER BY transaction_id
