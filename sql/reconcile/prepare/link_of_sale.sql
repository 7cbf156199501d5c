-- purpose: every state that some sales had, by what they can be found by, and the reversals of their programs.
-- grain: one state of one sale.
-- reads: sale_link, new_link (of those sales, as they are now), touched_sale.
-- key: sale_id, and all else.
-- Links are passed once: reversals are few.
WITH kept AS MATERIALIZED (
    SELECT l.sale_id, l.partner_account, l.partner_program_id, l.currency, l.order_ref, l.click_ref, l.reduction_click_ref,
        l.ref_folded, l.click_id, l.first_sale_amount, l.first_net_amount, l.is_reduction, l.is_exact, l.told_on,
        l.waits_until, t.sale_id IS NOT NULL AS is_own
    FROM sale_link AS l
    LEFT JOIN touched_sale AS t ON t.sale_id = l.sale_id
    WHERE t.sale_id IS NOT NULL OR l.is_reduction
),
own AS (
    SELECT sale_id, partner_account, partner_program_id, currency, order_ref, click_ref, reduction_click_ref, ref_folded,
        click_id, first_sale_amount, first_net_amount, is_reduction, is_exact, told_on, waits_until
    FROM kept
    WHERE is_own
    UNION ALL
    SELECT sale_id, partner_account, partner_program_id, currency, order_ref, click_ref, reduction_click_ref, ref_folded,
        click_id, first_sale_amount, first_net_amount, is_reduction, is_exact, told_on, waits_until
    FROM new_link
)
SELECT sale_id, partner_account, partner_program_id, currency, order_ref, click_ref, reduction_click_ref, ref_folded,
    click_id, first_sale_amount, first_net_amount, is_reduction, is_exact, told_on, waits_until
FROM own
UNION
-- Which sale a reversal without an original could be about is asked for each sale of its program.
SELECT k.sale_id, k.partner_account, k.partner_program_id, k.currency, k.order_ref, k.click_ref, k.reduction_click_ref,
    k.ref_folded, k.click_id, k.first_sale_amount, k.first_net_amount, k.is_reduction, k.is_exact, k.told_on,
    k.waits_until
FROM kept AS k
SEMI JOIN own AS o ON o.partner_account = k.partner_account AND o.partner_program_id = k.partner_program_id
WHERE k.is_reduction
ORDER BY ALL
