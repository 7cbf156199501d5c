-- purpose: stored postings with their line of the text their entry is hashed over.
-- grain: one posting that has an entry.
-- reads: entry, posting, account.
-- key: year, number, leg.
WITH label AS (
    SELECT account_id, account_label(kind, owner, asset) AS text FROM account
)
SELECT e.year, e.number, p.leg,
    posting_line(
        p.leg, d.text, c.text, p.amount, p.effective_for, p.booked_on, p.component, p.base_amount, p.rate
    ) AS line
FROM posting AS p
JOIN entry AS e
    ON e.document_kind = p.document_kind AND e.document_id = p.document_id AND e.entry_no = p.entry_no
LEFT JOIN label AS d ON d.account_id = p.debit
LEFT JOIN label AS c ON c.account_id = p.credit
ORDER BY e.year, e.number, p.leg
