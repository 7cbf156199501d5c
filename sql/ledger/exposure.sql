-- purpose: what members are owed for the sales of each partner account, against what the partner owes and has paid.
-- grain: one partner account and currency.
-- reads: ledger.posting, ledger.account, ops.remittance_allocation, ops.paid_item, payout.payout_line, payout.payout,
--   payout.batch. Runs on PostgreSQL.
-- key: partner_account, currency. parameter: entity.
-- A sale's member side belongs to the account that its id begins with. What was paid out counts while its payout stands.
-- What an opening holds of a partner's debt is receivable, and what the partner paid of it covers no cashback of a sale.
WITH movement AS (
    SELECT p.document_kind, p.document_id, s.account_id, sum(s.sign * p.amount) AS amount
    FROM ledger.posting AS p
    CROSS JOIN LATERAL (VALUES (1, p.debit), (-1, p.credit)) AS s (sign, account_id)
    WHERE p.entity = %(entity)s AND p.document_kind IN ('sale', 'remittance', 'opening', 'adjustment', 'write_off')
    GROUP BY p.document_kind, p.document_id, s.account_id
),
side AS (
    SELECT CASE WHEN a.kind LIKE 'cashback%%' THEN split_part(m.document_id, ':', 1) ELSE a.owner END AS partner_account,
           split_part(a.asset, '/', 1) AS currency, a.kind, m.document_kind,
           m.amount / power(10::numeric, split_part(a.asset, '/', 2)::integer) AS amount
    FROM movement AS m
    JOIN ledger.account AS a ON a.account_id = m.account_id
    WHERE a.kind IN ('commission_expected', 'commission_receivable', 'partner_clearing', 'carried_forward',
                     'cashback_pending', 'cashback_confirmed', 'cashback_payable')
        AND (m.document_kind IN ('sale', 'remittance') OR a.kind = 'commission_receivable')
    UNION ALL
    SELECT a.partner_account, a.currency, 'commission_receivable', 'of no sale', sum(a.amount_minor) * 0.0001
    FROM ops.remittance_allocation AS a
    WHERE EXISTS (SELECT 1 FROM ops.paid_item AS i
                  WHERE i.partner_account = a.partner_account AND i.transaction_id = a.transaction_id)
    GROUP BY a.partner_account, a.currency
),
paid AS (
    SELECT split_part(l.document_id, ':', 1) AS partner_account, p.currency,
           sum(l.amount_minor) / power(10::numeric, min(c.scale)) AS amount
    FROM payout.payout_line AS l
    JOIN payout.payout AS p ON p.payout_id = l.payout_id
    JOIN payout.batch AS b ON b.batch_id = p.batch_id
    JOIN (SELECT DISTINCT split_part(asset, '/', 1) AS currency, split_part(asset, '/', 2)::integer AS scale
          FROM ledger.account WHERE kind = 'cashback_payable') AS c ON c.currency = p.currency
    WHERE b.entity = %(entity)s AND l.document_kind = 'sale' AND p.state IN ('reserved', 'in_flight', 'settled')
    GROUP BY split_part(l.document_id, ':', 1), p.currency
),
summed AS (
    SELECT partner_account, currency,
           coalesce(sum(amount) FILTER (WHERE kind = 'commission_expected'), 0) AS expected,
           coalesce(sum(amount) FILTER (WHERE kind = 'commission_receivable' AND document_kind <> 'of no sale'), 0)
               AS receivable,
           coalesce(-sum(amount) FILTER (WHERE kind = 'commission_receivable'
                                         AND document_kind IN ('remittance', 'of no sale')), 0)
               - coalesce(sum(amount) FILTER (WHERE kind = 'carried_forward'), 0) AS received,
           coalesce(sum(amount) FILTER (WHERE kind = 'carried_forward'), 0) AS carried_forward,
           coalesce(-sum(amount) FILTER (WHERE kind = 'partner_clearing'), 0) AS unallocated,
           coalesce(-sum(amount) FILTER (WHERE kind = 'cashback_pending'), 0) AS pending,
           coalesce(-sum(amount) FILTER (WHERE kind = 'cashback_confirmed'), 0) AS confirmed,
           coalesce(-sum(amount) FILTER (WHERE kind = 'cashback_payable'), 0) AS payable
    FROM side
    GROUP BY partner_account, currency
)
SELECT s.partner_account, s.currency, s.expected::numeric(18, 4) AS expected,
       s.receivable::numeric(18, 4) AS receivable, s.received::numeric(18, 4) AS received,
       s.carried_forward::numeric(18, 4) AS carried_forward, s.unallocated::numeric(18, 4) AS unallocated,
       s.pending::numeric(18, 4) AS pending, s.confirmed::numeric(18, 4) AS confirmed,
       (s.payable - coalesce(p.amount, 0))::numeric(18, 4) AS payable,
       coalesce(p.amount, 0)::numeric(18, 4) AS paid_out,
       greatest(s.payable - s.received, 0)::numeric(18, 4) AS uncovered
FROM summed AS s
LEFT JOIN paid AS p ON p.partner_account = s.partner_account AND p.currency = s.currency
WHERE s.expected <> 0 OR s.receivable <> 0 OR s.received <> 0 OR s.carried_forward <> 0 OR s.unallocated <> 0
    OR s.pending <> 0 OR s.confirmed <> 0 OR s.payable <> 0
ORDER BY s.partner_account, s.currency
