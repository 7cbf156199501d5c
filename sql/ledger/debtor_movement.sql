-- purpose: what each day brought the payable balance of members, document by document: of one, or of all that ever owed.
-- grain: one document of one member, asset and day. reads: ledger.posting, ledger.journal_entry, ledger.account.
-- Runs on PostgreSQL. key: member_id, asset, effective_for, document_kind, document_id.
-- parameters: entity, member_id (null: all whose balance was below zero at the end of a day), as_of (effective_for; null:
-- all), known_at (posted_at; null: all).
-- What was written off of their debts is left out: that follows from this.
WITH account AS (
    SELECT account_id, owner AS member_id, asset
    FROM ledger.account
    WHERE entity = %(entity)s AND kind = 'cashback_payable'
        AND (%(member_id)s::text IS NULL OR owner = %(member_id)s::text)
),
side AS (
    SELECT a.member_id, a.asset, p.document_kind, p.document_id, p.entry_no, p.effective_for, p.amount
    FROM ledger.posting AS p
    JOIN account AS a ON a.account_id = p.credit
    UNION ALL
    SELECT a.member_id, a.asset, p.document_kind, p.document_id, p.entry_no, p.effective_for, -p.amount
    FROM ledger.posting AS p
    JOIN account AS a ON a.account_id = p.debit
),
day_net AS (
    SELECT s.member_id, s.asset, s.document_kind, s.document_id, s.effective_for, sum(s.amount) AS amount
    FROM side AS s
    WHERE NOT (s.document_kind = 'write_off' AND s.document_id LIKE 'clawback/%%')
        AND (%(as_of)s::date IS NULL OR s.effective_for <= %(as_of)s::date)
        AND (%(known_at)s::timestamp IS NULL OR EXISTS (
            SELECT 1 FROM ledger.journal_entry AS j
            WHERE j.document_kind = s.document_kind AND j.document_id = s.document_id AND j.entry_no = s.entry_no
                AND j.posted_at <= %(known_at)s::timestamp
        ))
    GROUP BY s.member_id, s.asset, s.document_kind, s.document_id, s.effective_for
),
running AS (
    SELECT member_id, asset,
        sum(sum(amount)) OVER (PARTITION BY member_id, asset ORDER BY effective_for) AS balance
    FROM day_net
    GROUP BY member_id, asset, effective_for
),
debtor AS (
    SELECT DISTINCT member_id, asset FROM running WHERE balance < 0 OR %(member_id)s::text IS NOT NULL
)
SELECT n.member_id, n.asset, n.effective_for, n.document_kind, n.document_id, n.amount::bigint AS amount_minor
FROM day_net AS n
JOIN debtor AS d ON d.member_id = n.member_id AND d.asset = n.asset
WHERE n.amount <> 0
ORDER BY n.member_id COLLATE "C", n.asset, n.effective_for, n.document_kind, n.document_id COLLATE "C"
