-- purpose: the partner accounts that the rows of a file are of, for `tallyback match`, with the last sale of each.
-- grain: one partner account.
-- reads: current_row.
-- key: partner, partner_account.
SELECT partner, partner_account, MAX(occurred_at) AS last_at
FROM current_row
GROUP BY partner, partner_account
ORDER BY partner, partner_account
