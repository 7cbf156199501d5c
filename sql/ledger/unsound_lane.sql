-- purpose: pairs of accounts that are missing, are of another entity or of different assets, or are one and the same.
-- grain: one lane.
-- reads: lane_account, account.
-- key: lane_no.
-- parameters: entity.
-- What unsound_posting says of single postings, said of all that are about to be posted: each is between the accounts of
-- a lane.
SELECT l.lane_no
FROM lane_account AS l
LEFT JOIN account AS d ON d.account_id = l.debit
LEFT JOIN account AS c ON c.account_id = l.credit
WHERE d.account_id IS NULL OR c.account_id IS NULL OR d.asset <> c.asset OR d.account_id = c.account_id
    OR d.entity <> $entity OR c.entity <> $entity
ORDER BY l.lane_no
