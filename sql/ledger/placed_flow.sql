-- purpose: flows with the number of their document and lane, and the day they are booked on.
-- grain: one flow.
-- reads: flow, document, booking (effective_for to booked_on), lane.
-- key: none; flows may repeat, and their order is nobody's concern yet.
SELECT d.document_no, f.document_id, b.booked_on, f.effective_for, f.component, l.lane_no, f.amount, f.base_amount, f.rate
FROM flow AS f
JOIN document AS d ON d.document_id = f.document_id
JOIN booking AS b ON b.effective_for = f.effective_for
JOIN lane AS l
    ON l.debit_kind = f.debit_kind AND l.debit_owner = f.debit_owner AND l.credit_kind = f.credit_kind
    AND l.credit_owner = f.credit_owner AND l.asset = f.asset
