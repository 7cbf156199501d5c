-- purpose: the postings every sale should have: what changes on each of its days, as signed flows between accounts.
-- grain: one flow of one sale for one day.
-- reads: row_state, cashback, share, sale, account_setting, program_setting, conversion_rate, payment, currency_unit;
--   parameter base_currency.
-- key: document_id, effective_for, debit_kind, debit_owner, credit_kind, credit_owner, asset, component.
-- Each state of a sale is written as the flows that would have built it from nothing, booked on its day and taken back
-- on the day of the next state: what remains of a day is the net change.
WITH setting AS (
    SELECT s.sale_id, s.partner_account, s.member_id, s.sale_on,
        COALESCE(p.cashback_payable_on, a.cashback_payable_on) AS cashback_payable_on
    FROM sale AS s
    JOIN account_setting AS a ON a.partner_account = s.partner_account
    LEFT JOIN program_setting AS p ON p.partner_account = s.partner_account AND p.program_id = s.program_id
),
settled AS (
    -- What reduces a sale needs no money of the partner to count.
    SELECT sale_id, step_on,
        COUNT(*) FILTER (WHERE status = 'approved' AND commission_minor > 0 AND NOT partner_paid) = 0 AS is_paid_for
    FROM row_state
    GROUP BY sale_id, step_on
),
-- Where cashback waits for the money, remittances must cover the approved commission whole; each row may have been
-- rounded by half a unit.
owed AS (
    SELECT r.sale_id, r.step_on, r.currency, COUNT(*) AS row_count, MIN(u.unit_minor) AS unit_minor,
        CAST(SUM(CASE WHEN r.status = 'approved' THEN r.commission_minor ELSE 0 END) AS BIGINT) AS owed_minor
    FROM row_state AS r
    JOIN setting AS a ON a.sale_id = r.sale_id
    JOIN currency_unit AS u ON u.currency = r.currency
    WHERE a.cashback_payable_on = 'funded'
    GROUP BY r.sale_id, r.step_on, r.currency
),
received AS (
    SELECT o.sale_id, o.step_on, o.currency, MIN(o.owed_minor) AS owed_minor, MIN(o.row_count) AS row_count,
        MIN(o.unit_minor) AS unit_minor,
        CAST(SUM(CASE WHEN p.sale_id IS NULL THEN 0 ELSE p.amount_minor END) AS BIGINT) AS received_minor
    FROM owed AS o
    LEFT JOIN payment AS p ON p.sale_id = o.sale_id AND p.currency = o.currency AND p.funded_on <= o.step_on
    GROUP BY o.sale_id, o.step_on, o.currency
),
funded AS (
    SELECT sale_id, step_on,
        COUNT(*) FILTER (
            WHERE owed_minor > 0 AND owed_minor - received_minor > unit_minor
                AND 2 * (owed_minor - received_minor) > row_count * unit_minor
        ) = 0 AS is_funded
    FROM received
    GROUP BY sale_id, step_on
),
-- Most sales have one state, whose flows are all there is.
moving AS (
    SELECT sale_id FROM settled GROUP BY sale_id HAVING COUNT(*) > 1
),
step AS (
    SELECT t.sale_id, t.step_on, LEAD(t.step_on) OVER (PARTITION BY t.sale_id ORDER BY t.step_on) AS next_step_on
    FROM settled AS t
    WHERE EXISTS (SELECT 1 FROM moving AS m WHERE m.sale_id = t.sale_id)
),
commission AS (
    -- A sale that moved is owed by the account its rows are told by.
    SELECT sale_id, step_on, sale_on, partner_account, status, currency,
        CAST(SUM(commission_minor) AS BIGINT) AS amount
    FROM row_state
    WHERE status <> 'declined'
    GROUP BY sale_id, step_on, sale_on, partner_account, status, currency
),
earned AS (
    SELECT h.sale_id, h.step_on, a.sale_on, h.component, h.status, h.member_minor, h.source_minor, c.source_currency,
        c.rule_currency, c.scale, a.partner_account, a.member_id,
        CASE WHEN c.source_currency = c.rule_currency THEN 'border' ELSE 'fx_position' END AS bridge_kind,
        CASE WHEN h.status = 'approved' THEN 'cashback_cost' ELSE 'cashback_expected_cost' END AS cost_kind,
        CASE WHEN h.status = 'approved' THEN 'cashback_confirmed' ELSE 'cashback_pending' END AS member_kind,
        CASE a.cashback_payable_on
            WHEN 'approval' THEN TRUE
            WHEN 'funded' THEN COALESCE(f.is_funded, FALSE)
            ELSE t.is_paid_for
        END AS is_payable
    FROM share AS h
    JOIN cashback AS c ON c.sale_id = h.sale_id AND c.step_on = h.step_on AND c.component = h.component
    JOIN setting AS a ON a.sale_id = h.sale_id
    JOIN settled AS t ON t.sale_id = h.sale_id AND t.step_on = h.step_on
    LEFT JOIN funded AS f ON f.sale_id = h.sale_id AND f.step_on = h.step_on
),
flow AS (
    SELECT c.sale_id, c.step_on, c.sale_on,
        CASE WHEN c.status = 'approved' THEN 'commission_receivable' ELSE 'commission_expected' END AS debit_kind,
        c.partner_account AS debit_owner,
        CASE WHEN c.status = 'approved' THEN 'commission_income' ELSE 'commission_expected_contra' END AS credit_kind,
        c.partner_account AS credit_owner, c.currency, 4 AS scale, c.amount, 'commission' AS component
    FROM commission AS c
    UNION ALL
    SELECT sale_id, step_on, sale_on, cost_kind AS debit_kind, partner_account AS debit_owner, bridge_kind AS credit_kind,
        '' AS credit_owner, source_currency AS currency, 4 AS scale, source_minor AS amount, component
    FROM earned
    UNION ALL
    SELECT sale_id, step_on, sale_on, bridge_kind AS debit_kind, '' AS debit_owner, member_kind AS credit_kind,
        member_id AS credit_owner, rule_currency AS currency, scale, member_minor AS amount, component
    FROM earned
    UNION ALL
    SELECT sale_id, step_on, sale_on, 'cashback_confirmed' AS debit_kind, member_id AS debit_owner,
        'cashback_payable' AS credit_kind, member_id AS credit_owner, rule_currency AS currency, scale,
        member_minor AS amount, component
    FROM earned
    WHERE status = 'approved' AND is_payable
),
change AS (
    SELECT f.sale_id, f.sale_on, f.step_on AS effective_for, f.debit_kind, f.debit_owner, f.credit_kind, f.credit_owner,
        f.currency, f.scale, f.component, f.amount
    FROM flow AS f
    WHERE EXISTS (SELECT 1 FROM moving AS m WHERE m.sale_id = f.sale_id)
    UNION ALL
    SELECT f.sale_id, f.sale_on, t.next_step_on AS effective_for, f.debit_kind, f.debit_owner, f.credit_kind,
        f.credit_owner, f.currency, f.scale, f.component, -f.amount AS amount
    FROM flow AS f
    JOIN step AS t ON t.sale_id = f.sale_id AND t.step_on = f.step_on
    WHERE t.next_step_on IS NOT NULL
),
netted AS (
    SELECT sale_id, sale_on, step_on AS effective_for, debit_kind, debit_owner, credit_kind, credit_owner, currency, scale,
        component, amount
    FROM flow AS f
    WHERE NOT EXISTS (SELECT 1 FROM moving AS m WHERE m.sale_id = f.sale_id)
    UNION ALL
    SELECT sale_id, sale_on, effective_for, debit_kind, debit_owner, credit_kind, credit_owner, currency, scale, component,
        CAST(SUM(amount) AS BIGINT) AS amount
    FROM change
    GROUP BY sale_id, sale_on, effective_for, debit_kind, debit_owner, credit_kind, credit_owner, currency, scale,
        component
)
SELECT n.sale_id AS document_id, n.debit_kind, n.debit_owner, n.credit_kind, n.credit_owner,
    n.currency || '/' || CAST(n.scale AS VARCHAR) AS asset, n.amount, n.effective_for, n.component,
    CAST(b.rate AS DECIMAL(18, 12)) AS rate
FROM netted AS n
LEFT JOIN conversion_rate AS b
    ON b.sale_on = n.sale_on AND b.from_currency = n.currency AND b.to_currency = $base_currency
WHERE n.amount <> 0
ORDER BY document_id, effective_for, debit_kind, debit_owner, credit_kind, credit_owner, asset,
    component
