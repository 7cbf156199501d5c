-- purpose: what lines pay that name a transaction, or a payment whose reference the partner put on its rows.
-- grain: one transaction row (line_id '' is the whole transaction) paid by one line.
-- reads: standing, remittance_line, known_row (rows that lines name), referenced_row (rows by payment_ref, with the
--   commission they had when they first bore it), currency_unit.
-- key: partner_account, remittance_id, line_no, transaction_id, line_id.
-- A line that names its transaction pays it as told, whatever it was to be: the rest is short or over. A payment pays its
-- rows if they sum to it: to less than one unit, or once each is rounded. What is left of that goes over the rows.
WITH paying AS (
    SELECT s.partner_account, s.remittance_id, s.received_on, s.funded_on, l.line_no, l.transaction_id, l.line_id,
        l.payment_ref, l.amount_minor, l.currency, u.unit_minor
    FROM standing AS s
    JOIN remittance_line AS l
        ON l.partner_account = s.partner_account AND l.remittance_id = s.remittance_id AND l.revision = s.revision
    JOIN currency_unit AS u ON u.currency = l.currency
    WHERE s.is_allocated AND l.kind IN ('commission', 'adjustment')
),
referenced AS (
    SELECT p.partner_account, p.remittance_id, p.received_on, p.funded_on, p.line_no, r.transaction_id, r.line_id,
        p.currency, p.amount_minor AS line_minor, r.commission_minor, p.unit_minor,
        CAST(SUM(r.commission_minor) OVER payment AS BIGINT) AS whole_minor,
        CAST(SUM(
            SIGN(r.commission_minor) * ((2 * ABS(r.commission_minor) + p.unit_minor) // (2 * p.unit_minor)) * p.unit_minor
        ) OVER payment AS BIGINT) AS rounded_minor,
        COUNT(*) OVER payment AS row_count,
        ROW_NUMBER() OVER (
            PARTITION BY p.partner_account, p.remittance_id, p.line_no ORDER BY r.transaction_id, r.line_id
        ) AS place
    FROM paying AS p
    JOIN referenced_row AS r
        ON r.partner_account = p.partner_account AND r.payment_ref = p.payment_ref AND r.currency = p.currency
    WINDOW payment AS (PARTITION BY p.partner_account, p.remittance_id, p.line_no)
),
spread AS (
    SELECT f.*, line_minor - whole_minor AS rest_minor
    FROM referenced AS f
    WHERE ABS(line_minor - whole_minor) < unit_minor OR line_minor = rounded_minor
)
SELECT p.partner_account, p.remittance_id, p.line_no, p.transaction_id, COALESCE(p.line_id, '') AS line_id, p.currency,
    p.amount_minor, 'transaction' AS rule, p.received_on, p.funded_on
FROM paying AS p
WHERE EXISTS (
    SELECT 1
    FROM known_row AS k
    WHERE k.partner_account = p.partner_account AND k.transaction_id = p.transaction_id AND k.currency = p.currency
        AND (p.line_id IS NULL OR k.line_id = p.line_id)
)
UNION ALL
SELECT partner_account, remittance_id, line_no, transaction_id, line_id, currency,
    CAST(commission_minor + SIGN(rest_minor) * (
        ABS(rest_minor) // row_count + CASE WHEN place <= ABS(rest_minor) % row_count THEN 1 ELSE 0 END
    ) AS BIGINT) AS amount_minor,
    'payment_ref' AS rule, received_on, funded_on
FROM spread
ORDER BY partner_account, remittance_id, line_no, transaction_id, line_id
