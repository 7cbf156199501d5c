-- purpose: what each day brought the payable balance of members, document by document: of one, or of all that ever owed.
-- grain: one document of one member, asset and day. reads: ledger.posting, ledger.journal_entry, ledger.account.
-- Runs on PostgreSQL. key: member_id, asset, effective_for, document_kind, document_id.
-- parameters: entity, member_id (null: all whose balance was below zero at the end of a day), as_of (effective_for; null:
-- all), known_at (posted_at; null: all).
-- What was written off of their debts is left out: that follows from this. Balances by account number first: few members
-- ever owe, and the names of documents are wide.
WITH account AS (
    SELECT account_id, owner AS member_id, asset
    FROM ledger.account
    WHERE entity = %(entity)s AND kind = 'cashback_payable'
        AND (%(member_id)s::text IS NULL OR owner = %(member_id)s::text)
),
known AS (
    SELECT p.debit, p.credit, p.document_kind, p.document_id, p.effective_for, p.amount
    FROM ledger.posting AS p
    WHERE p.entity = %(entity)s
        AND (p.debit IN (SELECT account_id FROM account) OR p.credit IN (SELECT account_id FROM account))
        AND NOT (p.document_kind = 'write_off' AND p.document_id LIKE 'clawback/%%')
        AND (%(as_of)s::date IS NULL OR p.effective_for <= %(as_of)s::date)
        AND (%(known_at)s::timestamp IS NULL OR EXISTS (
            SELECT 1 FROM ledger.journal_entry AS j
            WHERE j.entity = p.entity AND j.year = p.year AND j.number = p.number
                AND j.posted_at <= %(known_at)s::timestamp
        ))
),
account_day AS (
    SELECT k.account_id, k.effective_for, sum(k.amount) AS amount
    FROM (SELECT credit AS account_id, effective_for, amount FROM known
          UNION ALL
          SELECT debit AS account_id, effective_for, -amount FROM known) AS k
    GROUP BY k.account_id, k.effective_for
),
running AS (
    SELECT account_id, sum(amount) OVER (PARTITION BY account_id ORDER BY effective_for) AS balance
    FROM account_day
),
debtor AS (
    SELECT a.account_id, a.member_id, a.asset
    FROM account AS a
    WHERE %(member_id)s::text IS NOT NULL OR a.account_id IN (SELECT r.account_id FROM running AS r WHERE r.balance < 0)
),
side AS (
    SELECT d.member_id, d.asset, k.document_kind, k.document_id, k.effective_for, k.amount
    FROM known AS k
    JOIN debtor AS d ON d.account_id = k.credit
    UNION ALL
    SELECT d.member_id, d.asset, k.document_kind, k.document_id, k.effective_for, -k.amount
    FROM known AS k
    JOIN debtor AS d ON d.account_id = k.debit
)
SELECT member_id, asset, effective_for, document_kind, document_id, sum(amount)::bigint AS amount_minor
FROM side
GROUP BY member_id, asset, effective_for, document_kind, document_id
HAVING sum(amount) <> 0
ORDER BY member_id COLLATE "C", asset, effective_for, document_kind, document_id COLLATE "C"
