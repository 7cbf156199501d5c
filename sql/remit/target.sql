-- purpose: the postings every remittance should have, on the day its money was received, as signed flows.
-- grain: one flow of one remittance.
-- reads: standing, remittance_line, allocation, currency_unit, conversion_rate; parameter base_currency.
-- key: document_id, debit_kind, debit_owner, credit_kind, credit_owner, asset.
-- The bank counts in its own scale and partner_clearing in four digits: between them stands the border, or fx_position
-- where the bank converted. There both sides come from the amount told; what the bank gave more or less than the day's
-- published rate is fx_realised, once that rate is usable. A remittance that does not tie, or is withheld, stays in
-- partner_clearing as the bank received it.
WITH received AS (
    SELECT s.document_id, s.partner_account, s.remittance_id, s.revision, s.received_on, s.currency, s.bank,
        s.bank_currency, s.bank_amount_minor, s.told_minor, s.is_allocated, b.scale AS bank_scale,
        b.unit_minor AS bank_unit_minor, s.bank_amount_minor // b.unit_minor AS bank_minor,
        s.bank_currency <> s.currency AS is_converted,
        CAST(ROUND(
            CAST(CAST(s.told_minor AS DECIMAL(20, 0)) * CAST(r.rate AS DECIMAL(17, 12)) AS DECIMAL(33, 12)) * b.shift, 0
        ) AS BIGINT) AS converted_minor
    FROM standing AS s
    JOIN currency_unit AS b ON b.currency = s.bank_currency
    LEFT JOIN conversion_rate AS r
        ON r.sale_on = s.received_on AND r.from_currency = s.currency AND r.to_currency = s.bank_currency
    WHERE s.received_on IS NOT NULL
),
bank_flow AS (
    SELECT document_id, 'bank' AS debit_kind, bank AS debit_owner,
        CASE WHEN is_converted THEN 'fx_position' ELSE 'border' END AS credit_kind, '' AS credit_owner,
        bank_currency AS currency, bank_scale AS scale,
        CASE WHEN is_converted THEN COALESCE(converted_minor, bank_minor) ELSE bank_minor END AS amount, received_on
    FROM received
    UNION ALL
    SELECT document_id, 'bank' AS debit_kind, bank AS debit_owner, 'fx_realised' AS credit_kind,
        partner_account AS credit_owner, bank_currency AS currency, bank_scale AS scale,
        bank_minor - converted_minor AS amount, received_on
    FROM received
    WHERE is_converted AND converted_minor IS NOT NULL
    UNION ALL
    SELECT document_id, CASE WHEN is_converted THEN 'fx_position' ELSE 'border' END AS debit_kind, '' AS debit_owner,
        'partner_clearing' AS credit_kind, partner_account AS credit_owner, currency, 4 AS scale,
        CASE WHEN is_converted THEN told_minor ELSE bank_amount_minor END AS amount, received_on
    FROM received
    UNION ALL
    SELECT document_id, 'rounding' AS debit_kind, partner_account AS debit_owner, 'partner_clearing' AS credit_kind,
        partner_account AS credit_owner, currency, 4 AS scale, told_minor - bank_amount_minor AS amount, received_on
    FROM received
    WHERE is_allocated AND NOT is_converted
),
line_flow AS (
    SELECT r.document_id, 'partner_clearing' AS debit_kind, r.partner_account AS debit_owner,
        CASE l.kind
            WHEN 'vat' THEN 'vat_payable'
            WHEN 'withholding' THEN 'withholding_tax'
            WHEN 'fee' THEN 'partner_fee'
            WHEN 'carry_forward' THEN 'carried_forward'
            ELSE 'partner_set_off'
        END AS credit_kind,
        r.partner_account AS credit_owner, r.currency, 4 AS scale, l.amount_minor AS amount, r.received_on
    FROM received AS r
    JOIN remittance_line AS l
        ON l.partner_account = r.partner_account AND l.remittance_id = r.remittance_id AND l.revision = r.revision
    WHERE r.is_allocated AND l.kind NOT IN ('commission', 'adjustment')
    UNION ALL
    SELECT r.document_id, 'partner_clearing' AS debit_kind, r.partner_account AS debit_owner,
        'commission_receivable' AS credit_kind, r.partner_account AS credit_owner, a.currency, 4 AS scale,
        a.amount_minor AS amount, r.received_on
    FROM received AS r
    JOIN allocation AS a ON a.partner_account = r.partner_account AND a.remittance_id = r.remittance_id
),
netted AS (
    SELECT document_id, debit_kind, debit_owner, credit_kind, credit_owner, currency, scale, received_on,
        CAST(SUM(amount) AS BIGINT) AS amount
    FROM (
        SELECT document_id, debit_kind, debit_owner, credit_kind, credit_owner, currency, scale, amount, received_on
        FROM bank_flow
        UNION ALL
        SELECT document_id, debit_kind, debit_owner, credit_kind, credit_owner, currency, scale, amount, received_on
        FROM line_flow
    ) AS flow
    GROUP BY document_id, debit_kind, debit_owner, credit_kind, credit_owner, currency, scale, received_on
)
SELECT n.document_id, n.debit_kind, n.debit_owner, n.credit_kind, n.credit_owner,
    n.currency || '/' || CAST(n.scale AS VARCHAR) AS asset, n.amount, n.received_on AS effective_for,
    'commission' AS component, CAST(r.rate AS DECIMAL(18, 12)) AS rate
FROM netted AS n
LEFT JOIN conversion_rate AS r
    ON r.sale_on = n.received_on AND r.from_currency = n.currency AND r.to_currency = $base_currency
WHERE n.amount <> 0
ORDER BY document_id, debit_kind, debit_owner, credit_kind, credit_owner, asset
