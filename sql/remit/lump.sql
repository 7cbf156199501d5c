-- purpose: the approved and unpaid commission that sums to a lump sum: that of its period, else all until its end.
-- grain: one transaction.
-- reads: transaction_change, allocation (earlier ones); parameters partner_account, currency, unit_minor, period_from,
--   period_until, net_minor.
-- key: transaction_id.
-- A transaction belongs to the period in which its approved commission last changed; what was paid of it before is taken
-- off. A sum fits to less than one unit, or exactly once each amount is rounded; what is left goes over the rows.
WITH standing AS (
    SELECT transaction_id, changed_on, approved_minor
    FROM transaction_change
    WHERE partner_account = $partner_account AND currency = $currency AND changed_on < $period_until
    QUALIFY ROW_NUMBER() OVER (PARTITION BY transaction_id ORDER BY changed_on DESC) = 1
),
paid AS (
    SELECT transaction_id, CAST(SUM(amount_minor) AS BIGINT) AS paid_minor
    FROM allocation
    WHERE partner_account = $partner_account AND currency = $currency
    GROUP BY transaction_id
),
open AS (
    SELECT s.transaction_id, s.changed_on, s.approved_minor - COALESCE(p.paid_minor, 0) AS open_minor
    FROM standing AS s
    LEFT JOIN paid AS p ON p.transaction_id = s.transaction_id
    WHERE s.approved_minor <> COALESCE(p.paid_minor, 0)
),
choice AS (
    SELECT 'period' AS rule, 1 AS preference, transaction_id, open_minor FROM open WHERE changed_on >= $period_from
    UNION ALL
    SELECT 'until_period' AS rule, 2 AS preference, transaction_id, open_minor FROM open
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
