-- purpose: the versions of sales of which the partner processed a row after the day it is true, dated by when it did.
-- grain: one state of one row.
-- reads: late_row, version.
-- key: sale_id, transaction_id, line_id, version_no.
WITH dated AS (
    SELECT v.sale_id, l.transaction_id, l.line_id, l.told_on
    FROM late_row AS l
    JOIN version AS v
        ON v.partner_account = l.partner_account AND v.transaction_id = l.transaction_id AND v.line_id = l.line_id
        AND v.version_no = 1
),
touched AS (
    SELECT DISTINCT sale_id FROM dated
)
SELECT v.sale_id, v.partner_account, v.transaction_id, v.line_id, v.version_no, v.is_absent, v.kind, v.status,
    v.partner_paid, v.sale_amount, v.commission_amount, v.currency, v.commission_group, v.customer_type,
    CASE WHEN d.told_on > v.effective_on THEN d.told_on ELSE v.effective_on END AS effective_on
FROM version AS v
JOIN touched AS t ON t.sale_id = v.sale_id
LEFT JOIN dated AS d
    ON d.sale_id = v.sale_id AND d.transaction_id = v.transaction_id AND d.line_id = v.line_id
ORDER BY v.sale_id, v.transaction_id, v.line_id, v.version_no
