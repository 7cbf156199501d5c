-- purpose: stored postings with what their accounts are called, for the text their entry's hash is taken over.
-- grain: one posting that has an entry.
-- reads: entry, posting, account (with its label).
-- key: year, number, leg.
SELECT e.year, e.number, p.leg, d.label AS debit_label, c.label AS credit_label, p.amount, p.effective_for, p.booked_on,
    p.component, p.base_amount, p.rate
FROM posting AS p
JOIN entry AS e
    ON e.document_kind = p.document_kind AND e.document_id = p.document_id AND e.entry_no = p.entry_no
LEFT JOIN account AS d ON d.account_id = p.debit
LEFT JOIN account AS c ON c.account_id = p.credit
ORDER BY e.year, e.number, p.leg
