-- purpose: payouts that reserved more than their member had payable at that moment.
-- grain: one posting.
-- reads: entry, posting, account.
-- key: document_id, entry_no.
-- The moment is the order the books were written in. A balance that a reversal takes below zero later is no fault.
WITH payable AS (
    SELECT account_id FROM account WHERE kind = 'cashback_payable'
),
movement AS (
    SELECT p.credit AS account_id, p.document_kind, p.document_id, p.entry_no, p.year, p.number, p.leg, p.amount
    FROM posting AS p
    JOIN payable AS a ON a.account_id = p.credit
    UNION ALL
    SELECT p.debit AS account_id, p.document_kind, p.document_id, p.entry_no, p.year, p.number, p.leg,
           -p.amount AS amount
    FROM posting AS p
    JOIN payable AS a ON a.account_id = p.debit
),
running AS (
    SELECT m.document_kind, m.document_id, m.entry_no, m.amount,
        sum(m.amount) OVER (
            PARTITION BY m.account_id ORDER BY e.posted_at, e.year, e.number, m.leg
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS balance
    FROM movement AS m
    JOIN entry AS e ON e.year = m.year AND e.number = m.number
)
SELECT document_id, entry_no, CAST(balance AS BIGINT) AS balance
FROM running
WHERE document_kind = 'payout' AND amount < 0 AND balance < 0
ORDER BY document_id, entry_no
