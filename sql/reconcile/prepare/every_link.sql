-- purpose: all that sales could ever be found by, each once.
-- grain: one state of one sale.
-- reads: sale_link.
-- key: sale_id, and all else.
SELECT DISTINCT sale_id, partner_account, partner_program_id, currency, order_ref, click_ref, reduction_click_ref, ref_folded,
    click_id, first_sale_amount, first_net_amount, is_reduction, is_exact, told_on, waits_until
FROM sale_link
ORDER BY ALL
