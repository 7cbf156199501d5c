-- purpose: every state that some sales had, by what they can be found by, and the reversals of their programs.
-- grain: one state of one sale.
-- reads: sale_link, new_link (of those sales, as they are now), touched_sale.
-- key: sale_id, and all else.
WITH own AS (
    SELECT l.sale_id, l.partner_account, l.partner_program_id, l.currency, l.order_ref, l.click_ref, l.reduction_click_ref,
        l.ref_folded, l.click_id, l.first_sale_amount, l.first_net_amount, l.is_reduction, l.is_exact, l.told_on,
        l.waits_until
    FROM sale_link AS l
    SEMI JOIN touched_sale AS t ON t.sale_id = l.sale_id
    UNION ALL
    SELECT sale_id, partner_account, partner_program_id, currency, order_ref, click_ref, reduction_click_ref, ref_folded,
        click_id, first_sale_amount, first_net_amount, is_reduction, is_exact, told_on, waits_until
    FROM new_link
),
-- Which sale a reversal without an original could be about is asked for each sale of its program.
reversal AS (
    SELECT l.sale_id, l.partner_account, l.partner_program_id, l.currency, l.order_ref, l.click_ref, l.reduction_click_ref,
        l.ref_folded, l.click_id, l.first_sale_amount, l.first_net_amount, l.is_reduction, l.is_exact, l.told_on,
        l.waits_until
    FROM sale_link AS l
    SEMI JOIN own AS o ON o.partner_account = l.partner_account AND o.partner_program_id = l.partner_program_id
    WHERE l.is_reduction
)
SELECT sale_id, partner_account, partner_program_id, currency, order_ref, click_ref, reduction_click_ref, ref_folded,
    click_id, first_sale_amount, first_net_amount, is_reduction, is_exact, told_on, waits_until
FROM own
UNION
SELECT sale_id, partner_account, partner_program_id, currency, order_ref, click_ref, reduction_click_ref, ref_folded,
    click_id, first_sale_amount, first_net_amount, is_reduction, is_exact, told_on, waits_until
FROM reversal
ORDER BY ALL
