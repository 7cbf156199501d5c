-- purpose: what sales can be found by now and could not before.
-- grain: one sale.
-- reads: link, known_link.
-- key: sale_id.
SELECT sale_id, partner_account, partner_program_id, currency, order_ref, click_ref, reduction_click_ref, ref_folded,
    click_id, first_sale_amount, first_net_amount, is_reduction, is_exact, told_on, waits_until
FROM link
EXCEPT
SELECT sale_id, partner_account, partner_program_id, currency, order_ref, click_ref, reduction_click_ref, ref_folded,
    click_id, first_sale_amount, first_net_amount, is_reduction, is_exact, told_on, waits_until
FROM known_link
ORDER BY sale_id
