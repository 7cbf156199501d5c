-- purpose: why the balances of a month moved: per kind of account the net of each kind of document booked in it.
-- grain: one kind of account, asset and kind of document.
-- reads: ledger.posting, ledger.account. Runs on PostgreSQL.
-- key: kind, asset, document_kind.
-- parameters: entity, from_on, until_on (both days of booked_on; until_on is not in it).
WITH side AS (
    SELECT debit AS account_id, document_kind, sum(amount) AS amount
    FROM ledger.posting
    WHERE entity = %(entity)s AND booked_on >= %(from_on)s AND booked_on < %(until_on)s
    GROUP BY debit, document_kind
    UNION ALL
    SELECT credit AS account_id, document_kind, -sum(amount) AS amount
    FROM ledger.posting
    WHERE entity = %(entity)s AND booked_on >= %(from_on)s AND booked_on < %(until_on)s
    GROUP BY credit, document_kind
)
SELECT a.kind, a.asset, s.document_kind, sum(s.amount)::bigint AS amount_minor
FROM side AS s
JOIN ledger.account AS a ON a.account_id = s.account_id
GROUP BY a.kind, a.asset, s.document_kind
HAVING sum(s.amount) <> 0
ORDER BY a.kind COLLATE "C", a.asset COLLATE "C", s.document_kind
