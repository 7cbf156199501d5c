-- purpose: what a person must look at in what partners paid.
-- grain: one break; of a remittance its id stands for the transaction and its line number for the line.
-- reads: standing, remittance_line, allocation, outcome; parameter is_told (of any remittance).
-- key: partner_account, transaction_id, line_id, kind.
WITH paid AS (
    SELECT partner_account, remittance_id, line_no, CAST(SUM(amount_minor) AS BIGINT) AS paid_minor
    FROM allocation
    GROUP BY partner_account, remittance_id, line_no
),
found AS (
    SELECT partner, partner_account, remittance_id AS transaction_id, '' AS line_id, 'remittance_differs' AS kind,
        NULL AS sale_id, told_minor AS expected_minor, bank_amount_minor AS found_minor,
        told_minor - bank_amount_minor AS amount_minor, currency
    FROM standing
    WHERE received_on IS NOT NULL AND NOT is_tied
    UNION ALL
    SELECT s.partner, s.partner_account, s.remittance_id AS transaction_id, CAST(l.line_no AS VARCHAR) AS line_id,
        'remittance_unallocated' AS kind, NULL AS sale_id, l.amount_minor AS expected_minor,
        COALESCE(p.paid_minor, 0) AS found_minor, l.amount_minor - COALESCE(p.paid_minor, 0) AS amount_minor, l.currency
    FROM standing AS s
    JOIN remittance_line AS l
        ON l.partner_account = s.partner_account AND l.remittance_id = s.remittance_id AND l.revision = s.revision
    LEFT JOIN paid AS p
        ON p.partner_account = l.partner_account AND p.remittance_id = l.remittance_id AND p.line_no = l.line_no
    WHERE s.received_on IS NOT NULL AND s.is_tied AND l.kind IN ('commission', 'adjustment')
        AND l.amount_minor <> COALESCE(p.paid_minor, 0)
    UNION ALL
    SELECT partner, partner_account, remittance_id AS transaction_id, '' AS line_id, 'carry_forward_differs' AS kind,
        NULL AS sale_id, CAST(0 AS BIGINT) AS expected_minor, excess_minor AS found_minor, excess_minor AS amount_minor,
        currency
    FROM standing
    WHERE excess_minor > 0
    UNION ALL
    SELECT partner, partner_account, transaction_id, currency AS line_id, 'remittance_' || outcome AS kind, sale_id,
        approved_minor AS expected_minor, paid_minor + written_minor AS found_minor, open_minor AS amount_minor, currency
    FROM outcome
    WHERE outcome IN ('short', 'over')
        -- A house that is told of no payment at all knows of none that is late.
        OR (outcome = 'unpaid' AND age IN ('91-180', 'more') AND $is_told)
)
SELECT partner, partner_account, transaction_id, line_id, kind, sale_id,
    currency || ' ' || CAST(CAST(CAST(expected_minor AS DECIMAL(18, 0)) * 0.0001 AS DECIMAL(18, 4)) AS VARCHAR)
        AS expected,
    currency || ' ' || CAST(CAST(CAST(found_minor AS DECIMAL(18, 0)) * 0.0001 AS DECIMAL(18, 4)) AS VARCHAR) AS found,
    CAST(CAST(amount_minor AS DECIMAL(18, 0)) * 0.0001 AS DECIMAL(18, 4)) AS amount, currency,
    sha256(concat_ws('|', kind, partner_account, transaction_id, line_id, expected_minor, found_minor)) AS evidence_hash
FROM found
ORDER BY partner_account, transaction_id, line_id, kind
