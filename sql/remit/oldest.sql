-- purpose: what money pays that no sum fits: what takes back first, then the oldest approved and unpaid commission.
-- grain: one transaction; the last one may be paid in part.
-- reads: open_transaction (up to the day the money came); parameter net_minor.
-- key: transaction_id.
WITH queued AS (
    SELECT o.*,
        CAST(COALESCE(SUM(open_minor) OVER (
            ORDER BY CASE WHEN open_minor < 0 THEN 0 ELSE 1 END, changed_on, transaction_id
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ), 0) AS BIGINT) AS before_minor
    FROM open_transaction AS o
)
SELECT transaction_id, 'oldest_first' AS rule,
    CASE WHEN open_minor < 0 THEN open_minor ELSE LEAST(open_minor, $net_minor - before_minor) END AS amount_minor
FROM queued
WHERE open_minor < 0 OR before_minor < $net_minor
ORDER BY transaction_id
