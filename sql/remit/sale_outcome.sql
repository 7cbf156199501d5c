-- purpose: of every sale, what is approved against what was paid: paid, short, over, unpaid, carried or written_off.
-- grain: one sale and currency with something approved or paid.
-- reads: row_state, sale, payment, written (off), promise (due_on of remittances told and not received, by transaction),
--   account_term, currency_unit.
-- key: sale_id, currency.
-- Rows may have been rounded by half a unit each: a difference of no more, or of one unit, is none. What is due is due on
-- the day the partner told, else the account's payment days after approval.
WITH newest AS (
    SELECT sale_id, partner_account, transaction_id, line_id, status, commission_minor, currency
    FROM row_state
    QUALIFY step_on = MAX(step_on) OVER (PARTITION BY sale_id)
),
approved AS (
    -- Of a sale that moved the account that owes it now.
    SELECT sale_id, currency, COUNT(*) AS row_count,
        COALESCE(MIN(transaction_id) FILTER (WHERE commission_minor <> 0), MIN(transaction_id)) AS transaction_id,
        MIN(partner_account) FILTER (WHERE commission_minor <> 0) AS partner_account,
        CAST(COALESCE(SUM(commission_minor) FILTER (WHERE status = 'approved'), 0) AS BIGINT) AS approved_minor
    FROM newest
    GROUP BY sale_id, currency
),
paid AS (
    SELECT sale_id, currency, CAST(SUM(amount_minor) AS BIGINT) AS paid_minor,
        CAST(COALESCE(SUM(amount_minor) FILTER (WHERE funded_on IS NULL), 0) AS BIGINT) AS carried_minor
    FROM payment
    GROUP BY sale_id, currency
),
begun AS (
    SELECT sale_id, MIN(step_on) AS approved_on
    FROM row_state
    WHERE status = 'approved'
    GROUP BY sale_id
),
told AS (
    SELECT n.sale_id, MIN(p.due_on) AS due_on
    FROM newest AS n
    JOIN promise AS p ON p.partner_account = n.partner_account AND p.transaction_id = n.transaction_id
    GROUP BY n.sale_id
),
compared AS (
    SELECT m.partner_account, s.sale_id, u.currency,
        COALESCE(a.transaction_id, s.sale_id) AS transaction_id, b.approved_on,
        COALESCE(t.due_on, CAST(b.approved_on + m.payment_days AS DATE)) AS due_on,
        COALESCE(a.approved_minor, 0) AS approved_minor, COALESCE(p.paid_minor, 0) AS paid_minor,
        COALESCE(p.carried_minor, 0) AS carried_minor, p.sale_id IS NOT NULL AS is_paid_for,
        COALESCE(w.written_minor, 0) AS written_minor,
        COALESCE(a.approved_minor, 0) - COALESCE(p.paid_minor, 0) - COALESCE(w.written_minor, 0) AS open_minor,
        GREATEST(2, COALESCE(a.row_count, 0)) * u.unit_minor AS tolerance_doubled
    FROM approved AS a
    FULL JOIN paid AS p ON p.sale_id = a.sale_id AND p.currency = a.currency
    JOIN sale AS s ON s.sale_id = COALESCE(a.sale_id, p.sale_id)
    JOIN currency_unit AS u ON u.currency = COALESCE(a.currency, p.currency)
    JOIN account_term AS m ON m.partner_account = COALESCE(a.partner_account, s.partner_account)
    LEFT JOIN written AS w ON w.sale_id = s.sale_id AND w.currency = u.currency
    LEFT JOIN begun AS b ON b.sale_id = s.sale_id
    LEFT JOIN told AS t ON t.sale_id = s.sale_id
    WHERE COALESCE(a.approved_minor, 0) <> 0 OR p.sale_id IS NOT NULL
)
SELECT sale_id, currency, partner_account, transaction_id, approved_on, due_on, approved_minor, paid_minor, carried_minor,
    written_minor, open_minor,
    CASE
        WHEN NOT is_paid_for AND written_minor = 0 THEN 'unpaid'
        WHEN 2 * ABS(open_minor) > tolerance_doubled AND open_minor > 0 THEN 'short'
        WHEN 2 * ABS(open_minor) > tolerance_doubled THEN 'over'
        WHEN written_minor > 0 THEN 'written_off'
        WHEN carried_minor <> 0 THEN 'carried'
        ELSE 'paid'
    END AS outcome
FROM compared
ORDER BY sale_id, currency
