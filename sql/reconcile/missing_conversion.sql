-- purpose: orders our own pixel saw that the partner has not told us of, though it has had the time.
-- grain: one conversion.
-- reads: conversion, click, program, sale_match, partner_model. Parameter day.
-- key: conversion_id.
-- Told is: a sale of the program with its order reference, or one matched to its click that does not say otherwise.
WITH tracked AS MATERIALIZED (
    SELECT v.conversion_id, v.click_id, v.order_ref, v.occurred_at, v.amount, v.currency, c.partner, c.program_id,
        p.lookback_days, p.validation_days
    FROM click AS c
    JOIN conversion AS v ON v.click_id = c.click_id
    JOIN program AS p
        ON p.program_id = c.program_id AND p.partner = c.partner
        AND p.valid_from <= c.clicked_at AND (p.valid_until IS NULL OR c.clicked_at < p.valid_until)
    QUALIFY ROW_NUMBER() OVER (
        PARTITION BY v.conversion_id ORDER BY c.clicked_at, c.partner, c.program_id, p.valid_from DESC
    ) = 1
),
-- The few sales that a tracked conversion could be.
told_order AS (
    SELECT m.order_ref, m.partner, m.program_id
    FROM sale_match AS m
    SEMI JOIN tracked AS t ON t.order_ref = m.order_ref
),
told_click AS (
    SELECT m.click_id, m.order_ref
    FROM sale_match AS m
    SEMI JOIN tracked AS t ON t.click_id = m.click_id
),
account AS (
    SELECT partner, MIN(partner_account) AS partner_account FROM partner_model GROUP BY partner
)
SELECT t.conversion_id, t.partner, COALESCE(a.partner_account, t.partner) AS partner_account, t.click_id, t.order_ref,
    t.occurred_at, t.program_id, t.amount, t.currency
FROM tracked AS t
LEFT JOIN account AS a ON a.partner = t.partner
WHERE t.occurred_at + INTERVAL 1 DAY * GREATEST(t.lookback_days, COALESCE(t.validation_days, 0)) < $day
    AND NOT EXISTS (
        SELECT 1 FROM told_order AS o
        WHERE o.order_ref = t.order_ref AND o.program_id = t.program_id AND o.partner = t.partner
    )
    AND NOT EXISTS (
        SELECT 1 FROM told_click AS c
        WHERE c.click_id = t.click_id
            AND (c.order_ref IS NULL OR t.order_ref IS NULL OR c.order_ref = t.order_ref)
    )
ORDER BY t.conversion_id
