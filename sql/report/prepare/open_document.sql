-- purpose: what each document leaves open on the accounts of partners and members, and since when.
-- grain, key: kind, owner, currency, scale, document. Reads: report_movement, report_account_kind, payout.payout.
-- Age counts from the first day that made the balance larger: for a receivable, the approval posting's effective_for.
-- A document that left nothing may have left a fraction of a cent in the base currency, which the ledger has too.
-- What is in flight stands on one account without an owner: the payout says whose it is.
SELECT m.kind, coalesce(nullif(m.owner, ''), p.member_id, '') AS owner, m.currency, m.scale, m.document_kind, m.document_id,
       sum(m.amount) AS amount, sum(m.base) AS base, sum(m.without_base) AS without_base,
       coalesce(sum(m.amount) FILTER (WHERE NOT m.is_this), 0) AS last_amount,
       coalesce(min(m.effective_for) FILTER (WHERE m.amount > 0), min(m.effective_for)) AS aged_from
FROM report_movement AS m
JOIN report_account_kind AS a ON a.kind = m.kind AND a.part IN ('partners', 'members')
LEFT JOIN payout.payout AS p ON m.owner = '' AND m.document_kind = 'payout' AND p.payout_id = m.document_id
GROUP BY m.kind, coalesce(nullif(m.owner, ''), p.member_id, ''), m.currency, m.scale, m.document_kind, m.document_id
HAVING sum(m.amount) <> 0 OR sum(m.base) <> 0 OR coalesce(sum(m.amount) FILTER (WHERE NOT m.is_this), 0) <> 0
