-- purpose: the approved commission that is not paid yet, as it stood before a day.
-- grain: one transaction.
-- reads: transaction_change, allocation (earlier ones), given_up; parameters partner_account, currency, before_on,
--   received_on.
-- key: transaction_id.
-- What was written off before the money came is not open: who pays it after all says so by name.
WITH standing AS (
    SELECT transaction_id, changed_on, approved_minor
    FROM transaction_change
    WHERE partner_account = $partner_account AND currency = $currency AND changed_on < $before_on
    QUALIFY ROW_NUMBER() OVER (PARTITION BY transaction_id ORDER BY changed_on DESC) = 1
),
paid AS (
    SELECT transaction_id, CAST(SUM(amount_minor) AS BIGINT) AS paid_minor
    FROM allocation
    WHERE partner_account = $partner_account AND currency = $currency
    GROUP BY transaction_id
)
SELECT s.transaction_id, s.changed_on, s.approved_minor - COALESCE(p.paid_minor, 0) AS open_minor
FROM standing AS s
LEFT JOIN paid AS p ON p.transaction_id = s.transaction_id
WHERE s.approved_minor <> COALESCE(p.paid_minor, 0)
    AND NOT EXISTS (
        SELECT 1
        FROM given_up AS g
        WHERE g.partner_account = $partner_account AND g.transaction_id = s.transaction_id AND g.currency = $currency
            AND g.written_on <= $received_on
    )
ORDER BY s.transaction_id
