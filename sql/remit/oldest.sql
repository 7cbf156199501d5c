-- purpose: what money pays that no sum fits: what takes back first, then the oldest approved and unpaid commission.
-- grain: one transaction; the last one may be paid in part.
-- reads: transaction_change, allocation (earlier ones); parameters partner_account, currency, received_on, net_minor.
-- key: transaction_id.
WITH standing AS (
    SELECT transaction_id, changed_on, approved_minor
    FROM transaction_change
    WHERE partner_account = $partner_account AND currency = $currency AND changed_on <= $received_on
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
queued AS (
    SELECT o.*,
        CAST(COALESCE(SUM(open_minor) OVER (
            ORDER BY CASE WHEN open_minor < 0 THEN 0 ELSE 1 END, changed_on, transaction_id
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ), 0) AS BIGINT) AS before_minor
    FROM open AS o
)
SELECT transaction_id, 'oldest_first' AS rule,
    CASE WHEN open_minor < 0 THEN open_minor ELSE LEAST(open_minor, $net_minor - before_minor) END AS amount_minor
FROM queued
WHERE open_minor < 0 OR before_minor < $net_minor
ORDER BY transaction_id
