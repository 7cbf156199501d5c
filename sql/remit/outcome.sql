-- purpose: the outcome of sales, and how old what is open of them is as of a day.
-- grain: one sale and currency with something approved or paid.
-- reads: sale_outcome, account_open, account_term, currency_unit; parameter day.
-- key: sale_id, currency.
-- Of an account whose whole open commission is below the threshold under which the partner does not pay, nothing is late.
SELECT m.partner, o.partner_account, o.sale_id, o.currency, o.transaction_id, o.approved_on, o.due_on, o.approved_minor,
    o.paid_minor, o.carried_minor, o.written_minor, o.open_minor, o.outcome,
    CASE
        WHEN o.outcome NOT IN ('unpaid', 'short') THEN NULL
        WHEN a.open_minor < m.payment_threshold_minor * u.unit_minor THEN 'below_threshold'
        WHEN o.due_on IS NULL OR o.due_on >= $day THEN 'not_due'
        WHEN DATEDIFF('day', o.due_on, $day) <= 30 THEN '1-30'
        WHEN DATEDIFF('day', o.due_on, $day) <= 60 THEN '31-60'
        WHEN DATEDIFF('day', o.due_on, $day) <= 90 THEN '61-90'
        WHEN DATEDIFF('day', o.due_on, $day) <= 180 THEN '91-180'
        ELSE 'more'
    END AS age
FROM sale_outcome AS o
JOIN account_open AS a ON a.partner_account = o.partner_account AND a.currency = o.currency
JOIN account_term AS m ON m.partner_account = o.partner_account
JOIN currency_unit AS u ON u.currency = o.currency
ORDER BY o.partner_account, o.sale_id, o.currency
