-- purpose: postings whose accounts are missing, are of different assets, or are one and the same.
-- grain: one posting.
-- reads: posting, account.
-- key: document_kind, document_id, entry_no, leg.
SELECT p.document_kind, p.document_id, p.entry_no, p.leg
FROM posting AS p
LEFT JOIN account AS d ON d.account_id = p.debit
LEFT JOIN account AS c ON c.account_id = p.credit
WHERE d.account_id IS NULL OR c.account_id IS NULL OR d.asset <> c.asset OR d.account_id = c.account_id
    OR d.entity <> p.entity OR c.entity <> p.entity
ORDER BY p.document_kind, p.document_id, p.entry_no, p.leg
