-- purpose: all accepted rows of some transactions, whichever deliveries hold them.
-- grain: one accepted row of one delivery.
-- reads: transaction_row, touched_key.
-- key: delivery_id, row_number.
SELECT t.partner, t.partner_account, t.transaction_id, t.line_id, t.kind, t.original_transaction_id, t.order_ref,
    t.partner_program_id, t.program_id, t.click_ref, t.partner_clicked_at, t.partner_clicked_precision_seconds,
    t.occurred_at, t.occurred_precision_seconds, t.processed_at, t.modified_at, t.status, t.raw_status,
    t.partner_paid, t.payment_ref, t.reason, t.sale_amount, t.commission_amount, t.currency, t.commission_group,
    t.customer_type, t.delivery_id, t.row_number, t.content_hash
FROM transaction_row AS t
SEMI JOIN touched_key AS k
    ON k.partner_account = t.partner_account AND k.transaction_id = t.transaction_id AND k.line_id = t.line_id
ORDER BY t.delivery_id, t.row_number
