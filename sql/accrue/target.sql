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
    SELECT h.sale_id, h.step_on, a.sale_on, h.component, h.member_minor, h.source_minor, c.source_currency,
        c.rule_currency, c.scale, a.partner_account, a.member_id,
        -- Which lane of each side: below.
        CASE WHEN h.status = 'approved' THEN 3 ELSE 7 END
            + CASE WHEN c.source_currency = c.rule_currency THEN 0 ELSE 1 END AS cost_lane,
        h.status = 'approved' AND CASE a.cashback_payable_on
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
-- Between which accounts an amount moves is told by a number until all that is netted is netted.
lane AS (
    SELECT 1 AS lane_no, 'commission_receivable' AS debit_kind, 'account' AS debited, 'commission_income' AS credit_kind,
        'account' AS credited
    UNION ALL
    SELECT 2, 'commission_expected', 'account', 'commission_expected_contra', 'account'
    UNION ALL
    SELECT 3, 'cashback_cost', 'account', 'border', 'nobody'
    UNION ALL
    SELECT 4, 'cashback_cost', 'account', 'fx_position', 'nobody'
    UNION ALL
    SELECT 5, 'border', 'nobody', 'cashback_confirmed', 'member'
    UNION ALL
    SELECT 6, 'fx_position', 'nobody', 'cashback_confirmed', 'member'
    UNION ALL
    SELECT 7, 'cashback_expected_cost', 'account', 'border', 'nobody'
    UNION ALL
    SELECT 8, 'cashback_expected_cost', 'account', 'fx_position', 'nobody'
    UNION ALL
    SELECT 9, 'border', 'nobody', 'cashback_pending', 'member'
    UNION ALL
    SELECT 10, 'fx_position', 'nobody', 'cashback_pending', 'member'
    UNION ALL
    SELECT 11, 'cashback_confirmed', 'member', 'cashback_payable', 'member'
),
flow AS (
    SELECT sale_id, step_on, sale_on, CASE WHEN status = 'approved' THEN 1 ELSE 2 END AS lane_no, partner_account,
        NULL AS member_id, currency, 4 AS scale, 'commission' AS component, amount
    FROM commission
    UNION ALL
    SELECT sale_id, step_on, sale_on, cost_lane AS lane_no, partner_account, member_id, source_currency AS currency,
        4 AS scale, component, source_minor AS amount
    FROM earned
    UNION ALL
    SELECT sale_id, step_on, sale_on, cost_lane + 2 AS lane_no, partner_account, member_id, rule_currency AS currency,
        scale, component, member_minor AS amount
    FROM earned
    UNION ALL
    SELECT sale_id, step_on, sale_on, 11 AS lane_no, partner_account, member_id, rule_currency AS currency, scale,
        component, member_minor AS amount
    FROM earned
    WHERE is_payable
),
change AS (
    SELECT f.sale_id, f.sale_on, f.step_on AS effective_for, f.lane_no, f.partner_account, f.member_id, f.currency,
        f.scale, f.component, f.amount
    FROM flow AS f
    WHERE EXISTS (SELECT 1 FROM moving AS m WHERE m.sale_id = f.sale_id)
    UNION ALL
    SELECT f.sale_id, f.sale_on, t.next_step_on AS effective_for, f.lane_no, f.partner_account, f.member_id, f.currency,
        f.scale, f.component, -f.amount AS amount
    FROM flow AS f
    JOIN step AS t ON t.sale_id = f.sale_id AND t.step_on = f.step_on
    WHERE t.next_step_on IS NOT NULL
),
netted AS (
    SELECT sale_id, sale_on, step_on AS effective_for, lane_no, partner_account, member_id, currency, scale, component,
        amount
    FROM flow AS f
    WHERE NOT EXISTS (SELECT 1 FROM moving AS m WHERE m.sale_id = f.sale_id)
    UNION ALL
    -- All else of a sale hangs on the lane and the currency.
    SELECT sale_id, MIN(sale_on) AS sale_on, effective_for, lane_no, partner_account, MIN(member_id) AS member_id,
        currency, MIN(scale) AS scale, component, CAST(SUM(amount) AS BIGINT) AS amount
    FROM change
    GROUP BY sale_id, effective_for, lane_no, partner_account, currency, component
)
SELECT n.sale_id AS document_id, l.debit_kind,
    CASE l.debited WHEN 'account' THEN n.partner_account WHEN 'member' THEN n.member_id ELSE '' END AS debit_owner,
    l.credit_kind,
    CASE l.credited WHEN 'account' THEN n.partner_account WHEN 'member' THEN n.member_id ELSE '' END AS credit_owner,
    n.currency || '/' || CAST(n.scale AS VARCHAR) AS asset, n.amount, n.effective_for, n.component,
    CAST(b.rate AS DECIMAL(18, 12)) AS rate
FROM netted AS n
JOIN lane AS l ON l.lane_no = n.lane_no
LEFT JOIN conversion_rate AS b
    ON b.sale_on = n.sale_on AND b.from_currency = n.currency AND b.to_currency = $base_currency
WHERE n.amount <> 0
ORDER BY document_id, effective_for, debit_kind, debit_owner, credit_kind, credit_owner, asset,
    component
