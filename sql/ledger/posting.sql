-- purpose: the postings of entries, between accounts by number, each with its line of the text its entry is hashed over.
-- grain: one posting.
-- reads: placed_flow, entry, lane_account.
-- key: year, number, leg; also document_id, entry_no, leg.
WITH placed AS (
    SELECT f.document_id, e.entry_no, e.year, e.number, f.lane_no, f.amount, f.effective_for, f.booked_on, f.component,
        CAST(
            row_number() OVER (
                PARTITION BY e.year, e.number ORDER BY f.effective_for, f.component, f.lane_no, f.rate, f.amount
            ) AS INTEGER
        ) AS leg,
        CAST(f.base_amount AS DECIMAL(20, 4)) AS base_amount, CAST(f.rate AS DECIMAL(18, 12)) AS rate
    FROM placed_flow AS f
    JOIN entry AS e ON e.document_id = f.document_id AND e.booked_on = f.booked_on
)
SELECT p.document_id, p.entry_no, p.year, p.number, p.leg, a.debit, a.credit, p.amount, p.effective_for, p.booked_on,
    p.component, p.base_amount, p.rate,
    posting_line(
        p.leg, a.debit_label, a.credit_label, p.amount, p.effective_for, p.booked_on, p.component, p.base_amount, p.rate
    ) AS line
FROM placed AS p
JOIN lane_account AS a ON a.lane_no = p.lane_no
ORDER BY p.year, p.number, p.leg
