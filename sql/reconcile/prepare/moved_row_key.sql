-- purpose: the transaction rows that moved to another account or id, and those that may be of the same sales.
-- grain: one transaction row.
-- reads: transaction_row, moved_key.
-- key: partner_account, transaction_id, line_id.
-- A sale moves whole, and what is told of it after it moved has no version: so rows are asked. Those of one sale share the
-- original, the order or the click reference.
WITH moved AS (
    SELECT t.partner_account, t.order_ref, t.click_ref, coalesce(t.original_transaction_id, t.transaction_id) AS original_id
    FROM transaction_row AS t
    SEMI JOIN moved_key AS k ON k.partner_account = t.partner_account AND k.transaction_id = t.transaction_id
),
row_key AS (
    SELECT partner_account, transaction_id, line_id, order_ref, click_ref,
        coalesce(original_transaction_id, transaction_id) AS original_id
    FROM transaction_row
)
SELECT DISTINCT partner_account, transaction_id, line_id
FROM (
    SELECT r.* FROM row_key AS r
    SEMI JOIN moved AS m ON m.partner_account = r.partner_account AND m.original_id = r.original_id
    UNION ALL
    SELECT r.* FROM row_key AS r
    SEMI JOIN moved AS m ON m.partner_account = r.partner_account AND m.order_ref = r.order_ref
    UNION ALL
    SELECT r.* FROM row_key AS r
    SEMI JOIN moved AS m ON m.partner_account = r.partner_account AND m.click_ref = r.click_ref
) AS hanging
ORDER BY partner_account, transaction_id, line_id
