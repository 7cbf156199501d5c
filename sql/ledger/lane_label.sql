-- purpose: the labels of the accounts each lane is between, that hashes are taken over.
-- grain: one lane.
-- reads: lane, in the order of lanes, which is kept.
-- key: none; the labels are read in their order.
SELECT account_label(debit_kind, debit_owner, asset) AS debit_label,
    account_label(credit_kind, credit_owner, asset) AS credit_label
FROM lane
