-- purpose: what the books said of a month when it was closed: all that is for it and was booked by its end.
-- grain: one partner account, kind of account and asset.
-- reads: ledger.posting, ledger.account, ops.sale. Runs on PostgreSQL.
-- key: partner_account, kind, asset.
-- parameters: entity, from_on, until_on (effective_for in between, booked_on before until_on).
WITH signed AS (
    SELECT p.document_kind, p.document_id, p.debit AS account_id, p.amount FROM ledger.posting AS p
    WHERE p.entity = %(entity)s AND p.booked_on < %(until_on)s
        AND p.effective_for >= %(from_on)s AND p.effective_for < %(until_on)s
    UNION ALL
    SELECT p.document_kind, p.document_id, p.credit, -p.amount FROM ledger.posting AS p
    WHERE p.entity = %(entity)s AND p.booked_on < %(until_on)s
        AND p.effective_for >= %(from_on)s AND p.effective_for < %(until_on)s
),
named AS (
    SELECT d.document_kind, d.document_id, a.kind, a.owner, a.asset, d.amount
    FROM signed AS d
    JOIN ledger.account AS a ON a.account_id = d.account_id
),
document AS (
    SELECT n.document_kind, n.document_id,
           coalesce(max(s.partner_account),
                    max(n.owner) FILTER (WHERE n.kind LIKE 'commission%%' OR n.kind = 'partner_clearing'),
                    CASE WHEN n.document_kind = 'sale' THEN split_part(n.document_id, ':', 1) END, '')
               AS partner_account
    FROM named AS n
    LEFT JOIN ops.sale AS s ON n.document_kind = 'sale' AND s.sale_id = n.document_id
    GROUP BY n.document_kind, n.document_id
)
SELECT d.partner_account, n.kind, n.asset, sum(n.amount)::bigint AS amount_minor
FROM named AS n
JOIN document AS d ON d.document_kind = n.document_kind AND d.document_id = n.document_id
WHERE n.kind NOT IN ('border', 'fx_position')
GROUP BY d.partner_account, n.kind, n.asset
ORDER BY d.partner_account COLLATE "C", n.kind COLLATE "C", n.asset COLLATE "C"
