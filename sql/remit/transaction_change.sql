-- purpose: every day on which the approved commission of a transaction changed, and to what.
-- grain: one transaction, currency and day.
-- reads: row_state.
-- key: partner_account, transaction_id, currency, changed_on.
WITH known AS (
    SELECT DISTINCT sale_id, partner_account, transaction_id, currency FROM row_state
),
step AS (
    SELECT DISTINCT sale_id, step_on FROM row_state
),
summed AS (
    SELECT k.sale_id, k.partner_account, k.transaction_id, k.currency, t.step_on,
        CAST(COALESCE(SUM(r.commission_minor) FILTER (WHERE r.status = 'approved'), 0) AS BIGINT) AS approved_minor
    FROM known AS k
    JOIN step AS t ON t.sale_id = k.sale_id
    LEFT JOIN row_state AS r
        ON r.sale_id = k.sale_id AND r.partner_account = k.partner_account AND r.transaction_id = k.transaction_id
        AND r.currency = k.currency AND r.step_on = t.step_on
    GROUP BY k.sale_id, k.partner_account, k.transaction_id, k.currency, t.step_on
),
compared AS (
    SELECT s.*, LAG(approved_minor, 1, 0) OVER (
        PARTITION BY sale_id, partner_account, transaction_id, currency ORDER BY step_on
    ) AS before_minor
    FROM summed AS s
)
SELECT c.partner_account, c.transaction_id, c.currency, c.step_on AS changed_on, c.approved_minor
FROM compared AS c
WHERE c.approved_minor <> c.before_minor
ORDER BY c.partner_account, c.transaction_id, c.currency, c.step_on
