-- purpose: the accounts of each lane, by number.
-- grain: one lane.
-- reads: lane, account.
-- key: lane_no.
-- A lane whose account is not there keeps a null, which the posting run refuses.
SELECT l.lane_no, d.account_id AS debit, c.account_id AS credit
FROM lane AS l
LEFT JOIN account AS d ON d.kind = l.debit_kind AND d.owner = l.debit_owner AND d.asset = l.asset
LEFT JOIN account AS c ON c.kind = l.credit_kind AND c.owner = l.credit_owner AND c.asset = l.asset
ORDER BY l.lane_no
