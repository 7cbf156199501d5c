-- purpose: the days on which rows of some transactions happened.
-- grain: one day of one partner account.
-- reads: transaction_row, touched_key.
-- key: partner_account, happened_on.
SELECT DISTINCT t.partner_account, CAST(t.occurred_at AS DATE) AS happened_on
FROM transaction_row AS t
SEMI JOIN touched_key AS k
    ON k.partner_account = t.partner_account AND k.transaction_id = t.transaction_id AND k.line_id = t.line_id
ORDER BY partner_account, happened_on
