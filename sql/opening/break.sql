-- purpose: sales that an opening holds and that changed since: a person must say what follows.
-- grain: one sale and currency. reads: ops.sale_in_opening, ops.cut_over, ops.opening_in_force, ops.sale,
--   ops.transaction_version, ops.decision_in_force, ops.adjustment_in_force. Runs on PostgreSQL.
-- key: partner_account, transaction_id, line_id, kind; its first transaction and its currency stand for a sale.
-- A version that is not the first of its row and is of a day after the opening is a change; so is a first one that the
-- partner says it modified since. Whoever decided or adjusted on the same evidence has looked: the break is closed.
WITH changed AS (
    SELECT s.sale_id, s.partner, s.partner_account
    FROM ops.sale_in_opening AS i
    JOIN ops.sale AS s ON s.sale_id = i.sale_id
    JOIN ops.cut_over AS c ON c.partner_account = s.partner_account
    WHERE EXISTS (
        SELECT 1 FROM ops.transaction_version AS v
        WHERE v.sale_id = s.sale_id AND NOT v.is_absent AND v.effective_on >= c.cut_over
            AND (v.version_no > 1 OR v.modified_at >= c.cut_over - 1)
    )
),
newest AS (
    SELECT DISTINCT ON (v.partner_account, v.transaction_id, v.line_id)
        c.partner, c.partner_account, c.sale_id, v.transaction_id, v.currency, coalesce(v.status, 'reported') AS status,
        CASE v.status WHEN 'declined' THEN 0 ELSE v.commission_amount END AS amount
    FROM changed AS c
    JOIN ops.transaction_version AS v ON v.sale_id = c.sale_id
    WHERE NOT v.is_absent
    ORDER BY v.partner_account, v.transaction_id, v.line_id, v.version_no DESC
),
said AS (
    SELECT partner, partner_account, sale_id, currency, min(transaction_id) AS transaction_id, sum(amount) AS amount,
        string_agg(DISTINCT status, ', ' ORDER BY status) AS status
    FROM newest
    GROUP BY partner, partner_account, sale_id, currency
),
opened AS (
    SELECT n.sale_id, n.currency, sum(o.amount) AS amount
    FROM (SELECT DISTINCT partner_account, sale_id, transaction_id, currency FROM newest) AS n
    JOIN ops.opening_in_force AS o
        ON o.kind = 'commission_receivable' AND o.owner = n.partner_account AND o.reference = n.transaction_id
        AND o.currency = n.currency
    GROUP BY n.sale_id, n.currency
),
found AS (
    SELECT s.partner, s.partner_account, s.transaction_id, s.currency AS line_id, 'changed_since_opening' AS kind,
        s.sale_id, coalesce('in the opening as ' || s.currency || ' ' || o.amount, 'in the opening') AS expected,
        s.status || ' ' || s.currency || ' ' || s.amount AS found,
        (s.amount - coalesce(o.amount, 0))::numeric(18, 4) AS amount, s.currency,
        encode(sha256(convert_to(
            concat_ws('|', 'changed_since_opening', s.sale_id, s.currency, s.status, s.amount, coalesce(o.amount, 0)),
            'UTF8'
        )), 'hex') AS evidence_hash
    FROM said AS s
    LEFT JOIN opened AS o ON o.sale_id = s.sale_id AND o.currency = s.currency
)
SELECT f.partner, f.partner_account, f.transaction_id, f.line_id, f.kind, f.sale_id, f.expected, f.found, f.amount,
    f.currency, f.evidence_hash
FROM found AS f
WHERE NOT EXISTS (
    SELECT 1 FROM ops.decision_in_force AS d
    WHERE d.kind = 'no_cashback' AND d.sale_id = f.sale_id AND d.evidence_hash = f.evidence_hash
)
AND NOT EXISTS (
    SELECT 1 FROM ops.adjustment_in_force AS a
    WHERE a.sale_id = f.sale_id AND a.break_evidence = f.evidence_hash
        AND NOT EXISTS (SELECT 1 FROM ops.adjustment_in_force AS r WHERE r.reverses = a.adjustment_id)
)
ORDER BY f.partner_account, f.transaction_id, f.line_id
