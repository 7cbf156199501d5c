-- purpose: stored postings with what their accounts are called, for the text their entry's hash is taken over.
-- grain: one posting that has an entry.
-- reads: entry, posting, account (with its label).
-- key: year, number, leg.
SELECT p.year, p.number, p.leg, d.label AS debit_label, c.label AS credit_label, p.amount, p.effective_for, p.booked_on,
    p.component, p.base_amount, p.rate
FROM posting AS p
SEMI JOIN entry AS e ON e.entity = p.entity AND e.year = p.year AND e.number = p.number
LEFT JOIN account AS d ON d.account_id = p.debit
LEFT JOIN account AS c ON c.account_id = p.credit
ORDER BY p.year, p.number, p.leg
