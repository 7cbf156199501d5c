-- purpose: what postings say, as a line of the text the hash of their entry is taken over.
-- grain: one posting.
-- reads: labelled_posting, in the order of the books, which is kept.
-- key: none; the lines are read in their order.
SELECT posting_line(
    leg, debit_label, credit_label, amount, effective_for, booked_on, component, base_amount, rate
) AS line
FROM labelled_posting
