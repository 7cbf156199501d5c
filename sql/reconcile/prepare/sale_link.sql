-- purpose: what a sale can be found by when something else changes: its references, amounts, times and click.
-- grain: one sale.
-- reads: grouped_sale, sale_match and folded_ref (both empty before clicks are looked for).
-- key: sale_id.
SELECT s.sale_id, s.partner_account, s.partner_program_id, s.currency, s.order_ref, s.click_ref, s.reduction_click_ref,
    f.ref_folded, m.click_id, s.first_sale_amount, s.first_net_amount, s.is_reduction,
    -- By its reference, beyond doubt: no other click changes that.
    m.outcome = 'matched' AND m.rule = 'click_ref' AS is_exact,
    CAST(s.partner_clicked_at AS DATE) AS told_on,
    -- Until all clicks of before this instant are in, a sale without an exact click waits; see sale_match.
    greatest(
        s.occurred_until,
        CASE WHEN s.partner_clicked_precision_seconds BETWEEN 1 AND 3600
            THEN s.partner_clicked_at + INTERVAL 1 SECOND * (2 * s.partner_clicked_precision_seconds) END
    ) AS waits_until
FROM grouped_sale AS s
LEFT JOIN sale_match AS m ON m.sale_id = s.sale_id
LEFT JOIN folded_ref AS f ON f.click_ref = s.click_ref
ORDER BY s.sale_id
