-- purpose: flows between accounts by name as postings between accounts by number, in the order of their entries.
-- grain: one posting.
-- reads: flow, booking, entry, account.
-- key: document_id, entry_no, leg.
-- A flow whose account is not there keeps a null, which the posting run refuses.
SELECT f.document_id, e.entry_no,
    CAST(
        row_number() OVER (
            PARTITION BY f.document_id, e.entry_no
            ORDER BY f.effective_for, f.component, f.debit_kind, f.debit_owner, f.credit_kind, f.credit_owner, f.asset,
                f.rate, f.amount
        ) AS INTEGER
    ) AS leg,
    d.account_id AS debit, c.account_id AS credit, f.amount, f.effective_for, b.booked_on, f.component,
    CAST(f.base_amount AS DECIMAL(20, 4)) AS base_amount, CAST(f.rate AS DECIMAL(18, 12)) AS rate
FROM flow AS f
JOIN booking AS b ON b.effective_for = f.effective_for
JOIN entry AS e ON e.document_id = f.document_id AND e.booked_on = b.booked_on
LEFT JOIN account AS d ON d.kind = f.debit_kind AND d.owner = f.debit_owner AND d.asset = f.asset
LEFT JOIN account AS c ON c.kind = f.credit_kind AND c.owner = f.credit_owner AND c.asset = f.asset
ORDER BY f.document_id, e.entry_no, leg
