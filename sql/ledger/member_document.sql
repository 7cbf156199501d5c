-- purpose: what each document did to a member's accounts, as of a pair of days.
-- grain: one document, kind of account and asset.
-- reads: ledger.posting, ledger.journal_entry, ledger.account. Runs on PostgreSQL.
-- key: document_kind, document_id, kind, asset.
-- parameters: entity, member_id, as_of (effective_for), known_at (posted_at; null: all).
-- Owed to the member is positive. Of payouts also what lies in flight and at the bank, which has no member's name on it.
WITH known AS (
    SELECT p.document_kind, p.document_id, p.entry_no, p.leg, p.debit, p.credit, p.amount, p.effective_for
    FROM ledger.posting AS p
    JOIN ledger.journal_entry AS j ON j.entity = p.entity AND j.year = p.year AND j.number = p.number
    WHERE p.entity = %(entity)s AND p.effective_for <= %(as_of)s
        AND (%(known_at)s::timestamp IS NULL OR j.posted_at <= %(known_at)s::timestamp)
),
own AS (
    SELECT account_id FROM ledger.account
    WHERE entity = %(entity)s AND owner = %(member_id)s
        AND kind IN ('cashback_pending', 'cashback_confirmed', 'cashback_payable', 'payout_reserved')
),
document AS (
    SELECT DISTINCT document_kind, document_id FROM known
    WHERE debit IN (SELECT account_id FROM own) OR credit IN (SELECT account_id FROM own)
),
side AS (
    SELECT k.document_kind, k.document_id, k.credit AS account_id, k.amount, k.effective_for
    FROM known AS k
    JOIN document AS d ON d.document_kind = k.document_kind AND d.document_id = k.document_id
    UNION ALL
    SELECT k.document_kind, k.document_id, k.debit, -k.amount, k.effective_for
    FROM known AS k
    JOIN document AS d ON d.document_kind = k.document_kind AND d.document_id = k.document_id
)
SELECT s.document_kind, s.document_id, a.kind, a.asset, sum(s.amount)::bigint AS amount_minor,
       min(s.effective_for) AS first_on, max(s.effective_for) AS last_on
FROM side AS s
JOIN ledger.account AS a ON a.account_id = s.account_id
WHERE a.account_id IN (SELECT account_id FROM own)
    OR (s.document_kind = 'payout' AND a.kind IN ('payout_in_flight', 'bank'))
GROUP BY s.document_kind, s.document_id, a.kind, a.asset
ORDER BY min(s.effective_for), s.document_kind, s.document_id COLLATE "C", a.kind, a.asset
