-- purpose: what remittances pay, by the sale that the transaction belongs to now.
-- grain: one transaction row paid by one line.
-- reads: allocation, version, sale.
-- key: partner_account, remittance_id, line_no, transaction_id, line_id.
-- A row is named by a line or its payment reference, or it is only in a sum; what is named is approved by that.
WITH owner AS (
    SELECT v.partner_account, v.transaction_id, MIN(v.sale_id) AS sale_id
    FROM version AS v
    JOIN sale AS s ON s.sale_id = v.sale_id
    GROUP BY v.partner_account, v.transaction_id
)
SELECT o.sale_id, a.transaction_id, a.line_id, a.currency, a.amount_minor, a.received_on, a.funded_on,
    a.rule IN ('transaction', 'payment_ref') AS is_named
FROM allocation AS a
JOIN owner AS o ON o.partner_account = a.partner_account AND o.transaction_id = a.transaction_id
ORDER BY a.partner_account, a.remittance_id, a.line_no, a.transaction_id, a.line_id
