-- purpose: the newest version of every row a partner reported, which names the delivery and row it came from.
-- grain, key: partner_account, transaction_id, line_id. Reads: ops.transaction_version.
SELECT DISTINCT ON (partner_account, transaction_id, line_id)
       partner_account, transaction_id, line_id, sale_id, program_id, partner_program_id, status, commission_amount,
       currency, occurred_at, delivery_id, row_number
FROM ops.transaction_version
ORDER BY partner_account, transaction_id, line_id, version_no DESC
