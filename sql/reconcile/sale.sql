-- purpose: the unit of accrual with the click it belongs to: rules, then what was paid out by them, then decisions.
-- grain: one sale.
-- reads: grouped_sale, sale_match, sale_day, duplicate, open_break, accepted_click, settled_match.
-- key: sale_id.
-- A match that money was paid out on stays until a person says otherwise. A click that a person accepted on evidence that
-- has changed stays, and holds the payout until they look again. A reversal whose original is not known holds
-- the payout of every sale it could be about: those it shares a reference with, or the whole amount.
WITH orphan AS (
    SELECT s.sale_id, s.partner_account, s.partner_program_id, s.currency, s.occurred_until, s.order_ref,
        s.reduction_click_ref, s.first_net_amount
    FROM grouped_sale AS s
    JOIN open_break AS b ON b.sale_id = s.sale_id AND b.kind = 'reversal_without_original'
),
possible AS NOT MATERIALIZED (
    SELECT sale_id, partner_account, currency, partner_program_id, occurred_at, click_ref, order_ref, first_sale_amount
    FROM grouped_sale
    WHERE NOT is_reduction
),
-- Three joins by equality, not one with OR: that one would compare every pair of a program.
suspect AS (
    SELECT s.sale_id, s.occurred_at, o.occurred_until
    FROM possible AS s
    JOIN orphan AS o
        ON o.partner_account = s.partner_account AND o.currency = s.currency
        AND o.partner_program_id = s.partner_program_id AND o.reduction_click_ref = s.click_ref
    UNION ALL
    SELECT s.sale_id, s.occurred_at, o.occurred_until
    FROM possible AS s
    JOIN orphan AS o
        ON o.partner_account = s.partner_account AND o.currency = s.currency
        AND o.partner_program_id = s.partner_program_id AND o.order_ref = s.order_ref
    UNION ALL
    SELECT s.sale_id, s.occurred_at, o.occurred_until
    FROM possible AS s
    JOIN orphan AS o
        ON o.partner_account = s.partner_account AND o.currency = s.currency
        AND o.partner_program_id = s.partner_program_id AND o.first_net_amount = -s.first_sale_amount
    -- Leads and sums of clicks have no sale amount, which is not an amount they share.
    WHERE s.first_sale_amount <> 0
),
held AS (
    SELECT sale_id FROM open_break WHERE is_holding AND sale_id IS NOT NULL
    UNION
    SELECT sale_id FROM suspect WHERE occurred_at < occurred_until
    UNION
    SELECT b.sale_id
    FROM open_break AS b
    JOIN accepted_click AS a ON a.sale_id = b.sale_id AND a.kind = 'accept_click'
    WHERE b.kind IN ('unmatched', 'ambiguous', 'click_of_another_program', 'click_after_sale', 'outside_window',
        'no_click_expected')
),
disputed AS (
    SELECT sale_id FROM open_break WHERE kind = 'duplicate'
),
settled AS (
    SELECT t.sale_id, t.rule, t.click_id, t.clicked_at, t.member_id FROM settled_match AS t WHERE t.rule <> 'decision'
)
SELECT m.sale_id, m.partner, m.partner_account, m.program_id, m.merchant_id, m.order_ref, m.occurred_at, y.sale_on,
    CASE WHEN a.kind = 'accept_click' OR p.sale_id IS NOT NULL THEN 'matched' ELSE m.outcome END AS outcome,
    CASE WHEN a.kind = 'accept_click' THEN 'decision' WHEN p.sale_id IS NOT NULL THEN p.rule ELSE m.rule END AS rule,
    CASE WHEN a.kind = 'accept_click' THEN a.click_id WHEN p.sale_id IS NOT NULL THEN p.click_id ELSE m.click_id END
        AS click_id,
    CASE WHEN a.kind = 'accept_click' THEN a.clicked_at WHEN p.sale_id IS NOT NULL THEN p.clicked_at
        ELSE m.clicked_at END AS clicked_at,
    CASE WHEN a.kind = 'accept_click' THEN a.member_id WHEN p.sale_id IS NOT NULL THEN p.member_id
        ELSE m.member_id END AS member_id,
    COALESCE(a.kind, '') <> 'no_cashback'
        -- A losing duplicate earns only if a person answered that very break by accepting a click.
        AND (d.sale_id IS NULL OR (x.sale_id IS NULL AND COALESCE(a.kind, '') = 'accept_click')) AS earns_cashback,
    h.sale_id IS NOT NULL AS is_payout_held,
    -- Its leading row, for match.
    m.transaction_id, m.line_id, m.is_lead_reduction
FROM sale_match AS m
JOIN sale_day AS y ON y.occurred_at = m.occurred_at
LEFT JOIN accepted_click AS a ON a.sale_id = m.sale_id
LEFT JOIN settled AS p ON p.sale_id = m.sale_id
LEFT JOIN duplicate AS d ON d.sale_id = m.sale_id
LEFT JOIN disputed AS x ON x.sale_id = m.sale_id
LEFT JOIN held AS h ON h.sale_id = m.sale_id
ORDER BY m.sale_id
